//! The server's own API, under `/api/v1`.

mod body;
mod document;
mod events;
mod generate;
mod jobs;
mod models;
mod reply;
mod restyle;

use crate::app::App;
use axum::Router;
use axum::routing::{get, post};
use std::sync::Arc;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/models", get(models::list))
        .route("/api/v1/models/load", post(models::load))
        .route("/api/v1/generate", post(generate::generate))
        .route("/api/v1/restyle", post(restyle::restyle))
        .route("/api/v1/jobs", post(jobs::create))
        .route("/api/v1/jobs/restyle", post(jobs::create_restyling))
        .route("/api/v1/jobs/{id}", get(jobs::show).delete(jobs::cancel))
        .route("/api/v1/jobs/{id}/events", get(jobs::events))
        .route("/images/{id}/{number}", get(jobs::image))
        .route("/api/v1/openapi.json", get(document::json))
}
