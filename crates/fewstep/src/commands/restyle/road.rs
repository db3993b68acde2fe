//! One way from an image to the noise behind it and back.

use super::space::{As, Space};
use crate::arguments::effective_w;
use crate::compute;
use crate::failure::{Blame, CliError, CliResult};
use crate::models;
use crate::report::plural;
use burn::tensor::Device;
use fewstep::{DrawError, Generator, Request, Sampler, SamplerConfig};
use fewstep_data::ImageShape;
use fewstep_data::image::Image;
use fewstep_diffusion::{Guidance, Inputs, SamplerRecipe};
use fewstep_formats::{Model, Pipeline, PipelineComponents};

/// What to do.
pub(super) struct Task<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) w_encode: Option<f64>,
    pub(super) w: Vec<Option<f64>>,
}

/// An encoder and a decoder.
pub(super) struct Road {
    name: &'static str,
    encoder: Stage,
    decoder: Stage,
    space: Space,
    sampler: SamplerConfig,
    device: Device,
}

/// One half of a road.
struct Stage {
    /// How the user named the model.
    label: String,
    generator: Generator,
    steps: usize,
}

/// A model as the user named it, not yet ready to draw.
struct Named {
    label: String,
    model: Model,
    /// Where its other parts are, if it works on latents.
    components: Option<PipelineComponents>,
    steps: Option<usize>,
}

impl Named {
    fn load(flag: &str, reference: &str, steps: Option<usize>, device: &Device) -> CliResult<Self> {
        let (model, components) = match models::latent_folder(reference, steps)? {
            None => (models::load(reference, steps, device)?, None),
            Some(folder) => (
                compute::as_chosen(Pipeline::load_model(&folder, device).blame_input()?),
                Some(PipelineComponents::open(&folder).blame_input()?),
            ),
        };
        Ok(Self {
            label: format!("{flag} {reference}"),
            model,
            components,
            steps,
        })
    }

    /// Ready to draw.
    fn stage(&self, device: &Device) -> CliResult<Stage> {
        let generator = Generator::new(self.model.clone(), device)?;
        let stage = Stage {
            label: self.label.clone(),
            steps: self.steps.unwrap_or_else(|| generator.default_steps()),
            generator,
        };
        match self.model.network.config().concat_channels() {
            0 => Ok(stage),
            _ => Err(stage.refuse(DrawError::OnlyForFilling)),
        }
    }

    /// What this encoder and a decoder both work on.
    fn space(&self, decoder: &Self, said: [&str; 2], device: &Device) -> CliResult<Space> {
        let pair = [self, decoder];
        let refuse = |reason: &str| {
            let [encoder, decoder] = pair.map(|named| &named.label);
            Err(CliError::input(format!(
                "{encoder} and {decoder}: {reason}"
            )))
        };
        let (Some(here), Some(there)) = (&self.components, &decoder.components) else {
            return match pair.iter().all(|named| named.components.is_none()) {
                true => Ok(Space::Images),
                false => refuse(
                    "one draws from texts and the other from classes: give two that were distilled from the same teacher",
                ),
            };
        };
        let [a, b] = pair.map(|named| named.model.network.config());
        let alike = (a.channels(), a.text_width()) == (b.channels(), b.text_width())
            && (here.folder() == there.folder()
                || here.digest().blame_input()? == there.digest().blame_input()?);
        if !alike {
            return refuse(
                "they have different autoencoders or text encoders: give two that were distilled from the same teacher",
            );
        }
        let pipeline = there.around(decoder.model.clone(), device).blame_input()?;
        Ok(Space::of_latents(pipeline, said))
    }
}

impl Stage {
    /// A refusal with the name of the model.
    fn refuse(&self, error: DrawError) -> CliError {
        CliError::input(format!("{}: {error}", self.label))
    }

    fn recipe(&self) -> &SamplerRecipe {
        &self.generator.model().recipe
    }
}

impl Road {
    /// By distilled students, an encoder and a decoder. `said` is what the images are and what they become.
    pub(super) fn of_students(
        [encoder, decoder]: [&str; 2],
        steps: Option<usize>,
        said: [&str; 2],
        device: &Device,
    ) -> CliResult<Self> {
        let encoder = Named::load("--encoder", encoder, steps, device)?;
        let decoder = Named::load("--decoder", decoder, steps, device)?;
        Ok(Self {
            name: "students",
            space: encoder.space(&decoder, said, device)?,
            encoder: encoder.stage(device)?,
            decoder: decoder.stage(device)?,
            sampler: Sampler::Deterministic.into(),
            device: device.clone(),
        })
    }

