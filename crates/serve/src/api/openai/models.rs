//! The list of models.

use crate::app::App;
use crate::error::ApiError;
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    let models = app.engine.catalog.models().iter();
    let models: Vec<Value> = models.map(|model| entry(&model.name)).collect();
    Json(json!({ "object": "list", "data": models }))
}

pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(entry(&app.engine.catalog.name(Some(&id))?)))
}

fn entry(name: &str) -> Value {
    json!({ "id": name, "object": "model", "created": 0, "owned_by": "fewstep" })
}
