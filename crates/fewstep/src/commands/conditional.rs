//! What the verbs that draw from a control image share.

use super::artist::{Artist, reads_no_texts};
use crate::arguments::{self, GuidanceArgs, SamplerArgs, positive};
use crate::compute::{self, PrecisionArgs};
use crate::failure::{Blame, CliError, CliResult};
use crate::report::plural;
use crate::{output, progress};
use burn::tensor::{Device, Tensor, TensorData};
use fewstep::{Generator, Request};
use fewstep_data::image::{self, Image, to_f32};
use fewstep_diffusion::Task;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Arguments of every verb that draws from a control image.
#[derive(clap::Args)]
pub(crate) struct ConditionalArgs {
    /// The model: a model folder, a .safetensors file or a run folder.
    #[arg(long)]
    pub(super) model: String,
    /// The ControlNet of another model folder, in place of the model's own: one that was trained on the same base.
    #[arg(long, alias = "adapter", value_name = "FOLDER")]
    pub(super) controlnet: Option<PathBuf>,
    /// The control image; may be given several times.
    #[arg(long = "image", value_name = "FILE", required = true)]
    pub(super) images: Vec<PathBuf>,
    /// Steps; by default 4 for a student, 32 for a model that was only taught the condition.
    #[arg(long, value_parser = positive)]
    pub(super) steps: Option<usize>,
    #[command(flatten)]
    pub(super) guidance: GuidanceArgs,
    #[command(flatten)]
    pub(super) sampler: SamplerArgs,
    #[command(flatten)]
    pub(super) precision: PrecisionArgs,
    /// What to draw, for models that draw from texts: for `instruct` the instruction.
    #[arg(long, value_name = "TEXT")]
    pub(super) prompt: Option<String>,
    /// The class to draw, by name or number, for models with classes; by default none in particular.
    #[arg(long, value_name = "CLASS")]
    pub(super) class: Option<String>,
    /// Images for each control image.
    #[arg(long, default_value = "1", value_parser = positive)]
    pub(super) count: usize,
    /// All randomness.
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Images per network call.
    #[arg(long, default_value = "16", value_parser = positive)]
    pub(super) batch: usize,
    /// The PNG file to write: a row for each control image, which comes first in it.
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// Print a summary as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// A control image made ready.
pub(super) struct Source {
    /// The values that the model is given, `shape`.
    pub(super) control: Vec<f32>,
    pub(super) shape: [usize; 3],
    /// What the user sees of it.
    pub(super) shown: Image,
    /// What is to stay as it is in every result: an image, and 0 where it stays.
    pub(super) keep: Option<(Vec<f32>, Vec<f32>)>,
}

impl Source {
    /// An image that is the condition itself.
    pub(super) fn plain(shown: Image) -> Self {
        Self {
            control: values(&shown),
            shape: [shown.shape.channels, shown.shape.height, shown.shape.width],
            shown,
            keep: None,
        }
    }
}

/// An image in [-1, 1].
pub(super) fn values(image: &Image) -> Vec<f32> {
    image.pixels.iter().map(|&value| to_f32(value)).collect()
}

/// Reads an image of any size.
pub(super) fn read(file: &Path, channels: usize) -> CliResult<Image> {
    image::read(file, None, channels).blame_input()
}

impl ConditionalArgs {
    /// Draws from all images. `ready` makes the condition out of the n-th image, given the channels of the model's
    /// images and of its control images.
    pub(super) fn run(
        &self,
        task: Task,
        ready: impl Fn(usize, &Path, [usize; 2]) -> CliResult<Source>,
    ) -> CliResult {
        let device = compute::device(None)?;
        self.precision.choose(&device)?;
        let artist = self.artist(task, &device)?;
        let generator = artist.generator();
        let recipe = &generator.model().recipe;
        let class = match &self.class {
            Some(given) => Some(arguments::find_class(given, &recipe.classes)?),
            None => None,
        };
        let mut request = Request {
            classes: vec![class],
            first: 0,
            seed: self.seed,
            steps: self.steps.unwrap_or_else(|| generator.default_steps()),
            sampler: self.sampler.choose(generator)?,
            w: self.guidance.w(),
            batch: self.batch,
        };
        for warning in generator.check(&request)? {
            eprintln!("warning: {warning}");
        }
        let channels = [
            artist.shape().channels,
            recipe.control.map_or(0, |control| control.shape[0]),
        ];
        let sources = (0..)
            .zip(&self.images)
            .map(|(n, file)| ready(n, file, channels));
        let sources = sources.collect::<CliResult<Vec<Source>>>()?;
        output::prepare(&self.out)?;
        let started = Instant::now();
        let mut cells = vec![];
        let bar = progress::bar("drawing", (sources.len() * self.count) as u64, "images");
        for group in sources.chunk_by(|a, b| a.shape == b.shape) {
            let controls = group.iter().map(|source| source.batch(self.count, &device));
            let controls = Tensor::cat(controls.collect(), 0);
            request.classes = vec![class; group.len() * self.count];
            let done_before = request.first;
            let prompts = vec![self.prompt.clone().unwrap_or_default(); request.classes.len()];
            let drawn = artist.draw(Some(controls), &prompts, &request, &mut |done| {
                bar.set_position(done_before + done as u64)
            })?;
            for (source, drawn) in group.iter().zip(drawn.chunks(self.count)) {
                cells.push(source.shown.clone());
                cells.extend(drawn.iter().map(|image| source.keep_known(image)));
            }
            request.first += request.classes.len() as u64;
        }
        bar.finish_and_clear();
        let seconds = started.elapsed().as_secs_f64() / (sources.len() * self.count) as f64;
        output::write_image(&self.out, &image::grid(&cells, 1 + self.count, 1))?;
        self.report(generator, &request, sources.len(), seconds);
        Ok(())
    }

