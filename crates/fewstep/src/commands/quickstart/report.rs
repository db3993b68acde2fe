//! The contents of the report.

use super::goal::{GOAL, GOAL_STEPS, METRIC, of_others, student};
use super::grids::UncaptionedGrids;
use super::machine;
use super::matching::Matching;
use super::onward::Onward;
use crate::error::CliResult;
use crate::numbers::{duration, plural, thousands};
use crate::report::{
    Grid, Grids, Highlight, LossCurve, Report, Row, ratio, read_losses, reference,
};
use fewstep_data::amount;
use fewstep_distill::method::progressive::ProgressiveConfig;
use fewstep_distill::recipe::DistillRecipe;
use fewstep_distill::run::Run;
use fewstep_formats::Model;

/// What was trained, and how.
pub(super) struct Made<'a> {
    /// The halvings.
    pub(super) run: &'a Run,
    pub(super) recipe: &'a DistillRecipe,
    pub(super) teacher: &'a Model,
    /// The matched student, if there is one.
    pub(super) matching: Option<&'a Matching>,
    /// The students that are halved from it, if there are any.
    pub(super) onward: Option<&'a Onward>,
}

impl Made<'_> {
    fn losses(&self) -> CliResult<Vec<LossCurve>> {
        let matched = self.matching.map(|matching| matching.folder.as_path());
        let onward = self.onward.map(|onward| onward.folder.as_path());
        let folders = [Some(self.run.folder.as_path()), matched, onward].into_iter();
        let folders = folders.flatten();
        let losses = folders.map(|folder| read_losses(&folder.join("metrics.jsonl")));
        Ok(losses.collect::<CliResult<Vec<_>>>()?.concat())
    }

    fn recipes(&self) -> String {
        let mut recipes = toml::to_string(self.recipe).unwrap_or_default();
        let mut add = |title: String, recipe: String| {
            recipes.push_str(&format!("\n# {title}\n\n{recipe}"));
        };
        if let Some(matching) = self.matching {
            let recipe = toml::to_string(&matching.recipe).unwrap_or_default();
            add(format!("The {}", matching.name()), recipe);
        }
        if let Some(onward) = self.onward {
            let recipe = toml::to_string(&onward.recipe).unwrap_or_default();
            add("The students halved from it".into(), recipe);
        }
        recipes
    }
}

/// The whole report. `w` is the guidance of the images and the plot.
pub(super) fn build(
    made: &Made<'_>,
    (rows, w): (&[Row], f64),
    images: UncaptionedGrids,
) -> CliResult<Report> {
    let run = made.run;
    let shown: Vec<Row> = rows.iter().filter(|row| row.w == w).cloned().collect();
    let losses = made.losses()?;
    Ok(Report {
        source: format!(
            "fewstep quickstart: Fashion-MNIST, {} classes, {} x {} pixels",
            run.examples.classes().len(),
            run.examples.shape().height,
            run.examples.shape().width
        ),
        title: match reference(rows, w) {
            Some(row) => format!("{GOAL_STEPS} network calls instead of {}", row.network_calls),
            None => "Fewer network calls".into(),
        },
        lead: "A diffusion model that needs many steps for good images was distilled, on this machine, into students that need 8, 4, 2 or 1. The guidance weight can still be chosen.".into(),
        highlights: highlights(run, (&shown, w), &images, &losses),
        summary: summary(made, (rows, w)),
        grids: grids(run, &shown, images),
        w,
        metric: METRIC,
        measure: measure(rows, w),
        facts: facts(made, (rows, w), &losses),
        recipe: made.recipes(),
        next: next(made),
        rows: rows.to_vec(),
        losses,
    })
}

