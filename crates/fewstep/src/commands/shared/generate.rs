//! The flags of all commands that generate, and the way from a request to image files.

use super::guidance::GuidanceArgs;
use super::image_files::ImageArgs;
use super::loras::LoadArgs;
use super::models;
use super::prompts::{PromptArgs, warn_if_cut};
use super::sampling::SamplerArgs;
use super::shard::Shard;
use super::summary::{Generated, Summary};
use crate::compute::{self, PrecisionArgs};
use crate::error::{CliError, CliResult};
use crate::memory::{self, MemoryArgs};
use crate::numbers::plural;
use crate::parsers::{batch_size, count, seed, steps};
use crate::progress;
use fewstep_data::image::Image;
use fewstep_generate::{
    Extent, Generator, ImageRequest, Init, KeepEncoder, LoadOptions, LoraChoice, Request, Subject,
};
use fewstep_kernels::device::Placement;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

/// Which model, and how it is sampled.
#[derive(clap::Args)]
pub(crate) struct GenerateArgs {
    /// The model: a folder, a .safetensors file, a run folder, a name on the hub, or builtin:NAME.
    #[arg(long)]
    pub(crate) model: String,
    /// Sampling steps [default: those that a student was distilled for; 32 for a teacher].
    #[arg(long, value_parser = steps)]
    pub(crate) steps: Option<usize>,
    #[command(flatten)]
    pub(crate) guidance: GuidanceArgs,
    #[command(flatten)]
    pub(crate) sampler: SamplerArgs,
    /// Number of images; with control images, of each of them [default: 1 for each prompt or
    /// control image; 4 for each class, at most 64].
    #[arg(long, value_parser = count)]
    pub(crate) count: Option<usize>,
    /// Seed of all randomness; -1 is a random one, which the summary names.
    #[arg(long, default_value = "0", value_parser = seed)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) precision: PrecisionArgs,
    #[command(flatten)]
    pub(crate) memory: MemoryArgs,
    /// Images per network call [default: 64; 16 with control images; 1 for latent models].
    #[arg(long, value_parser = batch_size)]
    pub(crate) batch: Option<usize>,
    /// Print the summary as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How many images to generate of this many classes without --count.
pub(crate) fn class_count(classes: usize) -> usize {
    (4 * classes).min(64)
}

impl GenerateArgs {
    /// Loads the model, with the ControlNet of this folder if there is one, to be asked for these
    /// texts.
    pub(crate) fn load(
        &self,
        controlnet: Option<&Path>,
        texts: Vec<String>,
    ) -> CliResult<Generator> {
        self.memory.choose();
        let device = compute::device(None)?;
        let keep = KeepEncoder::WhileEncoding;
        let options = self
            .precision
            .load_options(&device, controlnet, &self.load, keep)?;
        let options = LoadOptions { texts, ..options };
        let source = models::find(&self.model, self.steps)?;
        if let Some(path) = source.path() {
            tracing::debug!("the model is {}", path.display());
        }
        Ok(source.generator(&options, &device)?)
    }

    /// Refuses more images, or larger ones, than the memory of this machine holds. By default they
    /// have the size that the model was trained on.
    pub(crate) fn check_memory(
        &self,
        generator: &Generator,
        images: u64,
        size: Option<[usize; 2]>,
    ) -> CliResult {
        let predicted = generator.memory(&Extent {
            images,
            size,
            batch: self.batch.unwrap_or_else(|| generator.default_batch()),
            w: self.guidance.w(),
        })?;
        let usual = generator.image_shape();
        let [height, width] = size.unwrap_or([usual.height, usual.width]);
        let images = plural(images as usize, "image");
        memory::check_on(
            Placement::of(generator.device()).memory(),
            &format!("generating {images} of {height}x{width} pixels"),
            predicted,
            "use a smaller --count or --batch, or smaller images",
        )
    }

    /// A request for these images, with w, sampler and steps from the flags.
    pub(crate) fn request(
        &self,
        generator: &Generator,
        images: Vec<ImageRequest>,
    ) -> CliResult<Request> {
        let w = self.guidance.w();
        let images = images.into_iter().map(|image| ImageRequest { w, ..image });
        let request = generator.request(images.collect());
        Ok(Request {
            sampler: self.sampler.choose(generator)?,
            steps: self.steps.unwrap_or(request.steps),
            batch: self.batch.unwrap_or(request.batch),
            ..request
        })
    }

    /// Generates with a progress bar.
    pub(crate) fn generate(
        &self,
        generator: &Generator,
        request: &Request,
    ) -> CliResult<Generated> {
        let started = Instant::now();
        let bar = progress::bar("generating", request.images.len() as u64, "images");
        let images = generator.generate(request, &mut |progress| {
            bar.set_position(progress.done as u64);
            ControlFlow::Continue(())
        })?;
        bar.finish_and_clear();
        let seconds = started.elapsed().as_secs_f64();
        Ok(Generated {
            seconds_per_image: seconds / images.len().max(1) as f64,
            images,
        })
    }

