//! Images in one answer.

use super::body::GenerateBody;
use super::reply::GenerateReply;
use crate::api::follow::{Follow, Update, event, events};
use crate::api::json::JsonBody;
use crate::api::running::{CancelOnDrop, Client, blocking, images_of};
use crate::app::{App, Submitted};
use crate::error::ApiError;
use crate::images::Format;
use axum::Json;
use axum::extract::State;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
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
        let guard = CancelOnDrop::new(app.engine.clone(), submitted.job.clone());
        let follow = Follow::new(&submitted.job, Some(guard));
        return Ok(stream_of(follow, submitted, format));
    }
    let images = app.finished(&submitted.job).await?;
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

/// A job as events: `progress`, `preview`, and at the end `done`, `failed` or `cancelled`.
pub(super) fn stream_of(follow: Follow, submitted: Submitted, format: Format) -> Response {
    let render = move |update| render(submitted.clone(), format, update);
    events(follow, render).into_response()
}

async fn render(submitted: Submitted, format: Format, update: Update) -> Vec<Event> {
    let phase = match update {
        Update::Over(phase) => phase,
        Update::Progress { state, previews } => {
            let steps = submitted.job.request.steps;
            let mut made = vec![event(
                "progress",
                &json!({
                    "status": state.phase.name(),
                    "progress": state.progress(steps),
                    "steps": state.steps,
                }),
            )];
            for (number, step, image) in previews {
                let data = blocking(move || Format::PNG.base64(&image, None)).await;
                if let Ok(data) = data {
                    let preview = json!({ "image": number, "step": step, "data": data });
                    made.push(event("preview", &preview));
                }
            }
            return made;
        }
    };
    let name = phase.name();
    let reply = match images_of(phase) {
        Ok(images) => submitted.reply(images, format).await,
        Err(error) => Err(error),
    };
    vec![match reply {
        Ok(reply) => event("done", &json!(reply)),
        Err(error) => {
            let name = if name == "done" { "failed" } else { name };
            let body: Value = error.body();
            event(name, &body)
        }
    }]
}
