//! `fewstep sample`: images from a model.

use crate::arguments;
use crate::commands::drawing::{Job, class_count};
use crate::failure::CliResult;
use crate::report::plural;
use crate::{models, progress};
use fewstep::{Canvas, Generator, Request};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Draw images with a model, in the way it was made for.
///
/// Image i of a seed is the same in every call, whatever the count and the batch size.
///
/// A latent diffusion model in diffusers' folder layout draws from texts: give --prompt; or classes, where it knows such.
///
/// Example: fewstep sample --model builtin:fashion-mnist --steps 4 --w 1 --count 64 --out grid.png
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    job: Job,
    /// A class to draw, by name or number; may be given several times. By default all classes in turn.
    #[arg(long = "class", value_name = "CLASS")]
    classes: Vec<String>,
}

/// What was drawn.
#[derive(Serialize)]
struct Summary<'a> {
    model: &'a str,
    sampler: String,
    steps: usize,
    w: Option<f64>,
    guidance_scale: Option<f64>,
    seed: u64,
    first: u64,
    samples: usize,
    classes: Vec<String>,
    network_calls: usize,
    seconds_per_image: f64,
    out: PathBuf,
}

pub(crate) fn run(args: Args) -> CliResult {
    let device = args.job.device()?;
    if let Some(pipeline) = models::load_latent(&args.job.model, args.job.steps, &device)? {
        let blank = |_, _| Ok(Canvas::Blank);
        return args.job.draw(pipeline, Some(&args.classes), blank, &device);
    }
    args.job.text.refuse_all()?;
    let model = models::load(&args.job.model, args.job.steps, &device)?;
    let generator = Generator::new(model, &device)?;
    let classes = args.chosen_classes(&generator)?;
    let request = args.request(&generator, &classes)?;
    for warning in generator.check(&request)? {
        eprintln!("warning: {warning}");
    }
    args.job.images.prepare()?;
    let started = Instant::now();
    let bar = progress::bar("drawing", request.classes.len() as u64, "images");
    let images = generator.draw(&request, &mut |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64() / images.len() as f64;
    let columns = columns(images.len(), classes.len());
    args.job
        .images
        .write(&images, args.job.first, columns, |_| None)?;
    args.report(&generator, &request, &classes, seconds)
}

impl Args {
    /// The classes that take turns; none for a model without classes.
    fn chosen_classes(&self, generator: &Generator) -> CliResult<Vec<u32>> {
        let known = &generator.model().recipe.classes;
        match self.classes.is_empty() {
            true => Ok((0..known.len() as u32).collect()),
            false => {
                let find = |given: &String| arguments::find_class(given, known);
                self.classes.iter().map(find).collect()
            }
        }
    }

    fn request(&self, generator: &Generator, classes: &[u32]) -> CliResult<Request> {
        let count = self.job.count.unwrap_or(match classes.len() {
            0 => 16,
            classes => class_count(classes),
        });
        let turns = self.job.first..self.job.first + count as u64;
        Ok(Request {
            classes: turns
                .map(|i| {
                    classes
                        .get(i.checked_rem(classes.len() as u64)? as usize)
                        .copied()
                })
                .collect(),
            first: self.job.first,
            seed: self.job.seed,
            steps: self.job.steps.unwrap_or_else(|| generator.default_steps()),
            sampler: self.job.sampler.choose(generator)?,
            w: self.job.guidance.w(),
            batch: self.job.batch.unwrap_or(64),
        })
    }

    fn report(
        &self,
        generator: &Generator,
        request: &Request,
        classes: &[u32],
        seconds: f64,
    ) -> CliResult {
        let recipe = &generator.model().recipe;
        let w = arguments::effective_w(recipe, request.w);
        let summary = Summary {
            model: &self.job.model,
            sampler: request.sampler.name(),
            steps: request.steps,
            w,
            guidance_scale: w.map(|w| arguments::tidy(1.0 + w)),
            seed: self.job.seed,
            first: self.job.first,
            samples: request.classes.len(),
            classes: classes
                .iter()
                .map(|&c| recipe.classes[c as usize].clone())
                .collect(),
            network_calls: generator.network_calls(request.sampler, request.steps, request.w),
            seconds_per_image: seconds,
            out: self.job.images.place(),
        };
        match self.job.json {
            true => println!("{}", serde_json::json!(summary)),
            false => println!("{}", summary.in_words()),
        }
        Ok(())
    }
}

impl Summary<'_> {
    fn in_words(&self) -> String {
        let of_classes = match self.classes.as_slice() {
            [] => String::new(),
            [class] => format!(" of {class}"),
            classes => format!(" of {} classes", classes.len()),
        };
        let guidance = match self.w {
            Some(w) => format!(", {}", arguments::both_conventions(w)),
            None => String::new(),
        };
        format!(
            "{}: {}{of_classes}, {} sampler, {}{guidance}, seed {}; {} and {:.3} s per image",
            self.out.display(),
            plural(self.samples, "image"),
            self.sampler,
            plural(self.steps, "step"),
            self.seed,
            plural(self.network_calls, "network call"),
            self.seconds_per_image
        )
    }
}

/// A grid that is about square, with a whole number of turns through the classes in each row where that fits.
fn columns(count: usize, classes: usize) -> usize {
    let side = (count as f64).sqrt();
    let turns = (side / classes.max(1) as f64).round().max(1.0) as usize;
    match turns * classes {
        0 => side.ceil() as usize,
        columns if columns as f64 <= 4.0 * side => columns,
        _ => side.ceil() as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::columns;

    #[test]
    fn columns_are_classes_where_that_makes_a_readable_grid() {
        assert_eq!(columns(40, 10), 10);
        assert_eq!(columns(64, 2), 8);
        assert_eq!(columns(64, 3), 9);
        assert_eq!(columns(10, 10), 10);
        // Hundreds of classes, or none, have no columns of their own.
        assert_eq!(columns(64, 1000), 8);
        assert_eq!(columns(16, 0), 4);
        assert_eq!(columns(4, 10), 2);
    }
}