fn highlights(
    run: &Run,
    (rows, w): (&[Row], f64),
    images: &UncaptionedGrids,
    losses: &[LossCurve],
) -> Vec<Highlight> {
    let highlight = |value: String, label: String| Highlight { value, label };
    let mut highlights = vec![];
    if let (Some(student), Some(teacher)) = (student(rows, GOAL_STEPS, w), reference(rows, w)) {
        highlights.push(highlight(
            format!("{:.2} ×", ratio(student, teacher)),
            format!(
                "the teacher's {METRIC} with w = {w}: {:.2} with {} calls, {:.2} with {}. Lower is better.",
                student.fid, student.network_calls, teacher.fid, teacher.network_calls
            ),
        ));
        // The teacher's time is from the grid generated just now, as its row may be from another
        // machine.
        let place = rows.iter().position(|row| row == teacher);
        if let Some(seconds) = place.and_then(|place| images.seconds.get(place)) {
            highlights.push(highlight(
                format!("{:.0} ×", seconds / student.seconds_per_image),
                format!(
                    "as fast: {:.1} ms for an image, where the teacher takes {:.1} ms on this machine.",
                    student.seconds_per_image * 1e3,
                    seconds * 1e3
                ),
            ));
        }
    }
    let seconds = losses.iter().map(|curve| curve.seconds).sum();
    highlights.push(highlight(
        duration(seconds),
        format!(
            "of training for all students, on {} real images.",
            thousands(run.examples.len() as u64)
        ),
    ));
    if let Some(bytes) = machine::peak_memory() {
        highlights.push(highlight(
            amount(bytes),
            format!(
                "of memory at most, on {}.",
                plural(machine::cores(), "processor core")
            ),
        ));
    }
    highlights
}

fn summary(made: &Made<'_>, (rows, w): (&[Row], f64)) -> Vec<String> {
    let (recipe, teacher) = (made.recipe, made.teacher);
    let mut summary = vec![format!(
        "The teacher is a diffusion model with {:.2} million parameters, trained on all of Fashion-MNIST with classifier-free guidance. Each of its steps takes two network calls, one with the class and one without, and it needs dozens of steps.",
        teacher.parameters() as f64 / 1e6
    )];
    if recipe.guided.is_some() {
        summary.push("Stage one folded both calls into one: a student that takes the guidance weight w as an input, for every w of its range at once.".into());
    }
    if let Some(progressive) = &recipe.progressive {
        summary.push(format!(
            "Stage two halved the steps again and again, {}: each student learns to do in one step what its teacher does in two, then becomes the teacher of the next.",
            chain(progressive)
        ));
    }
    if let Some(matching) = made.matching {
        summary.push(format!(
            "The {} is a copy of the plain one that went on by distribution matching: it learnt to generate images as its teacher's are distributed, which lowers the distance to real images, and left its teacher's paths: from the same noise its images are further from the teacher's than those of the plain student (see the table above).",
            matching.name()
        ));
    }
    let onward = made
        .onward
        .and_then(|onward| onward.recipe.progressive.as_ref());
    if let Some(progressive) = onward {
        summary.push(format!(
            "From the matched student the halvings went on, {}. The students they left are called matched too.",
            chain(progressive)
        ));
    }
    if let (Some(student), Some(teacher)) = (student(rows, GOAL_STEPS, w), reference(rows, w)) {
        let ratio = ratio(student, teacher);
        summary.push(match ratio <= GOAL {
            true => format!(
                "The goal was a student that is at {GOAL_STEPS} steps within {GOAL} times its teacher's distance at {} with w = {w}. It is reached: {ratio:.2} times.{}",
                teacher.steps,
                of_others(rows, w)
            ),
            false => format!(
                "The goal was a student that is at {GOAL_STEPS} steps within {GOAL} times its teacher's distance at {} with w = {w}. It is missed: {ratio:.2} times.{} More updates are the first thing to try (--set guided.updates=1000 --set progressive.updates=500).",
                teacher.steps,
                of_others(rows, w)
            ),
        });
    }
    summary
}

/// The steps of these halvings, from the first teacher to the last student.
fn chain(halvings: &ProgressiveConfig) -> String {
    let halved = |steps: &usize| Some(steps / 2);
    let steps = std::iter::successors(Some(halvings.start_steps), halved);
    let steps = steps.take_while(|steps| *steps >= halvings.end_steps.max(1));
    let steps: Vec<String> = steps.map(|steps| steps.to_string()).collect();
    steps.join(" → ")
}

fn grids(run: &Run, rows: &[Row], images: UncaptionedGrids) -> Grids {
    let grid = |(row, png): (&Row, Vec<u8>)| Grid {
        name: format!(
            "{}, {}",
            capitalised(row.model.name()),
            plural(row.steps, "step")
        ),
        details: vec![
            plural(row.network_calls, "call"),
            format!("FID {:.2}", row.fid),
        ],
        is_highlighted: student(rows, GOAL_STEPS, row.w) == Some(row),
        png,
    };
    Grids {
        note: "The same place has the same noise and the same class in every grid: only the model and its steps differ.".into(),
        row_names: run.examples.classes().to_vec(),
        grids: std::iter::zip(rows, images.pngs).map(grid).collect(),
    }
}

