//! What `train` and `distill` share: reading a recipe, the run folder, progress and sample grids.

use crate::failure::{Blame, CliError, CliResult};
use crate::progress;
use burn::tensor::Device;
use fewstep::{Canvas, Generator, Request, TextGenerator, TextRequest, Texts, to_images};
use fewstep_data::image::{self, Image};
use fewstep_data::{ExampleOrder, Examples, HostBatch, ImageShape};
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::{Guidance, Inputs, Role, StudentSampler};
use fewstep_distill::recipe::{parse, parse_with};
use fewstep_distill::run::{Event, Run, is_run, to_device};
use fewstep_formats::{Model, Pipeline, PipelineComponents, write_atomically};
use fewstep_kernels::memory;
use fewstep_nn::Tiles;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Arguments of every command that runs a recipe.
#[derive(clap::Args)]
pub(crate) struct RunArgs {
    /// The recipe, a TOML file.
    recipe: PathBuf,
    /// Folder of the run; by default runs/NAME for a recipe NAME.toml.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Go on from the newest checkpoint of the run folder.
    #[arg(long)]
    resume: bool,
    /// Set a key of the recipe: --set optim.batch=64. May be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Print what the run would do, with the memory and time it would take, and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Predict the memory of every way to run it, and stop.
    #[arg(skip)]
    pub(crate) plan: bool,
}

impl RunArgs {
    /// For a prediction of memory alone.
    pub(crate) fn to_plan(recipe: PathBuf, overrides: Vec<String>) -> Self {
        Self {
            recipe,
            out: None,
            resume: false,
            overrides,
            dry_run: true,
            plan: true,
        }
    }

    /// Reads the recipe file with its overrides.
    pub(crate) fn recipe<R: DeserializeOwned>(&self) -> CliResult<R> {
        let origin = self.recipe.display().to_string();
        let text = std::fs::read_to_string(&self.recipe)
            .map_err(|e| CliError::input(format!("cannot read the recipe {origin}: {e}")))?;
        Ok(parse_with(&text, &origin, &self.overrides)?)
    }

    /// Prefixes a complaint about the recipe's values with its name.
    pub(crate) fn complain(&self, message: String) -> CliError {
        CliError::input(format!("{}: {message}", self.recipe.display()))
    }

    /// The folder of the run.
    pub(crate) fn folder(&self) -> PathBuf {
        let name = self.recipe.file_stem().unwrap_or_default();
        self.out
            .clone()
            .unwrap_or_else(|| Path::new("runs").join(name))
    }

    /// Whether to resume.
    pub(crate) fn resume(&self) -> bool {
        self.resume
    }
}

/// Makes the run folder with the resolved recipe in it, or checks the one that is there.
pub(crate) fn prepare<R>(folder: &Path, recipe: &R, resume: bool) -> CliResult
where
    R: Serialize + DeserializeOwned,
{
    let file = folder.join("recipe.toml");
    let resolved = toml::to_string(recipe).blame_input()?;
    match (is_run(folder), resume) {
        (true, false) => Err(CliError::input(format!(
            "{} holds a run already: go on with it (--resume) or choose another folder (--out)",
            folder.display()
        ))),
        (true, true) => {
            // Written anew: an older version may have had other names for keys, or fewer of them.
            let stored = std::fs::read_to_string(&file).blame_input()?;
            let stored: R = parse(&stored, &file.display().to_string())?;
            let stored = toml::to_string(&stored).blame_input()?;
            match stored == resolved {
                true => Ok(()),
                false => Err(CliError::input(format!(
                    "{} was started with another recipe ({}): a run is resumed with the seed and the settings it was started with",
                    folder.display(),
                    first_difference(&stored, &resolved)
                ))),
            }
        }
        (false, _) => write_atomically(&file, resolved.as_bytes()).blame_input(),
    }
}

fn first_difference(stored: &str, resolved: &str) -> String {
    let mut pairs = stored.lines().zip(resolved.lines());
    match pairs.find(|(a, b)| a != b) {
        Some((a, b)) => format!("there `{a}`, now `{b}`"),
        None => "one has more keys".into(),
    }
}

