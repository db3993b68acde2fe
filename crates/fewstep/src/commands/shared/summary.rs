//! What was generated, in words and as JSON.

use super::guidance::both_conventions;
use super::loras::Used;
use crate::numbers::{is_zero, plural};
use fewstep_data::image::Image;
use fewstep_generate::{Generator, Request};
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// Generated images, and the time that each took.
pub(crate) struct Generated {
    pub(crate) images: Vec<Image>,
    pub(crate) seconds_per_image: f64,
}

/// What was generated, and how.
#[derive(Serialize)]
pub(crate) struct Summary {
    model: String,
    #[serde(flatten)]
    used: Used,
    /// Layers of the CLIP text encoder that were skipped.
    #[serde(skip_serializing_if = "is_zero")]
    clip_skip: usize,
    /// Control images, for commands that take them.
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<usize>,
    samples: usize,
    sampler: String,
    steps: usize,
    w: Option<f64>,
    guidance_scale: Option<f64>,
    seed: u64,
    first: u64,
    /// Names of the classes that take turns.
    classes: Vec<String>,
    /// Height and width.
    size: [usize; 2],
    network_calls: usize,
    seconds_per_image: f64,
    out: PathBuf,
}

impl Summary {
    /// The summary of a request and its images.
    pub(crate) fn new(
        model: &str,
        generator: &Generator,
        request: &Request,
        generated: &Generated,
        out: &Path,
    ) -> Self {
        let first = request.images.first();
        let requested = first.and_then(|image| image.w);
        let w = generator.effective_w(requested);
        let shape = generated.images.first().map(|image| image.shape);
        Self {
            model: model.into(),
            used: Used::default(),
            clip_skip: generator.model().recipe.clip_skip,
            images: None,
            samples: request.images.len(),
            sampler: request.sampler.name(),
            steps: request.steps,
            w,
            guidance_scale: w.map(fewstep_generate::scale_of),
            seed: first.map_or(0, |image| image.seed),
            first: first.map_or(0, |image| image.index),
            classes: vec![],
            size: shape.map_or([0; 2], |shape| [shape.height, shape.width]),
            network_calls: generator.network_calls(request.sampler, request.steps, requested),
            seconds_per_image: generated.seconds_per_image,
            out: out.into(),
        }
    }

    /// Adds what the model has besides its own.
    pub(crate) fn with_used(self, used: Used) -> Self {
        Self { used, ..self }
    }

    /// Adds the classes that took turns.
    pub(crate) fn with_classes(self, classes: Vec<String>) -> Self {
        Self { classes, ..self }
    }

    /// Adds the number of control images.
    pub(crate) fn with_control_images(self, images: usize) -> Self {
        Self {
            images: Some(images),
            ..self
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_classes = match self.classes.as_slice() {
            [] => String::new(),
            [class] => format!(" of {class}"),
            classes => format!(" of {} classes", classes.len()),
        };
        let guidance = match self.w {
            Some(w) => format!(", {}", both_conventions(w)),
            None => String::new(),
        };
        let loras = self.used.loras.iter().map(|lora| format!(", LoRA {lora}"));
        let loras: String = loras.collect();
        let embeddings = self.used.embeddings.iter();
        let embeddings: String = embeddings.map(|e| format!(", {e}")).collect();
        let skipped = match self.clip_skip {
            0 => String::new(),
            skipped => format!(", {} skipped", plural(skipped, "CLIP layer")),
        };
        write!(
            f,
            "{}: {}{of_classes}, {} sampler, {}{guidance}{loras}{embeddings}{skipped}, seed {}; {} and {:.3} s per image",
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