fn measure(rows: &[Row], w: f64) -> String {
    let samples = rows.first().map_or(0, |row| row.samples);
    format!(
        "How far generated images are from real ones, by cost. The {METRIC} is the Fréchet distance between {} generated images and the 60,000 training images, in the features of a small classifier of Fashion-MNIST. It compares models of the same data with each other; it is not the FID of the literature. The plot is for w = {w}, and the table has others. A hollow point was measured earlier.",
        thousands(samples as u64)
    )
}

fn facts(made: &Made<'_>, (rows, w): (&[Row], f64), losses: &[LossCurve]) -> Vec<(String, String)> {
    let (run, teacher) = (made.run, made.teacher);
    let seeds = match made.matching {
        None => run.seed.to_string(),
        Some(matching) => format!("{}, of matching {}", run.seed, matching.recipe.seed),
    };
    let training: f64 = losses.iter().map(|curve| curve.seconds).sum();
    let live = rows.iter().filter(|row| !row.stored);
    let measuring: f64 = live
        .map(|row| row.seconds_per_image * row.samples as f64)
        .sum();
    let mut facts = vec![
        ("Machine", machine::describe()),
        (
            "Time",
            format!(
                "{} of training, {} of generating the measured images",
                duration(training),
                duration(measuring)
            ),
        ),
        ("Seed", seeds),
        (
            "Teacher",
            format!(
                "builtin:fashion-mnist-teacher, weights {}",
                teacher.weights_hash()
            ),
        ),
        (
            "Images",
            format!("{}, {}", run.examples.name(), run.examples.fingerprint()),
        ),
    ];
    if let Some(row) = rows.first() {
        facts.push(("Classifier", row.features.clone()));
        facts.push((
            "Guidance",
            format!(
                "w = {w} in images and plot (guidance scale {}), {} in the metrics",
                w + 1.0,
                weights(rows.iter())
            ),
        ));
    }
    let stored = || rows.iter().filter(|row| row.stored);
    if let Some(row) = stored().next() {
        let of_default = stored().filter(|other| other.w == row.w);
        let steps: Vec<String> = of_default.map(|other| other.steps.to_string()).collect();
        facts.push((
            "Stored measurements",
            format!(
                "those of the teacher; reproduce them with: fewstep eval --model builtin:fashion-mnist-teacher --steps {} --w {} --count {}",
                steps.join(","),
                weights(stored()),
                row.samples
            ),
        ));
    }
    facts
        .into_iter()
        .map(|(name, value)| (name.to_string(), value))
        .collect()
}

/// Each w of these rows once, separated by commas.
fn weights<'a>(rows: impl Iterator<Item = &'a Row>) -> String {
    let mut weights: Vec<String> = rows.map(|row| row.w.to_string()).collect();
    weights.dedup();
    weights.join(",")
}

fn next(made: &Made<'_>) -> Vec<(String, String)> {
    let folder = made.run.folder.display();
    let step = |what: &str, command: String| (what.to_string(), command);
    let sample = |model: String, steps: usize| {
        format!("fewstep sample --model {model} --steps {steps} --w 2 --count 64 --out grid.png")
    };
    let generate = match made.matching {
        None => vec![step(
            "Generate images with the student for 4 steps and stronger guidance:",
            sample(folder.to_string(), 4),
        )],
        Some(matching) => vec![
            step(
                &format!(
                    "Generate images with the {} and stronger guidance:",
                    matching.name()
                ),
                sample(folder.to_string(), matching.steps),
            ),
            step(
                "With the plain one, whose images are nearer to its teacher's from the same noise:",
                sample(matching.recipe.matching.student.clone(), matching.steps),
            ),
        ],
    };
    let others = [
        step(
            "Train a teacher on images of your own, in a folder per class, and distil it:",
            "fewstep train RECIPE.toml --set data.kind=folder --set data.path=IMAGES --out runs/teacher\nfewstep distill RECIPE.toml --set teacher=runs/teacher/models/teacher --out runs/student".into(),
        ),
    ];
    generate.into_iter().chain(others).collect()
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_starts_with_a_capital() {
        assert_eq!(capitalised("teacher"), "Teacher");
    }
}