/// Runs the phases with progress bars and grids of sample images.
/// A model that draws from texts draws these, or some captions of the data.
pub(crate) fn go(run: &Run, initial: Model, prompts: &[String], resume: bool) -> CliResult {
    memory::give_back();
    let mut bar = indicatif::ProgressBar::hidden();
    let mut mean = 0.0;
    let mut samples = Samples {
        folder: run.folder.join("samples"),
        device: run.device.clone(),
        examples: match run.examples.are_drawn_from() {
            false => None,
            true => {
                let order = &mut ExampleOrder::new(run.seed, run.examples.len(), false);
                Some(
                    run.examples
                        .batch(order, 0, Samples::EXAMPLES)
                        .blame_input()?,
                )
            }
        },
        texts: run.components.clone().map(|components| {
            let prompts = match (&run.examples, prompts) {
                (Examples::Latents { latents, .. }, []) => latents.header().some.clone(),
                _ => prompts.to_vec(),
            };
            (components, prompts)
        }),
    };
    run.run(initial, resume, &mut |event| match event {
        Event::PhaseStarted {
            phase,
            index,
            updates,
        } => {
            let title = format!("{}/{} {}", index + 1, run.phases.len(), phase.name);
            bar = progress::bar(&title, phase.updates, "updates");
            bar.set_position(updates);
            bar.reset_eta();
            mean = 0.0;
        }
        Event::Updated { loss } => {
            mean = if mean == 0.0 {
                loss
            } else {
                0.95 * mean + 0.05 * loss
            };
            bar.inc(1);
            bar.set_message(format!("loss {mean:.4}"));
        }
        Event::Logged(record) => {
            if bar.is_hidden() {
                tracing::info!(
                    "{} update {} loss {:.5} {:.0} samples/s",
                    record.phase,
                    record.update,
                    record.loss,
                    record.samples_per_second
                );
            }
        }
        Event::Checkpointed { updates, model } => {
            bar.suspend(|| samples.draw(model, &format!("update-{updates:07}")));
        }
        Event::PhaseFinished { phase, model } => {
            bar.finish();
            samples.draw(model, &phase.name);
        }
    })?;
    Ok(())
}

/// Images that are drawn at once for a grid.
pub(crate) fn shown_at_once(run: &Run) -> usize {
    match (run.examples.text_width(), run.examples.conditions()) {
        (Some(_), _) => Samples::TEXTS,
        (None, Some(_)) => Samples::EXAMPLES,
        (None, None) => Samples::SIDE * Samples::SIDE,
    }
}

/// Grids of the same seeds over time. A grid that cannot be drawn is a warning: it must not end a long run.
struct Samples {
    folder: PathBuf,
    device: Device,
    /// Examples of the run, for models that draw from a part of them.
    examples: Option<HostBatch>,
    /// What lies around a network that works on latents, and the texts to draw.
    texts: Option<(PipelineComponents, Vec<String>)>,
}

impl Samples {
    const SIDE: usize = 8;
    const TEACHER_STEPS: usize = 16;
    const EXAMPLES: usize = 12;
    /// Images of each text, and images at once.
    const EACH: usize = 4;
    const TEXTS: usize = 4 * Self::EACH;
    /// Guidance of teachers that draw from texts.
    const TEXT_W: f64 = 2.0;

    fn draw(&mut self, model: &Model, name: &str) {
        if let Err(error) = self.try_draw(model, name) {
            tracing::warn!("no sample grid {name}: {error:#}");
        }
    }

    fn try_draw(&self, model: &Model, name: &str) -> anyhow::Result<()> {
        if model.recipe.control.is_some() {
            return self.draw_examples(model, name);
        }
        let steps = match model.recipe.role {
            // An encoder draws nothing.
            Role::Student {
                sampler: StudentSampler::Encoder,
                ..
            } => return Ok(()),
            Role::Student {
                steps: Some(steps), ..
            } => steps,
            _ => Self::TEACHER_STEPS,
        };
        if let Some((components, prompts)) = &self.texts {
            return match &self.examples {
                None => self.draw_texts(model, components, prompts, name),
                Some(examples) => self.draw_filled(model, components, examples, name),
            };
        }
        let generator = Generator::new(model.clone(), &self.device)?;
        let classes = model.recipe.classes.len() as u32;
        let request = Request {
            classes: (0..(Self::SIDE * Self::SIDE) as u32)
                .map(|i| (classes > 0).then(|| i % classes))
                .collect(),
            first: 0,
            seed: 0,
            steps,
            sampler: generator.default_sampler(),
            w: (model.recipe.guidance != Guidance::None).then(|| model.recipe.default_w()),
            batch: Self::SIDE * Self::SIDE,
        };
        let images = generator.draw(&request, &mut |_| {})?;
        self.write(&images, Self::SIDE, name)
    }

    /// Four images of each text. Autoencoder and text encoder are in memory only meanwhile.
    fn draw_texts(
        &self,
        model: &Model,
        components: &PipelineComponents,
        prompts: &[String],
        name: &str,
    ) -> anyhow::Result<()> {
        let Pipeline {
            model,
            vae,
            text_encoder,
            ..
        } = components.around(model.clone(), &self.device)?;
        let guided = model.recipe.guidance == Guidance::ClassifierFree;
        let generator = TextGenerator::new(model, vae, &self.device)?;
        let latents = generator.generator();
        let request = TextRequest {
            prompts: prompts
                .iter()
                .flat_map(|text| vec![text.clone(); Self::EACH])
                .collect(),
            negative: String::new(),
            size: generator.usual_size(),
            first: 0,
            seed: 0,
            steps: latents.default_steps().min(Self::TEACHER_STEPS),
            sampler: latents.default_sampler(),
            w: guided.then_some(Self::TEXT_W),
            batch: Self::TEXTS,
            canvas: Canvas::Blank,
            controls: None,
        };
        let texts = Texts::read(text_encoder, &request);
        let images = generator.draw(&request, &texts, &mut |_| {})?;
        self.write(&images, Self::TEXTS, name)
    }

