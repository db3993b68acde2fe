//! `fewstep quickstart`: the whole method once, on what is embedded in the program.

mod candidate;
mod goal;
mod grids;
mod machine;
mod matching;
mod measure;
mod onward;
mod report;
mod resumed;
mod stages;
mod training;

use super::shared::interrupt::Interrupt;
use super::shared::mirror::Mirror;
use super::shared::plan;
use super::shared::run_folder::RunFolder;
use crate::builtin;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::memory::MemoryArgs;
use crate::parsers::{number, seed};
use crate::report::table;
use candidate::{Candidate, Weights};
use fewstep_data::Examples;
use fewstep_diffusion::Guidance;
use fewstep_distill::World;
use fewstep_distill::recipe::{DistillRecipe, parse_with};
use fewstep_distill::run::{Phase, Run};
use fewstep_generate::{Generator, ModelSource};
use goal::{METRIC, verdict};
use grids::UncaptionedGrids;
use matching::Matching;
use measure::Evaluator;
use onward::split;
use report::Made;
use stages::Stages;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use training::Training;

const RECIPE: &str = include_str!("../../../../../recipes/fashion-mnist/quickstart.toml");

/// Distil an embedded teacher into students of 8, 4, 2 and 1 steps, and measure them.
///
/// The student of 4 steps is matched before it is halved further: a copy of it learns to generate as
/// the teacher's images are distributed. It and the students of 2 and 1 steps that follow from it are
/// nearer to real images than plain students, and further from what the teacher makes of the same
/// noise. `--model runs/quickstart --steps 4` is the matched student, `--model
/// runs/quickstart/models/steps-4` the plain one.
///
/// It needs only this program and a few minutes, and writes a run folder with the students, images,
/// results.json and report.html.
///
/// Example: fewstep quickstart --out runs/quickstart
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder of the run.
    #[arg(long, value_name = "FOLDER", default_value = "runs/quickstart")]
    out: PathBuf,
    /// Seed of all randomness [default: the recipe's].
    #[arg(long, value_parser = seed)]
    seed: Option<u64>,
    /// Continue an interrupted run.
    #[arg(long)]
    resume: bool,
    /// Images generated for each result. Results with different numbers of images cannot be
    /// compared.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(2..=MOST_SAMPLES))]
    samples: u64,
    /// Guidance weights to measure with, besides the students' default; above 3 only plain students,
    /// as matched ones are for 0 to 3. Each takes minutes more, since the teacher's 64 steps are
    /// measured too where the program has no result of them
    /// [default: those with a result].
    #[arg(long, value_delimiter = ',', value_parser = number, allow_negative_numbers = true)]
    w: Vec<f64>,
    /// Override a key of the recipe (recipes/fashion-mnist/quickstart.toml), as in --set
    /// guided.updates=500; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Override a key of the matching recipe (recipes/fashion-mnist/quickstart-matching.toml), as in
    /// --set-matching updates=600; may be given several times.
    #[arg(
        long = "set-matching",
        value_name = "KEY=VALUE",
        conflicts_with = "plain"
    )]
    matching_overrides: Vec<String>,
    /// Match no student: halve the plain ones to the end. With --resume, the same command without this
    /// matches one later.
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    memory: MemoryArgs,
}

/// Images of a result, at most: so many features fit into the memory of any machine.
const MOST_SAMPLES: u64 = 1_000_000;

