//! Probes and metrics.

use crate::app::App;
use crate::engine::Gauges;
use crate::error::ApiError;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use std::sync::Arc;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

/// Whether requests are accepted: not while the server stops.
async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, ApiError> {
    match app.engine.is_open() {
        true => Ok("ready\n"),
        false => Err(ApiError::stopping()),
    }
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let text = app.engine.metrics.text(&Gauges {
        waiting: app.engine.waiting(),
        model_bytes: app.engine.catalog.bytes(),
    });
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
