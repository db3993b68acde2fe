//! Sample grids of a run: the same seeds from each checkpoint and each model.

use crate::error::{CliResult, IntoCliResult};
use burn::tensor::Device;
use fewstep_data::image::{self, Image};
use fewstep_data::{ExampleOrder, Examples, HostArray, HostBatch, ImageShape};
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::{DistilledFor, Guidance, Inputs, Role, sampler};
use fewstep_distill::run::{Run, to_device};
use fewstep_formats::{Model, Pipeline, PipelineComponents, write_atomically};
use fewstep_generate::{
    Generator, ImageRequest, KeepEncoder, Request, Subject, find_class, ignore, to_images,
};
use fewstep_nn::Tiles;
use std::path::PathBuf;

/// Steps of models that can be sampled with any number.
const STEPS: usize = 16;
/// Rows and columns of a grid of classes, or of images without a class.
const SIDE: usize = 8;
/// Images of each prompt, and images in one network call.
const EACH: usize = 4;
const PROMPTED: usize = 4 * EACH;
/// Examples shown with the images generated from their control image or mask, and the columns of
/// their grid: three times three images.
const EXAMPLES: usize = 12;
const EXAMPLE_COLUMNS: usize = 9;
/// Guidance of teachers that generate from prompts.
const PROMPT_W: f64 = 2.0;

/// Images in one network call for a grid.
pub(crate) fn shown_at_once(run: &Run) -> usize {
    match (run.examples.text_width(), run.examples.conditions()) {
        (Some(_), _) => PROMPTED,
        (None, Some(_)) => EXAMPLES,
        (None, None) => SIDE * SIDE,
    }
}

/// What the grids of a run show. A grid that cannot be made is only a warning: it must not end a
/// long run.
pub(super) struct SampleGrids {
    folder: PathBuf,
    device: Device,
    /// Examples of the run, for models that generate from a control image, a masked image or a source
    /// image.
    examples: Option<HostBatch>,
    /// The other components of a latent model, and the prompts.
    latent: Option<(PipelineComponents, Vec<String>)>,
}

impl SampleGrids {
    pub(super) fn new(run: &Run, prompts: &[String]) -> CliResult<Self> {
        let examples = match run.examples.have_image_conditions() {
            false => None,
            true => {
                let order = &mut ExampleOrder::new(run.seed, run.examples.len(), false);
                Some(run.examples.batch(order, 0, EXAMPLES).input_error()?)
            }
        };
        let prompts = match (&run.examples, prompts) {
            (Examples::Latents { latents, .. }, []) => latents.header().some.clone(),
            _ => prompts.to_vec(),
        };
        Ok(Self {
            folder: run.folder.join("samples"),
            device: run.device.clone(),
            examples,
            latent: run.components.clone().map(|parts| (parts, prompts)),
        })
    }

    /// Writes the grid of a model, unless the model is an encoder.
    pub(super) fn write(&self, model: &Model, name: &str) {
        if let Role::Student {
            sampler: DistilledFor::Encoder,
            ..
        } = model.recipe.role
        {
            return;
        }
        if let Err(error) = self.try_write(model, name) {
            tracing::warn!("no sample grid {name}: {error:#}");
        }
    }

    fn try_write(&self, model: &Model, name: &str) -> anyhow::Result<()> {
        let needs_example =
            model.recipe.control.is_some() || model.network.config().concat_channels() > 0;
        let (cells, columns) = match &self.examples {
            Some(examples) if needs_example => {
                (self.of_examples(model, examples)?, EXAMPLE_COLUMNS)
            }
            _ => self.of_subjects(model)?,
        };
        let grid = image::grid(&cells, columns, 1);
        let png = image::encode_png(&grid)?;
        write_atomically(&self.folder.join(format!("{name}.png")), &png)?;
        Ok(())
    }