    /// The model, with the ControlNet that was asked for, made for this task.
    fn artist(&self, task: Task, device: &Device) -> CliResult<Artist> {
        let artist = Artist::load(&self.model, self.controlnet.as_deref(), self.steps, device)?;
        if self.prompt.is_some() && !artist.reads_texts() {
            return Err(reads_no_texts("--prompt"));
        }
        match artist
            .generator()
            .model()
            .recipe
            .control
            .map(|control| control.task)
        {
            Some(known) if known == task => Ok(artist),
            Some(known) => Err(CliError::input(format!(
                "this model was not made for `fewstep {}`: use `fewstep {}`",
                task.verb(),
                known.verb()
            ))),
            None => Err(CliError::input(
                "this model takes no control image: distil one with `method = \"codi\"`, or give a ControlNet for it with --controlnet",
            )),
        }
    }

    fn report(&self, generator: &Generator, request: &Request, images: usize, seconds: f64) {
        let calls = generator.network_calls(request.sampler, request.steps, request.w);
        let summary = json!({
            "model": self.model,
            "images": images,
            "samples": images * self.count,
            "sampler": request.sampler.name(),
            "steps": request.steps,
            "w": arguments::effective_w(&generator.model().recipe, request.w),
            "seed": self.seed,
            "network_calls": calls,
            "seconds_per_image": seconds,
            "out": self.out,
        });
        match self.json {
            true => println!("{summary}"),
            false => println!(
                "{}: {}, {} sampler, {}, seed {}; {} and {seconds:.3} s per image",
                self.out.display(),
                plural(images * self.count, "image"),
                request.sampler.name(),
                plural(request.steps, "step"),
                self.seed,
                plural(calls, "network call"),
            ),
        }
    }
}

impl Source {
    /// The condition of `count` images.
    fn batch(&self, count: usize, device: &Device) -> Tensor<4> {
        let [channels, height, width] = self.shape;
        let control = TensorData::new(self.control.clone(), [1, channels, height, width]);
        Tensor::<4>::from_data(control, device).repeat_dim(0, count)
    }

    /// The result with what was known put back.
    fn keep_known(&self, drawn: &Image) -> Image {
        match &self.keep {
            Some((known, hole)) => put_back(drawn, known, hole),
            None => drawn.clone(),
        }
    }
}

/// A drawn image with what was known around a hole (1 where it is, 0 elsewhere) put back.
pub(super) fn put_back(drawn: &Image, known: &[f32], hole: &[f32]) -> Image {
    let drawn_values = values(drawn);
    let holes = hole.iter().cycle();
    let pixels = drawn_values.iter().zip(known).zip(holes);
    let kept: Vec<f32> = pixels
        .map(|((drawn, known), hole)| drawn * hole + known * (1.0 - hole))
        .collect();
    Image::from_f32(drawn.shape, &kept)
}
