//! One way from a picture to the noise behind it and back.

use crate::arguments::{effective_w, find_class};
use crate::failure::{Failure, Outcome};
use crate::models;
use crate::report::plural;
use burn::tensor::{Device, Tensor, TensorData};
use fewstep::{DrawError, Generator, Request, Sampler};
use fewstep_data::ImageShape;
use fewstep_data::picture::{Picture, to_f32};
use fewstep_diffusion::sampler::SamplerKind;
use fewstep_diffusion::{Guidance, SamplerRecipe, Spacing};

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
    sampler: Sampler,
    device: Device,
}

/// One half of a road.
struct Stage {
    /// How the user named the model.
    label: String,
    generator: Generator,
    steps: usize,
}

impl Stage {
    fn load(flag: &str, reference: &str, steps: Option<usize>, device: &Device) -> Outcome<Self> {
        let generator = Generator::new(models::load(reference, steps, device)?, device)?;
        Ok(Self {
            label: format!("{flag} {reference}"),
            steps: steps.unwrap_or_else(|| generator.default_steps()),
            generator,
        })
    }

    /// A refusal with the name of the model.
    fn refuse(&self, error: DrawError) -> Failure {
        Failure::input(format!("{}: {error}", self.label))
    }

    fn recipe(&self) -> &SamplerRecipe {
        &self.generator.model().recipe
    }
}

impl Road {
    /// By distilled students.
    pub(super) fn of_students(
        encoder: &str,
        decoder: &str,
        steps: Option<usize>,
        device: &Device,
    ) -> Outcome<Self> {
        Ok(Self {
            name: "students",
            encoder: Stage::load("--encoder", encoder, steps, device)?,
            decoder: Stage::load("--decoder", decoder, steps, device)?,
            sampler: Sampler::Deterministic,
            device: device.clone(),
        })
    }

    /// By the DDIM of a teacher, both ways.
    pub(super) fn of_teacher(teacher: &str, steps: usize, device: &Device) -> Outcome<Self> {
        let load = || Stage::load("--teacher", teacher, Some(steps), device);
        Ok(Self {
            name: "teacher",
            encoder: load()?,
            decoder: load()?,
            sampler: Sampler::Teacher(SamplerKind::Ddim, Spacing::Uniform),
            device: device.clone(),
        })
    }

    /// Shapes of the pictures that the models work on.
    pub(super) fn shapes(&self) -> [ImageShape; 2] {
        [
            self.encoder.generator.shape(),
            self.decoder.generator.shape(),
        ]
    }

    /// Refuses what the models were not made for, and warns of what they were not trained for.
    pub(super) fn check(&self, task: &Task<'_>) -> Outcome {
        let (encoder, decoder) = (&self.encoder, &self.decoder);
        find_class(task.from, &encoder.recipe().classes)?;
        let w = Some(self.w_encode(task));
        let mut warnings = encoder
            .generator
            .check_encoding(encoder.steps, w)
            .map_err(|error| encoder.refuse(error))?;
        for &w in &task.w {
            let checked = decoder.generator.check(&self.request(task, w, 1)?);
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

    /// The pictures as the other class: one list for each w. `passed` hears of every pass over all pictures.
    pub(super) fn travel(
        &self,
        sources: &[Picture],
        task: &Task<'_>,
        passed: &mut dyn FnMut(),
    ) -> Outcome<Vec<Vec<Picture>>> {
        let (encoder, decoder) = (&self.encoder.generator, &self.decoder.generator);
        let from = Some(find_class(task.from, &self.encoder.recipe().classes)?);
        let as_from = encoder.conditioning(&vec![from; sources.len()], Some(self.w_encode(task)));
        let noise = encoder.encode(self.batch(sources), &as_from, self.encoder.steps)?;
        passed();
        let mut results = vec![];
        for &w in &task.w {
            let request = self.request(task, w, sources.len())?;
            results.push(decoder.decode(noise.clone(), &request)?);
            passed();
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

    fn request(&self, task: &Task<'_>, w: Option<f64>, count: usize) -> Outcome<Request> {
        let to = find_class(task.to, &self.decoder.recipe().classes)?;
        Ok(Request {
            classes: vec![Some(to); count],
            first: 0,
            seed: 0,
            steps: self.decoder.steps,
            sampler: self.sampler,
            w,
            batch: count,
        })
    }

    fn batch(&self, pictures: &[Picture]) -> Tensor<4> {
        let ImageShape {
            channels,
            height,
            width,
        } = self.encoder.generator.shape();
        let values: Vec<f32> = pictures
            .iter()
            .flat_map(|p| &p.pixels)
            .map(|&p| to_f32(p))
            .collect();
        let shape = [pictures.len(), channels, height, width];
        Tensor::from_data(TensorData::new(values, shape), &self.device)
    }
}