    /// Rows of what is seen of an image with a hole, what the model makes of it, and the image, as the autoencoder
    /// shows them.
    fn draw_filled(
        &self,
        model: &Model,
        components: &PipelineComponents,
        examples: &HostBatch,
        name: &str,
    ) -> anyhow::Result<()> {
        let count = examples.len();
        let generator = Generator::new(model.clone(), &self.device)?;
        let guided = model.recipe.guidance == Guidance::ClassifierFree;
        let request = Request {
            classes: vec![None; count],
            first: 0,
            seed: 0,
            steps: generator.default_steps().min(Self::TEACHER_STEPS),
            sampler: generator.default_sampler(),
            w: guided.then_some(Self::TEXT_W),
            batch: count,
        };
        let batch = to_device(examples, 0, &self.device);
        let Some(concat) = batch.inputs.concat.clone() else {
            return Ok(());
        };
        let inputs = Inputs {
            w: generator.inputs(&request.classes, request.w).w,
            ..batch.inputs
        };
        let samples: Vec<u64> = (0..count as u64).collect();
        let [_, size @ ..] = batch.images.dims();
        let noise = random::normal(0, &samples, Purpose::InitialNoise, size, &self.device);
        let drawn = generator.sample(noise, &inputs, &request, &samples)?;
        let seen = concat.narrow(1, 1, size[0]);
        let vae = components.vae(&self.device)?;
        let [seen, drawn, truth] = [seen, drawn, batch.images]
            .map(|latents| to_images(vae.decode(latents, Some(Tiles::default()))));
        let rows = seen.into_iter().zip(drawn).zip(truth);
        let rows = rows.flat_map(|((seen, drawn), truth)| [seen, drawn, truth]);
        self.write(&rows.collect::<Vec<Image>>(), 9, name)
    }

    /// Rows of what is seen of a condition, what the model makes of it, and the truth. An autoencoder is in memory only
    /// meanwhile.
    fn draw_examples(&self, model: &Model, name: &str) -> anyhow::Result<()> {
        let Some((examples, controls)) = self
            .examples
            .as_ref()
            .and_then(|examples| Some((examples, examples.inputs.control.as_ref()?)))
        else {
            return Ok(());
        };
        let generator = Generator::new(model.clone(), &self.device)?;
        let request = Request {
            classes: match &examples.inputs.classes {
                Some(classes) => classes.clone(),
                None => vec![None; examples.len()],
            },
            first: 0,
            seed: 0,
            steps: generator.default_steps().min(Self::TEACHER_STEPS),
            sampler: generator.default_sampler(),
            w: None,
            batch: examples.len(),
        };
        let batch = to_device(examples, 0, &self.device);
        let inputs = Inputs {
            control: batch.inputs.control,
            prompt: batch.inputs.prompt,
            ..generator.inputs(&request.classes, request.w)
        };
        let samples: Vec<u64> = (0..examples.len() as u64).collect();
        let [_, size @ ..] = batch.images.dims();
        let noise = random::normal(0, &samples, Purpose::InitialNoise, size, &self.device);
        let drawn = generator.sample(noise, &inputs, &request, &samples)?;
        let vae = match &self.texts {
            None => None,
            Some((components, _)) => Some(components.vae(&self.device)?),
        };
        let [drawn, truth] = [drawn, batch.images].map(|values| {
            to_images(match &vae {
                None => values,
                Some(vae) => vae.decode(values, None),
            })
        });
        let [channels, height, width] = controls.shape;
        let shown = ImageShape {
            // A hole is one channel more than can be shown.
            channels: if channels < 3 { 1 } else { 3 },
            height,
            width,
        };
        let seen = controls.values.chunks_exact(channels * height * width);
        let seen = seen.map(|seen| Image::from_f32(shown, &seen[..shown.len()]));
        let rows = seen.zip(drawn).zip(truth);
        let rows = rows.flat_map(|((seen, drawn), truth)| [seen, drawn, truth]);
        self.write(&rows.collect::<Vec<Image>>(), 9, name)
    }

    fn write(&self, images: &[Image], columns: usize, name: &str) -> anyhow::Result<()> {
        let grid = image::grid(images, columns, 1);
        std::fs::create_dir_all(&self.folder)?;
        image::write_png(self.folder.join(format!("{name}.png")), &grid)?;
        Ok(())
    }
}