pub(crate) fn run(args: Args) -> CliResult {
    args.memory.choose();
    let mut recipe = args.recipe()?;
    let phases = |recipe: &DistillRecipe| recipe.phases().map_err(CliError::input);
    let whole = phases(&recipe)?;
    let mut matching = args.matching(&recipe, &whole)?;
    let split = matching.as_ref().map(|matching| split(&recipe, matching));
    let (before, onward) = split.transpose()?.unzip();
    let onward = onward.flatten();
    let weights = args.weights(&recipe)?;
    let device = crate::compute::device_of_run(&recipe.run, &World::default())?;
    let mirror = recipe.run.mirror.as_deref();
    let mut folder = RunFolder::open(&args.out, args.resume, mirror, &World::default())?;
    let mut mirror = folder.take_mirror();
    let stored = folder.stored::<DistillRecipe>()?;
    // A run that was plain has the plain students to the end.
    let end = |recipe: &DistillRecipe| recipe.progressive.as_ref().map(|p| p.end_steps);
    let was_plain = stored.as_ref().map(end) == Some(end(&recipe));
    if let Some(before) = before.filter(|_| !was_plain) {
        recipe = before;
    }
    recipe.complete(stored.as_ref());
    if args.resume {
        resumed::check(
            (&args.out, &whole),
            matching.as_ref(),
            (stored.as_ref(), &recipe),
        )?;
    }
    let teacher = ModelSource::find(&recipe.teacher, None)?.model(&device)?;
    let run = Run {
        folder: args.out.clone(),
        seed: recipe.seed,
        phases: phases(&recipe)?,
        examples: Examples::images(Arc::new(builtin::load_data(&recipe.data)?)),
        components: None,
        flip: recipe.flip,
        config: recipe.run.clone(),
        device,
        world: World::default(),
    };
    plan::check_memory(&run, &teacher)?;
    println!(
        "Distilling the embedded teacher on {} real images of {} classes into {}",
        run.examples.len(),
        run.examples.classes().len(),
        run.folder.display()
    );
    let further = onward.as_ref().map_or(0, |onward| onward.phases.len());
    let matched = matching
        .as_ref()
        .map(|matching| (1 + further, matching.guidance()));
    let rows = Candidate::count(&run.phases, matched, &weights);
    // One stage per phase, one per row of results, one for the images.
    let trained = run.phases.len() + matched.map_or(0, |(students, _)| students);
    let mut stages = Stages::new(trained + rows + 1);
    let inputs = folder.begin(&recipe, &phases, &run, &teacher)?;
    let mut training = Training {
        stages: &mut stages,
        mirror: &mut mirror,
        interrupt: Interrupt::watch()?,
        done: 0,
    };
    let mut students = || -> CliResult<_> {
        let plain = training.train(&run, (&teacher, &inputs), args.resume)?;
        let mut matched = vec![];
        if let Some(matching) = &mut matching {
            let halved = (&run, &plain[..]);
            matched.push(matching.train(&teacher, halved, args.resume, &mut training)?);
        }
        if let (Some(onward), [start]) = (&onward, &matched[..]) {
            let students = onward.train(start, &run, args.resume, &mut training)?;
            matched.extend(students);
        }
        Ok((plain, matched))
    };
    let trained = students();
    drop(training);
    let shown = trained.and_then(|(plain, matched)| {
        let generator = Rc::new(Generator::new(teacher.clone(), &run.device)?);
        let mut candidates = Candidate::all(&generator, (&plain, &matched), &weights)?;
        let mut evaluator = Evaluator::new(generator, args.samples as usize)?;
        let rows = evaluator.rows(&candidates, &run.folder.join("results.json"), &mut stages)?;
        candidates.retain(|candidate| candidate.w == weights.default);
        let grids = UncaptionedGrids::generate(&candidates, &run, &mut stages)?;
        let made = Made {
            run: &run,
            recipe: &recipe,
            teacher: &teacher,
            matching: matching.as_ref(),
            onward: onward.as_ref(),
        };
        let report = report::build(&made, (&rows, weights.default), grids)?;
        let page = report.write(&run.folder).input_error()?;
        println!("\n{}", table(&rows, METRIC));
        if let Some(verdict) = verdict(&rows, weights.default) {
            println!("{verdict}");
        }
        println!("The report is {}", page.display());
        Ok(())
    });
    // The results and the report are new in the folder.
    if let Some(mirror) = &mut mirror {
        mirror.be_behind();
    }
    let all = (&run.world, shown.is_ok());
    Mirror::finish(mirror, all, shown)
}

impl Args {
    /// The weights to measure with: some of those that the recipe's students are for.
    fn weights(&self, recipe: &DistillRecipe) -> CliResult<Weights> {
        let mut asked = self.w.clone();
        if asked.is_empty() {
            let rows = builtin::teacher_rows()?.into_iter();
            let stored = rows.filter(|row| row.samples as u64 == self.samples);
            asked.extend(stored.map(|row| row.w));
        }
        let students = recipe.w.map_or(Guidance::None, |w| w.guidance());
        let weights = Weights::of(students, &asked);
        match self.w.iter().find(|w| !weights.contains(**w)) {
            Some(w) => Err(CliError::input(format!(
                "--w {w} is outside the range that the recipe's students are for: choose another, or a wider range with --set w=[MIN,MAX]"
            ))),
            None => Ok(weights),
        }
    }

    /// The matched student, unless none is wanted, after the halvings of a recipe with these phases.
    fn matching(&self, halved: &DistillRecipe, phases: &[Phase]) -> CliResult<Option<Matching>> {
        let (overrides, halved) = (&self.matching_overrides, (halved, phases));
        let matching = || Matching::new(overrides, self.seed, &self.out, halved);
        (!self.plain).then(matching).transpose()
    }

    fn recipe(&self) -> CliResult<DistillRecipe> {
        const ORIGIN: &str = "the recipe of quickstart";
        let original: DistillRecipe = parse_with(RECIPE, ORIGIN, &[]).input_error()?;
        let mut recipe: DistillRecipe = parse_with(RECIPE, ORIGIN, &self.overrides)?;
        recipe.seed = self.seed.unwrap_or(recipe.seed);
        if (&recipe.teacher, &recipe.data) != (&original.teacher, &original.data) {
            return Err(CliError::input(
                "quickstart works with its own teacher and images: use `fewstep distill RECIPE.toml` for yours",
            ));
        }
        recipe
            .validate()
            .map_err(|e| CliError::input(format!("{ORIGIN}: {e}")))?;
        Ok(recipe)
    }
}
