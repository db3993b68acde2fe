//! Lists that clients fill their menus from.

use crate::app::App;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use fewstep_diffusion::Sampler;
use serde_json::{Value, json};
use std::sync::Arc;

/// Answers that are always the same.
pub(super) const FIXED: &[(&str, &str)] = &[
    (
        "/sdapi/v1/schedulers",
        r#"[{"name": "automatic", "label": "Automatic", "aliases": null, "default_rho": -1, "need_inner_model": false}]"#,
    ),
    (
        "/sdapi/v1/upscalers",
        r#"[{"name": "None", "model_name": null, "model_path": null, "model_url": null, "scale": 4}, {"name": "Lanczos", "model_name": null, "model_path": null, "model_url": null, "scale": 4}]"#,
    ),
    ("/sdapi/v1/cmd-flags", r#"{"api": true, "nowebui": false}"#),
    ("/sdapi/v1/latent-upscale-modes", "[]"),
    ("/sdapi/v1/sd-vae", "[]"),
    ("/sdapi/v1/sd-modules", "[]"),
    ("/sdapi/v1/hypernetworks", "[]"),
    ("/sdapi/v1/embeddings", r#"{"loaded": {}, "skipped": {}}"#),
    ("/sdapi/v1/face-restorers", "[]"),
    ("/sdapi/v1/realesrgan-models", "[]"),
    ("/sdapi/v1/prompt-styles", "[]"),
    ("/sdapi/v1/scripts", r#"{"txt2img": [], "img2img": []}"#),
    ("/sdapi/v1/script-info", "[]"),
    ("/sdapi/v1/extensions", "[]"),
];

pub(super) fn fixed(body: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

pub(super) async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    let models = app.engine.catalog.models().iter();
    let entry = |name: &str| {
        json!({
            "title": name, "model_name": name, "hash": null, "sha256": null, "filename": name,
            "config": null,
        })
    };
    Json(models.map(|model| entry(&model.name)).collect())
}

pub(super) async fn loras(State(app): State<Arc<App>>) -> Json<Value> {
    let entry =
        |name: &String| json!({ "name": name, "alias": name, "path": name, "metadata": {} });
    Json(app.engine.loras.names().iter().map(entry).collect())
}

/// Looks into the folder again.
pub(super) async fn refresh_loras(State(app): State<Arc<App>>) -> Json<Value> {
    app.engine.loras.refresh();
    Json(Value::Null)
}

pub(super) async fn samplers() -> Json<Value> {
    let entry = |sampler: &Sampler| json!({ "name": sampler.name(), "aliases": [], "options": {} });
    Json(Sampler::ALL.iter().map(entry).collect())
}

pub(super) async fn memory(State(app): State<Arc<App>>) -> Json<Value> {
    let used = app.engine.catalog.bytes();
    Json(json!({
        "ram": { "free": 0, "used": used, "total": app.config.memory.unwrap_or(used) },
        "cuda": { "error": "not measured" },
    }))
}
