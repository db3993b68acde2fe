//! Images in one answer.

use super::body::GenerateBody;
use super::events::events_of;
use super::reply::GenerateReply;
use crate::api::json::JsonBody;
use crate::api::running::{CancelOnDrop, Client, blocking};
use crate::app::{App, Submitted, Task};
use crate::error::ApiError;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// Generates images and waits for them. When the client leaves, they are cancelled at the next step.
#[utoipa::path(post, path = "/api/v1/generate", tag = "generate", request_body = GenerateBody,
    responses(
        (status = 200, body = GenerateReply),
        (status = 400, description = "the request contradicts itself or the model"),
        (status = 404, description = "no such model"),
        (status = 413, description = "a body or an image is too large"),
        (status = 429, description = "too many requests wait: see Retry-After"),
        (status = 504, description = "it took too long"),
    ))]
pub(super) async fn generate(
    State(app): State<Arc<App>>,
    client: Client,
    JsonBody(body): JsonBody<GenerateBody>,
) -> Result<Response, ApiError> {
    let (format, previews, stream) = (body.format()?, body.previews, body.stream);
    let submitted = submit(&app, client, body, previews && stream).await?;
    if stream {
        let task = Task::generate(submitted, format);
        let guard = CancelOnDrop::new(app.engine.clone(), task.tracked().clone());
        return Ok(events_of(task, Some(guard)));
    }
    let images = app.finished(&submitted.job.tracked).await?;
    let reply: GenerateReply = submitted.reply(images, format).await?;
    Ok(Json(reply).into_response())
}

/// Puts what a body asks for into the queue.
pub(super) async fn submit(
    app: &App,
    client: Client,
    body: GenerateBody,
    previews: bool,
) -> Result<Submitted, ApiError> {
    let accepted = app.engine.accept()?;
    let limits = app.config.limits;
    let generation = blocking(move || body.generation(&limits)).await?;
    let submitted = app.submit(accepted, client, generation, previews).await;
    submitted.map_err(|error| error.renamed(&[("size", "width")]))
}
