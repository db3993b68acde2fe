//! The options, of which only the model has a meaning here.

use crate::api::json::JsonObject;
use crate::app::App;
use crate::error::ApiError;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::sync::Arc;

impl App {
    /// The model that was chosen, or the first.
    pub(super) fn chosen_model(&self) -> String {
        let chosen = self.a1111.model();
        chosen.unwrap_or_else(|| self.engine.catalog.models()[0].name.clone())
    }
}

pub(super) async fn get(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({
        "sd_model_checkpoint": app.chosen_model(),
        "sd_checkpoint_hash": "",
        "sd_vae": "Automatic",
        "CLIP_stop_at_last_layers": 1,
        "samples_format": "png",
        "samples_save": false,
        "show_progress_every_n_steps": 1,
    }))
}

/// Takes the model of the options, and loads it. Clients send all options back: the others stay.
pub(super) async fn set(
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    if let Some(Value::String(name)) = body.get("sd_model_checkpoint") {
        let accepted = app.engine.accept()?;
        let model = accepted.model(Some(name), None, &[]).await?;
        app.a1111.choose(&model.name);
    }
    Ok(Json(Value::Null))
}
