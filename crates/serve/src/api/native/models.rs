//! The models of the server.

use crate::api::json::JsonBody;
use crate::app::App;
use crate::config::Limits;
use crate::engine::Loaded;
use crate::error::ApiError;
use axum::Json;
use axum::extract::State;
use fewstep_diffusion::{DistilledFor, Guidance, Role, Sampler};
use fewstep_generate::Generator;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// The models of the server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelList {
    /// The first is the default.
    pub(crate) models: Vec<ModelEntry>,
    /// Images that one request may ask for.
    pub(crate) max_images: usize,
    /// Steps that one request may ask for.
    pub(crate) max_steps: usize,
    /// The LoRA that requests may name.
    pub(crate) loras: Vec<String>,
}

/// A model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelEntry {
    /// Its name in requests.
    pub(crate) name: String,
    /// What the command line calls it, if it is built into the program.
    pub(crate) reference: Option<String>,
    /// Whether it is in memory.
    pub(crate) loaded: bool,
    /// Numbers of steps for which it has weights of their own, the most first; empty for one that
    /// takes any.
    pub(crate) steps: Vec<usize>,
    /// What is known once it is in memory.
    pub(crate) facts: Option<ModelFacts>,
}

/// What a model takes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ModelFacts {
    /// `teacher` or `student`.
    pub(crate) role: &'static str,
    /// Whether it generates from prompts.
    pub(crate) prompts: bool,
    /// The names of its classes, if it generates classes.
    pub(crate) classes: Vec<String>,
    /// Width of the training images.
    pub(crate) width: usize,
    /// Height of the training images.
    pub(crate) height: usize,
    /// 1 for grey images, 3 for colour.
    pub(crate) channels: usize,
    /// What width and height must be multiples of.
    pub(crate) size_multiple: usize,
    /// Pixels that an image may have.
    pub(crate) max_pixels: usize,
    /// Steps when a request has none.
    pub(crate) default_steps: usize,
    /// Whether any number of steps will do.
    pub(crate) any_steps: bool,
    /// The samplers that it can be sampled with, its own first.
    pub(crate) samplers: Vec<String>,
    /// Guidance weights.
    pub(crate) guidance: GuidanceFacts,
    /// Whether it takes negative prompts.
    pub(crate) negative_prompt: bool,
    /// Whether it takes an image to start from.
    pub(crate) image: bool,
    /// Whether it takes an image with a mask.
    pub(crate) mask: bool,
    /// The task of its control image, if it takes one.
    pub(crate) control: Option<String>,
    /// What it can do of restyling, `both`, `encoder` or `decoder`, if anything.
    pub(crate) restyle: Option<&'static str>,
}

/// The guidance weights that a model takes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct GuidanceFacts {
    /// `none`, `classifier-free`, `input` (w is an input of the network) or `fixed`.
    pub(crate) kind: &'static str,
    /// Smallest sensible w.
    pub(crate) min: f64,
    /// Largest sensible w.
    pub(crate) max: f64,
    /// w when a request has none.
    pub(crate) default: f64,
}

/// A model to load.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoadBody {
    /// Its name.
    pub(crate) model: String,
    /// For this number of steps.
    pub(crate) steps: Option<usize>,
}

/// All models.
#[utoipa::path(get, path = "/api/v1/models", tag = "models", responses((status = 200, body = ModelList)))]
pub(super) async fn list(State(app): State<Arc<App>>) -> Json<ModelList> {
    let catalog = &app.engine.catalog;
    let entry = |model: &crate::config::NamedModel| {
        let loaded = catalog.any_loaded(&model.name);
        ModelEntry {
            name: model.name.clone(),
            reference: Some(model.reference.clone()).filter(|name| name.starts_with("builtin:")),
            loaded: loaded.is_some(),
            steps: model.family.steps(),
            facts: loaded.map(|loaded| ModelFacts::of(&loaded)),
        }
    };
    Json(ModelList {
        models: catalog.models().iter().map(entry).collect(),
        max_images: app.config.limits.images,
        max_steps: app.config.limits.steps,
        loras: app.engine.loras.names(),
    })
}