    /// By the DDIM of a teacher, both ways.
    pub(super) fn of_teacher(
        teacher: &str,
        steps: usize,
        said: [&str; 2],
        device: &Device,
    ) -> CliResult<Self> {
        let teacher = Named::load("--teacher", teacher, Some(steps), device)?;
        Ok(Self {
            name: "teacher",
            space: teacher.space(&teacher, said, device)?,
            encoder: teacher.stage(device)?,
            decoder: teacher.stage(device)?,
            sampler: Sampler::DDIM.into(),
            device: device.clone(),
        })
    }

    /// Shapes of the images that the models work on.
    pub(super) fn shapes(&self) -> [ImageShape; 2] {
        [&self.encoder, &self.decoder].map(|stage| self.space.shape(&stage.generator))
    }

    /// Refuses what the models were not made for, and warns of what they were not trained for.
    pub(super) fn check(&self, task: &Task<'_>) -> CliResult {
        let (encoder, decoder) = (&self.encoder, &self.decoder);
        let w = Some(self.w_encode(task));
        self.inputs(encoder, As::From(task.from), w, 1)?;
        self.inputs(decoder, As::To(task.to), None, 1)?;
        let mut warnings = encoder
            .generator
            .check_encoding(encoder.steps, w)
            .map_err(|error| encoder.refuse(error))?;
        for &w in &task.w {
            let checked = decoder.generator.check(&self.request(w, 1));
            warnings.extend(checked.map_err(|error| decoder.refuse(error))?);
        }
        let mut said: Vec<String> = vec![];
        for warning in warnings.iter().map(ToString::to_string) {
            if !said.contains(&warning) {
                eprintln!("warning: {warning}");
                said.push(warning);
            }
        }
        Ok(())
    }

    /// The images as what they become: one list for each w. `passed` hears of images that went up or down.
    pub(super) fn travel(
        &self,
        sources: &[Image],
        task: &Task<'_>,
        passed: &mut dyn FnMut(usize),
    ) -> CliResult<Vec<Vec<Image>>> {
        let (encoder, decoder) = (&self.encoder, &self.decoder);
        let mut results = vec![vec![]; task.w.len()];
        for sources in sources.chunks(self.space.together()) {
            let count = sources.len();
            let w = Some(self.w_encode(task));
            let as_from = self.inputs(encoder, As::From(task.from), w, count)?;
            let z = self.space.enter(sources, &self.device);
            let noise = encoder.generator.encode(z, &as_from, encoder.steps)?;
            passed(count);
            for (result, &w) in results.iter_mut().zip(&task.w) {
                let as_to = self.inputs(decoder, As::To(task.to), w, count)?;
                let request = self.request(w, count);
                let samples: Vec<u64> = (0..count as u64).collect();
                let generator = &decoder.generator;
                let made = generator.sample(noise.clone(), &as_to, &request, &samples)?;
                result.extend(self.space.leave(made));
                passed(count);
            }
        }
        Ok(results)
    }

    /// The weight to decode with when the user gives none; `None` for a model that knows no guidance.
    pub(super) fn default_w(&self) -> Option<f64> {
        effective_w(self.decoder.recipe(), None)
    }

    /// What one result costs, at most.
    pub(super) fn cost(&self, task: &Task<'_>) -> String {
        let calls = |stage: &Stage, w| stage.generator.network_calls(self.sampler, stage.steps, w);
        let encode = calls(&self.encoder, Some(self.w_encode(task)));
        let decode = task.w.iter().map(|&w| calls(&self.decoder, w)).max();
        let [encode, decode] =
            [encode, decode.unwrap_or(0)].map(|calls| plural(calls, "network call"));
        format!("{}: {encode} to encode and {decode} to decode", self.name)
    }

    /// The weight while encoding: as the user says, else no guidance, or the nearest that the model knows.
    fn w_encode(&self, task: &Task<'_>) -> f64 {
        task.w_encode
            .unwrap_or(match self.encoder.recipe().guidance {
                Guidance::None | Guidance::ClassifierFree => 0.0,
                Guidance::Input { w_min, w_max, .. } => 0.0f64.max(w_min).min(w_max),
                Guidance::Fixed { w } => w,
            })
    }

    fn inputs(
        &self,
        stage: &Stage,
        said: As<'_>,
        w: Option<f64>,
        count: usize,
    ) -> CliResult<Inputs> {
        self.space.inputs(&stage.generator, said, w, count)
    }

    fn request(&self, w: Option<f64>, count: usize) -> Request {
        Request {
            classes: vec![None; count],
            first: 0,
            seed: 0,
            steps: self.decoder.steps,
            sampler: self.sampler,
            w,
            batch: count,
        }
    }
}
