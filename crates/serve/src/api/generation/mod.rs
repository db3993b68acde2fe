//! What a request of any API asks to generate, and what that means for the model it names.

mod inputs;
mod loras;
mod sampling;
mod subject;

use crate::config::Limits;
use crate::engine::NamedLora;
use crate::error::ApiError;
use fewstep_data::image::{Layer, MaskKind};
use fewstep_diffusion::Guidance;
use fewstep_diffusion::limits::factor;
use fewstep_generate::{Generator, ImageRequest, Request, Subject};
use inputs::Inputs;
use sampling::fitting_w;

/// What a request of any API asks to generate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Generation {
    pub(crate) model: Option<String>,
    pub(crate) steps: Option<usize>,
    pub(crate) sampler: Option<String>,
    pub(crate) negative: String,
    pub(crate) loras: Vec<NamedLora>,
    /// How many of the last layers of CLIP text encoders are skipped.
    pub(crate) clip_skip: Option<usize>,
    /// Height and width.
    pub(crate) size: Option<[usize; 2]>,
    pub(crate) images: Vec<WantedImage>,
    pub(crate) start: Start,
    pub(crate) control: Option<Layer>,
    pub(crate) manners: Manners,
}

/// One of its images.
#[derive(Clone, Debug, Default)]
pub(crate) struct WantedImage {
    pub(crate) subject: WantedSubject,
    pub(crate) w: Option<f64>,
    pub(crate) seed: u64,
    pub(crate) index: u64,
}

/// What an image shows, before the model is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum WantedSubject {
    /// Classes in turn, or the empty prompt.
    #[default]
    Any,
    Prompt(String),
    /// By name or number.
    Class(String),
}

/// What the images start from.
#[derive(Clone, Debug, Default)]
pub(crate) enum Start {
    #[default]
    Noise,
    Image {
        image: Layer,
        strength: f64,
    },
    Inpaint {
        image: Layer,
        mask: Layer,
        kind: MaskKind,
    },
}

/// How strict an API is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Manners {
    /// What does not go with the model is refused.
    #[default]
    Strict,
    /// A prompt may name a class.
    ClassesInPrompts,
    /// The same; and settings that do not go with the model are brought to ones that do, with a
    /// note: its clients send all settings with every request.
    Adapting,
}

/// A request for a generator, and notes for the person who made it.
pub(crate) struct Resolved {
    pub(crate) request: Request,
    pub(crate) notes: Vec<String>,
}

impl Generation {
    /// Checks what does not depend on the model.
    pub(crate) fn check(&self, limits: &Limits) -> Result<(), ApiError> {
        let bound = |field: &str, got: usize, most: usize, what: &str| match got <= most {
            true => Ok(()),
            false => Err(ApiError::field(
                field,
                format!("{got} {what} were asked for, and this server allows at most {most}"),
            )),
        };
        bound("count", self.images.len(), limits.images, "images")?;
        bound("steps", self.steps.unwrap_or(1), limits.steps, "steps")?;
        if self.images.is_empty() {
            return Err(ApiError::field("count", "no image was asked for"));
        }
        if self.steps == Some(0) {
            return Err(ApiError::field("steps", "`steps` must be at least 1"));
        }
        let texts = self.images.iter().map(|image| match &image.subject {
            WantedSubject::Prompt(text) | WantedSubject::Class(text) => text.len(),
            WantedSubject::Any => 0,
        });
        let longest = texts.max().unwrap_or(0).max(self.negative.len());
        bound("prompt", longest, limits.prompt, "bytes of a prompt")?;
        for w in self.images.iter().filter_map(|image| image.w) {
            factor("w", w).map_err(|error| ApiError::field("w", error.to_string()))?;
        }
        Ok(())
    }

    /// What this means for a model.
    pub(crate) fn resolve(&self, generator: &Generator) -> Result<Resolved, ApiError> {
        let mut notes = vec![];
        let adapts = self.manners == Manners::Adapting;
        let sampler = self.sampler(generator, &mut notes)?;
        let Inputs {
            size,
            init,
            control,
        } = self.inputs(generator, &mut notes)?;
        let clip_skip = self.clip_skip(generator, &mut notes)?;
        let mut images = vec![];
        for wanted in &self.images {
            images.push(ImageRequest {
                subject: self.subject(wanted, generator, &mut notes)?,
                w: match adapts {
                    true => fitting_w(wanted.w, generator, &mut notes),
                    false => wanted.w,
                },
                clip_skip,
                init: init.clone(),
                control: control.clone(),
                ..ImageRequest::new(wanted.seed, wanted.index)
            });
        }
        let recipe = &generator.model().recipe;
        let mut negative = self.negative.clone();
        if adapts && !negative.is_empty() && recipe.guidance != Guidance::ClassifierFree {
            notes.push("the negative prompt is ignored: guidance is folded into this model".into());
            negative.clear();
        }
        let request = Request {
            negative,
            size: Some(size),
            sampler,
            steps: self.steps(generator, &mut notes),
            ..generator.request(images)
        };
        let warnings = generator.check(&request)?;
        notes.extend(warnings.iter().map(ToString::to_string));
        for image in &request.images {
            if let Subject::Prompt(prompt) = &image.subject
                && let Some((cut, length)) = generator.cut_off(prompt)?
            {
                notes.push(format!(
                    "the model reads {length} tokens of a prompt, start and end included, so this is cut off: {cut}"
                ));
            }
        }
        let mut seen = std::collections::HashSet::new();
        notes.retain(|note| seen.insert(note.clone()));
        Ok(Resolved { request, notes })
    }
}
