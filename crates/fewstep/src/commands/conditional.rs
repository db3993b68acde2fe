//! What the verbs that draw from a condition image share.

use super::artist::{Artist, reads_no_texts};
use crate::arguments::{self, GuidanceArgs, SamplerArgs, positive};
use crate::compute::{self, PrecisionArgs};
use crate::failure::{Blame, Failure, Outcome};
use crate::report::plural;
use crate::{output, progress};
use burn::tensor::{Device, Tensor, TensorData};
use fewstep::{Generator, Request};
use fewstep_data::picture::{self, Picture, to_f32};
use fewstep_diffusion::Task;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Arguments of every verb that draws from a condition image.
#[derive(clap::Args)]
pub(crate) struct ConditionalArgs {
    /// The model: a model folder, a .safetensors file or a run folder.
    #[arg(long)]
    pub(super) model: String,
    /// The adapter of another model folder, in place of the model's own: one that was trained on the same base.
    #[arg(long, value_name = "FOLDER")]
    pub(super) adapter: Option<PathBuf>,
    /// The condition image; may be given several times.
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
    /// Pictures for each condition image.
    #[arg(long, default_value = "1", value_parser = positive)]
    pub(super) count: usize,
    /// All randomness.
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Pictures per network call.
    #[arg(long, default_value = "16", value_parser = positive)]
    pub(super) batch: usize,
    /// The PNG file to write: a row for each condition image, which comes first in it.
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// Print a summary as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// A condition image made ready.
pub(super) struct Source {
    /// The values that the model is given, `shape`.
    pub(super) hint: Vec<f32>,
    pub(super) shape: [usize; 3],
    /// What the user sees of it.
    pub(super) shown: Picture,
    /// What is to stay as it is in every result: a picture, and 0 where it stays.
    pub(super) keep: Option<(Vec<f32>, Vec<f32>)>,
}

impl Source {
    /// A picture that is the condition itself.
    pub(super) fn plain(shown: Picture) -> Self {
        Self {
            hint: values(&shown),
            shape: [shown.shape.channels, shown.shape.height, shown.shape.width],
            shown,
            keep: None,
        }
    }
}

/// A picture in [-1, 1].
pub(super) fn values(picture: &Picture) -> Vec<f32> {
    picture.pixels.iter().map(|&value| to_f32(value)).collect()
}

/// Reads a picture of any size.
pub(super) fn read(file: &Path, channels: usize) -> Outcome<Picture> {
    picture::read(file, None, channels).blame_input()
}

impl ConditionalArgs {
    /// Draws from all images. `ready` makes the condition out of the n-th image, given the channels of the model's
    /// pictures and of its condition images.
    pub(super) fn run(
        &self,
        task: Task,
        ready: impl Fn(usize, &Path, [usize; 2]) -> Outcome<Source>,
    ) -> Outcome {
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
            recipe.hint.map_or(0, |hint| hint.shape[0]),
        ];
        let sources = (0..)
            .zip(&self.images)
            .map(|(n, file)| ready(n, file, channels));
        let sources = sources.collect::<Outcome<Vec<Source>>>()?;
        output::prepare(&self.out)?;
        let started = Instant::now();
        let mut cells = vec![];
        let bar = progress::bar("drawing", (sources.len() * self.count) as u64, "pictures");
        for group in sources.chunk_by(|a, b| a.shape == b.shape) {
            let hints = group.iter().map(|source| source.batch(self.count, &device));
            let hints = Tensor::cat(hints.collect(), 0);
            request.classes = vec![class; group.len() * self.count];
            let done_before = request.first;
            let prompts = vec![self.prompt.clone().unwrap_or_default(); request.classes.len()];
            let drawn = artist.draw(Some(hints), &prompts, &request, &mut |done| {
                bar.set_position(done_before + done as u64)
            })?;
            for (source, drawn) in group.iter().zip(drawn.chunks(self.count)) {
                cells.push(source.shown.clone());
                cells.extend(drawn.iter().map(|picture| source.keep_known(picture)));
            }
            request.first += request.classes.len() as u64;
        }
        bar.finish_and_clear();
        let seconds = started.elapsed().as_secs_f64() / (sources.len() * self.count) as f64;
        output::write_picture(&self.out, &picture::grid(&cells, 1 + self.count, 1))?;
        self.report(generator, &request, sources.len(), seconds);
        Ok(())
    }

    /// The model, with the adapter that was asked for, made for this task.
    fn artist(&self, task: Task, device: &Device) -> Outcome<Artist> {
        let artist = Artist::load(&self.model, self.adapter.as_deref(), self.steps, device)?;
        if self.prompt.is_some() && !artist.reads_texts() {
            return Err(reads_no_texts("--prompt"));
        }
        match artist.generator().model().recipe.hint.map(|hint| hint.task) {
            Some(known) if known == task => Ok(artist),
            Some(known) => Err(Failure::input(format!(
                "this model was not made for `fewstep {}`: use `fewstep {}`",
                task.verb(),
                known.verb()
            ))),
            None => Err(Failure::input(
                "this model takes no condition image: distil one with `method = \"codi\"`, or give an adapter for it with --adapter",
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
                "{}: {}, {} sampler, {}, seed {}; {} and {seconds:.3} s per picture",
                self.out.display(),
                plural(images * self.count, "picture"),
                request.sampler.name(),
                plural(request.steps, "step"),
                self.seed,
                plural(calls, "network call"),
            ),
        }
    }
}

impl Source {
    /// The condition of `count` pictures.
    fn batch(&self, count: usize, device: &Device) -> Tensor<4> {
        let [channels, height, width] = self.shape;
        let hint = TensorData::new(self.hint.clone(), [1, channels, height, width]);
        Tensor::<4>::from_data(hint, device).repeat_dim(0, count)
    }

    /// The result with what was known put back.
    fn keep_known(&self, drawn: &Picture) -> Picture {
        match &self.keep {
            Some((known, hole)) => put_back(drawn, known, hole),
            None => drawn.clone(),
        }
    }
}

/// A drawn picture with what was known around a hole (1 where it is, 0 elsewhere) put back.
pub(super) fn put_back(drawn: &Picture, known: &[f32], hole: &[f32]) -> Picture {
    let drawn_values = values(drawn);
    let holes = hole.iter().cycle();
    let pixels = drawn_values.iter().zip(known).zip(holes);
    let kept: Vec<f32> = pixels
        .map(|((drawn, known), hole)| drawn * hole + known * (1.0 - hole))
        .collect();
    Picture::from_f32(drawn.shape, &kept)
}