/// Loads a model, unless it is in memory, and says what it takes.
#[utoipa::path(post, path = "/api/v1/models/load", tag = "models", request_body = LoadBody,
    responses((status = 200, body = ModelFacts), (status = 404, description = "no such model")))]
pub(super) async fn load(
    State(app): State<Arc<App>>,
    JsonBody(body): JsonBody<LoadBody>,
) -> Result<Json<ModelFacts>, ApiError> {
    let accepted = app.engine.accept()?;
    let model = accepted.model(Some(&body.model), body.steps, &[]).await?;
    Ok(Json(ModelFacts::of(&model)))
}

impl ModelFacts {
    pub(crate) fn of(model: &Loaded) -> Self {
        let generator = &model.generator;
        let recipe = &generator.model().recipe;
        let shape = generator.image_shape();
        let default = generator.default_sampler();
        let steps = generator.default_steps();
        let mut samplers = vec![default.name()];
        for sampler in Sampler::ALL {
            let fits = generator
                .check_sampling(sampler.into(), steps, None)
                .is_ok();
            if fits && sampler != default.sampler {
                samplers.push(sampler.name());
            }
        }
        let takes_masks = generator.inpaints();
        Self {
            role: match recipe.role {
                Role::Teacher => "teacher",
                Role::Student { .. } => "student",
            },
            prompts: generator.takes_prompts(),
            classes: generator.classes().to_vec(),
            width: shape.width,
            height: shape.height,
            channels: shape.channels,
            size_multiple: generator.size_multiple(),
            max_pixels: Limits::GROWTH * shape.width * shape.height,
            default_steps: steps,
            any_steps: !matches!(recipe.role, Role::Student { steps: Some(_), .. }),
            samplers,
            guidance: GuidanceFacts::of(recipe.guidance, recipe.default_w()),
            negative_prompt: recipe.guidance == Guidance::ClassifierFree
                && generator.takes_prompts(),
            image: !takes_masks
                && !generator.edits_by_instruction()
                && default.sampler != Sampler::Stochastic,
            mask: takes_masks,
            control: generator
                .image_condition()
                .filter(|_| !takes_masks)
                .and_then(|control| serde_json::to_value(control.task).ok())
                .and_then(|task| task.as_str().map(String::from)),
            restyle: restyle(generator),
        }
    }
}

/// What a model can do of restyling. Encoders and decoders of different models go together, and a
/// teacher may be either.
fn restyle(generator: &Generator) -> Option<&'static str> {
    let recipe = &generator.model().recipe;
    let has_subjects = generator.takes_prompts() || !generator.classes().is_empty();
    let needs_more = generator.inpaints() || generator.edits_by_instruction();
    if !has_subjects || needs_more || recipe.control.is_some() {
        return None;
    }
    let decodes = || {
        let steps = generator.default_steps();
        let sampler = Sampler::Deterministic.into();
        generator.check_sampling(sampler, steps, None).is_ok()
    };
    match recipe.role {
        Role::Teacher => Some("both"),
        Role::Student { sampler, .. } => match sampler {
            DistilledFor::Any => Some("both"),
            DistilledFor::Encoder => Some("encoder"),
            _ => decodes().then_some("decoder"),
        },
    }
}

impl GuidanceFacts {
    fn of(guidance: Guidance, default: f64) -> Self {
        let (kind, min, max) = match guidance {
            Guidance::None => ("none", 0.0, 0.0),
            Guidance::ClassifierFree => ("classifier-free", 0.0, 10.0),
            Guidance::Input { w_min, w_max, .. } => ("input", w_min, w_max),
            Guidance::Fixed { w } => ("fixed", w, w),
        };
        Self {
            kind,
            min,
            max,
            default,
        }
    }
}