    /// Images of all classes in turn, or four of each prompt. Autoencoder and text encoder are in
    /// memory only for this time.
    fn of_subjects(&self, model: &Model) -> anyhow::Result<(Vec<Image>, usize)> {
        let guided = model.recipe.guidance == Guidance::ClassifierFree;
        let (generator, subjects, columns, w) = match &self.latent {
            None => {
                let generator = Generator::new(model.clone(), &self.device)?;
                let classes = model.recipe.classes.len() as u32;
                let subject = |i| Subject::from((classes > 0).then(|| i % classes));
                let subjects: Vec<Subject> = (0..(SIDE * SIDE) as u32).map(subject).collect();
                (generator, subjects, SIDE, None)
            }
            Some((parts, prompts)) => {
                let pipeline = Pipeline::with_components(model.clone(), parts, &self.device)?;
                let keep = KeepEncoder::WhileEncoding;
                let generator = Generator::latent(pipeline, keep, &self.device)?;
                let mut subjects = vec![];
                for prompt in prompts {
                    let subject = match generator.takes_prompts() {
                        true => Subject::Prompt(prompt.clone()),
                        false => Subject::Class(find_class(prompt, generator.classes())?),
                    };
                    subjects.extend(vec![subject; EACH]);
                }
                (generator, subjects, PROMPTED, guided.then_some(PROMPT_W))
            }
        };
        let image = |(index, subject)| ImageRequest {
            subject,
            w,
            ..ImageRequest::new(0, index)
        };
        let request = Request {
            steps: steps(&generator),
            batch: columns * if self.latent.is_some() { 1 } else { SIDE },
            ..generator.request((0..).zip(subjects).map(image).collect())
        };
        Ok((generator.generate(&request, &mut ignore)?, columns))
    }

    /// For each example its control image, masked image or source image, the image generated from it,
    /// and the original. An autoencoder is in memory only for this time.
    fn of_examples(&self, model: &Model, examples: &HostBatch) -> anyhow::Result<Vec<Image>> {
        let generator = Generator::new(model.clone(), &self.device)?;
        let count = examples.len();
        let batch = to_device(examples, 0, &self.device);
        // What a network sees next to its latents comes with prompts to guide with; control images use
        // the model's default w.
        let concat = batch.inputs.concat.clone();
        let guided = model.recipe.guidance == Guidance::ClassifierFree && concat.is_some();
        let w = match guided {
            true => PROMPT_W,
            false => model.recipe.default_w(),
        };
        let inputs = Inputs {
            w: Some(vec![w; count]),
            ..batch.inputs
        };
        let keys: Vec<(u64, u64)> = (0..count as u64).map(|index| (0, index)).collect();
        let [_, size @ ..] = batch.images.dims();
        let noise = random::normal_of(&keys, Purpose::InitialNoise, size, &self.device);
        let (config, steps) = (generator.default_sampler(), steps(&generator));
        let observer = &mut sampler::ignore;
        let made = generator.sample(noise, &inputs, config, steps, &keys, observer)?;
        let vae = match &self.latent {
            None => None,
            Some((parts, _)) => Some(parts.vae(&self.device)?),
        };
        let decode = |values| {
            to_images(match &vae {
                None => values,
                Some(vae) => vae.decode(values, Some(Tiles::default())),
            })
        };
        let sees_source = model.network.config().sees_source();
        let seen = match (&examples.inputs.control, concat, &vae) {
            (Some(controls), _, _) => shown(controls),
            (None, Some(latents), Some(vae)) if sees_source => {
                to_images(vae.decode_source(latents))
            }
            // The mask comes first, then the latents of the masked image.
            (None, Some(maps), _) => decode(maps.narrow(1, 1, size[0])),
            (None, None, _) => vec![],
        };
        let rows = seen.into_iter().zip(decode(made)).zip(decode(batch.images));
        Ok(rows
            .flat_map(|((seen, made), truth)| [seen, made, truth])
            .collect())
    }
}

/// The steps that a student was distilled for; at most [`STEPS`] of other models.
fn steps(generator: &Generator) -> usize {
    match generator.model().recipe.role {
        Role::Student {
            steps: Some(steps), ..
        } => steps,
        Role::Student { .. } | Role::Teacher => generator.default_steps().min(STEPS),
    }
}

/// Control images as images; a mask is one channel more than can be shown.
fn shown(controls: &HostArray<3>) -> Vec<Image> {
    let [channels, height, width] = controls.shape;
    let shape = ImageShape {
        channels: if channels < 3 { 1 } else { 3 },
        height,
        width,
    };
    let each = controls.values.chunks_exact(channels * height * width);
    each.map(|values| Image::from_f32(shape, &values[..shape.len()]))
        .collect()
}
