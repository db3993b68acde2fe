//! Images from texts and from images.

use super::body::Fields;
use crate::api::edit::Edit;
use crate::api::generation::Generation;
use crate::api::json::JsonObject;
use crate::api::running::{Client, blocking};
use crate::app::{App, Submitted};
use crate::engine::{Accepted, Loaded};
use crate::error::ApiError;
use crate::images::Format;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fewstep_data::image::Image;
use fewstep_generate::{Subject, scale_of};
use serde_json::{Value, json};
use std::sync::Arc;

/// What this API calls the fields of a generation.
const NAMES: &[(&str, &str)] = &[
    ("model", "override_settings"),
    ("count", "batch_size"),
    ("class", "prompt"),
    ("w", "cfg_scale"),
    ("sampler", "sampler_name"),
    ("size", "width"),
    ("strength", "denoising_strength"),
    ("image", "init_images"),
    ("control", "init_images"),
];

pub(super) async fn txt2img(
    State(app): State<Arc<App>>,
    client: Client,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    let accepted = app.engine.accept()?;
    let fields = Fields(body);
    let mut generation = fields.generation(app.chosen_model(), &app.config.limits)?;
    model(&app, &accepted, &mut generation).await?;
    respond(&app, accepted, client, &fields, generation).await
}

pub(super) async fn img2img(
    State(app): State<Arc<App>>,
    client: Client,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    let accepted = app.engine.accept()?;
    let fields = Fields(body);
    let limits = app.config.limits;
    let mut generation = fields.generation(app.chosen_model(), &limits)?;
    let edit = Edit {
        image: fields.init_image(&limits)?,
        mask: fields.mask(&limits)?,
        strength: fields.strength()?,
    };
    let model = model(&app, &accepted, &mut generation).await?;
    (generation.start, generation.control) = edit.for_model(&model.generator);
    respond(&app, accepted, client, &fields, generation).await
}

/// The model of a request, as which its CLIP skip is counted from here on.
async fn model(
    app: &App,
    accepted: &Accepted<'_>,
    generation: &mut Generation,
) -> Result<Arc<Loaded>, ApiError> {
    let model = app.model_of(accepted, generation).await;
    let model = model.map_err(|error| error.renamed(NAMES))?;
    let skipped = |layer| model.generator.skipped_for(layer);
    generation.clip_skip = generation.clip_skip.map(skipped);
    Ok(model)
}

async fn respond(
    app: &App,
    accepted: Accepted<'_>,
    client: Client,
    fields: &Fields,
    generation: Generation,
) -> Result<Json<Value>, ApiError> {
    let submitted = app.submit(accepted, client, generation, false).await;
    let submitted = submitted.map_err(|error| error.renamed(NAMES))?;
    app.a1111.remember(&submitted.job);
    let (images, is_interrupted) = match app.finished(&submitted.job.tracked).await {
        Ok(images) => (images, false),
        // Their clients read what there is of a request that was interrupted.
        Err(error) if error.status == StatusCode::CONFLICT => (Arc::default(), true),
        Err(error) => return Err(error),
    };
    let mut info = info(&submitted, fields)?;
    if is_interrupted {
        info["interrupted"] = json!(true);
    }
    let files = match fields.flag("send_images", true) {
        true => encoded(&submitted, images).await?,
        false => vec![],
    };
    let mut parameters = fields.0.clone();
    // Clients do not want their own images back.
    for name in ["init_images", "mask"] {
        if parameters.contains_key(name) && !fields.flag("include_init_images", false) {
            parameters.insert(name.into(), Value::Null);
        }
    }
    Ok(Json(
        json!({ "images": files, "parameters": parameters, "info": info.to_string() }),
    ))
}

async fn encoded(submitted: &Submitted, images: Arc<Vec<Image>>) -> Result<Vec<String>, ApiError> {
    let submitted = submitted.clone();
    blocking(move || {
        let each = images.iter().enumerate();
        each.map(|(number, image)| Format::PNG.base64(image, Some(&submitted.parameters(number))))
            .collect()
    })
    .await
}

/// What was done, with what was not done as asked in `ignored` and `notes`.
fn info(submitted: &Submitted, fields: &Fields) -> Result<Value, ApiError> {
    let job = &submitted.job;
    let (request, generator) = (&job.request, &job.model.generator);
    let usual = generator.image_shape();
    let [height, width] = request.size.unwrap_or([usual.height, usual.width]);
    let images = &request.images;
    let prompt = |number: usize| match &images[number].subject {
        Subject::Prompt(prompt) => prompt.clone(),
        Subject::Class(class) => generator.classes()[*class as usize].clone(),
        Subject::Any => String::new(),
    };
    let numbers = 0..images.len();
    let prompts: Vec<String> = numbers.clone().map(prompt).collect();
    let seeds: Vec<u64> = images.iter().map(|image| image.seed).collect();
    let texts: Vec<String> = numbers.map(|n| submitted.parameters(n)).collect();
    let w = generator.effective_w(images[0].w);
    Ok(json!({
        "prompt": prompts[0],
        "all_prompts": prompts,
        "negative_prompt": request.negative,
        "all_negative_prompts": vec![&request.negative; images.len()],
        "seed": seeds[0],
        "all_seeds": seeds,
        "subseed": 0,
        "all_subseeds": vec![0; images.len()],
        "subseed_strength": 0,
        "width": width,
        "height": height,
        "sampler_name": request.sampler.name(),
        "cfg_scale": w.map_or(1.0, scale_of),
        "steps": request.steps,
        "batch_size": fields.batch_size()?,
        "restore_faces": false,
        "face_restoration_model": null,
        "sd_model_name": job.model.name,
        "sd_model_hash": null,
        "sd_vae_name": null,
        "sd_vae_hash": null,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": fields.strength()?,
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": texts,
        "styles": [],
        "job_timestamp": "0",
        "clip_skip": generator.web_clip_skip(generator.clip_skip(&images[0])),
        "is_using_inpainting_conditioning": generator.inpaints(),
        "ignored": fields.ignored(),
        "notes": *submitted.notes,
    }))
}
