//! OpenAI's image API, under `/v1`.

mod body;
mod images;
mod models;
mod reply;

use crate::app::App;
use axum::Router;
use axum::routing::{get, post};
use std::sync::Arc;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/images/generations", post(images::generations))
        .route("/v1/images/edits", post(images::edits))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::show))
}