    /// The text about an image, for its file.
    pub(crate) fn parameters(
        &self,
        generator: &Generator,
        request: &Request,
        index: usize,
    ) -> String {
        let loras = self.load.loras.loras.iter().map(LoraChoice::tag);
        generator.parameters(&self.model, &loras.collect::<Vec<_>>(), request, index)
    }

    /// Prints the summary.
    pub(crate) fn report(&self, summary: Summary) -> CliResult {
        let summary = summary.with_used(self.load.used()?);
        match self.json {
            true => println!("{}", serde_json::json!(summary)),
            false => println!("{summary}"),
        }
        Ok(())
    }
}

/// Warns of what the model was not trained for, and of prompts that are too long.
pub(crate) fn warn(generator: &Generator, request: &Request) -> CliResult {
    for warning in generator.check(request)? {
        eprintln!("warning: {warning}");
    }
    let mut seen = HashSet::new();
    let prompts = request
        .images
        .iter()
        .filter_map(|image| match &image.subject {
            Subject::Prompt(prompt) => Some(prompt.as_str()),
            Subject::Any | Subject::Class(_) => None,
        });
    for prompt in prompts.chain([&*request.negative]) {
        if !prompt.is_empty() && seen.insert(prompt) {
            warn_if_cut(generator, prompt)?;
        }
    }
    Ok(())
}

/// The flags of commands that generate from prompts or classes and write a grid or a folder.
#[derive(clap::Args)]
pub(crate) struct PromptedArgs {
    #[command(flatten)]
    pub(crate) generate: GenerateArgs,
    #[command(flatten)]
    pub(crate) prompts: PromptArgs,
    /// Number of the first image, to continue an earlier call.
    #[arg(long, default_value_t = 0)]
    pub(crate) first: u64,
    #[command(flatten)]
    pub(crate) images: ImageArgs,
}

impl PromptedArgs {
    /// Checks where the images go, reads the prompts, and loads the model, for this shard of the images
    /// if there is one.
    pub(crate) fn load(&mut self, shard: Option<Shard>) -> CliResult<Generator> {
        self.images.check()?;
        self.prompts.read()?;
        let texts = match self.prompts.len() {
            0 => vec![],
            prompts => {
                let count = self.generate.count.unwrap_or(prompts);
                let share = shard.map_or(Ok(0..count), |shard| shard.share_of(count))?;
                let number = |place: usize| self.first.saturating_add(place as u64);
                self.prompts.texts(number(share.start)..number(share.end))
            }
        };
        self.generate.load(None, texts)
    }

    /// Generates images of the subjects in turn, `count` of them without --count; writes and
    /// reports them. The `inputs` are not written over; `also` writes more of the images.
    pub(crate) fn run(
        &self,
        generator: &Generator,
        subjects: &[Subject],
        count: usize,
        init: Init,
        inputs: &[&Path],
        also: impl FnOnce(&[Image]) -> CliResult,
    ) -> CliResult {
        let count = self.generate.count.unwrap_or(count) as u64;
        let image = |index: u64| ImageRequest {
            subject: subjects[(index % subjects.len() as u64) as usize].clone(),
            init: init.clone(),
            ..ImageRequest::new(self.generate.seed, index)
        };
        let end = self.first.checked_add(count).ok_or_else(|| {
            CliError::input(format!("--first {}: the numbers end there", self.first))
        })?;
        self.generate
            .check_memory(generator, count, self.prompts.size)?;
        let images = (self.first..end).map(image);
        let request = Request {
            negative: self.prompts.negative_prompt.clone().unwrap_or_default(),
            size: self.prompts.size,
            ..self.generate.request(generator, images.collect())?
        };
        warn(generator, &request)?;
        let number = request.images.len();
        self.images.check_numbered(self.first, number, inputs)?;
        let generated = self.generate.generate(generator, &request)?;
        let classes = classes(generator, subjects);
        // Only grids of pixel models have a column for each class.
        let in_columns = match generator.is_latent() {
            true => 0,
            false => classes.len(),
        };
        let columns = columns(generated.images.len(), in_columns);
        self.images
            .write(&generated.images, self.first, columns, |index| {
                generator
                    .is_latent()
                    .then(|| self.generate.parameters(generator, &request, index))
            })?;
        also(&generated.images)?;
        let place = self.images.place();
        let summary = Summary::new(
            &self.generate.model,
            generator,
            &request,
            &generated,
            &place,
        );
        self.generate.report(summary.with_classes(classes))
    }
}

/// The names of the classes among the subjects.
fn classes(generator: &Generator, subjects: &[Subject]) -> Vec<String> {
    let names = generator.classes();
    let name = |subject: &Subject| match subject {
        Subject::Class(class) => names.get(*class as usize).cloned(),
        Subject::Any | Subject::Prompt(_) => None,
    };
    subjects.iter().filter_map(name).collect()
}

/// A grid that is about square, with a whole number of turns through the classes in each row where
/// that fits.
pub(crate) fn columns(count: usize, classes: usize) -> usize {
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
