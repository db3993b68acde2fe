//! Jobs that go on when the client leaves.

use super::body::GenerateBody;
use super::events::events_of;
use super::generate::submit;
use super::reply::GenerateReply;
use super::restyle::{RestyleBody, RestyleReply, submit_restyling};
use crate::api::json::JsonBody;
use crate::api::running::{Client, images_of};
use crate::app::{App, Task, TaskKind};
use crate::engine::Phase;
use crate::error::ApiError;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use fewstep_data::image::{Image, ImageKind};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A job.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobReply {
    /// Its id.
    pub(crate) id: String,
    /// `waiting`, `running`, `done`, `failed` or `cancelled`.
    pub(crate) status: &'static str,
    /// Share of the work that is done, from 0 to 1.
    pub(crate) progress: f64,
    /// The images, when it is done.
    pub(crate) result: Option<JobResult>,
    /// Why it failed.
    pub(crate) error: Option<String>,
}

/// What a job gave: the answer of `/api/v1/generate` or of `/api/v1/restyle`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum JobResult {
    /// Of a job that generates.
    Generate(GenerateReply),
    /// Of a job that restyles.
    Restyle(RestyleReply),
}

/// Starts a job that generates. Its images are kept for 10 minutes.
#[utoipa::path(post, path = "/api/v1/jobs", tag = "jobs", request_body = GenerateBody,
    responses(
        (status = 202, body = JobReply),
        (status = 400, description = "the request contradicts itself or the model"),
        (status = 404, description = "no such model"),
        (status = 413, description = "a body or an image is too large"),
        (status = 429, description = "too many requests wait: see Retry-After"),
    ))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    client: Client,
    JsonBody(body): JsonBody<GenerateBody>,
) -> Result<Response, ApiError> {
    if body.stream {
        let message = "`stream` goes with /api/v1/generate: a job has its events under /events";
        return Err(ApiError::field("stream", message));
    }
    let (format, previews) = (body.format()?, body.previews);
    let submitted = submit(&app, client, body, previews).await?;
    accepted(&app, Task::generate(submitted, format)).await
}

/// Starts a job that restyles. Its images are kept for 10 minutes.
#[utoipa::path(post, path = "/api/v1/jobs/restyle", tag = "jobs", request_body = RestyleBody,
    responses(
        (status = 202, body = JobReply),
        (status = 400, description = "the request contradicts itself or the models"),
        (status = 404, description = "no such model"),
        (status = 413, description = "a body or an image is too large"),
        (status = 429, description = "too many requests wait: see Retry-After"),
    ))]
pub(super) async fn create_restyling(
    State(app): State<Arc<App>>,
    JsonBody(body): JsonBody<RestyleBody>,
) -> Result<Response, ApiError> {
    let format = body.format()?;
    let restyling = submit_restyling(&app, body).await?;
    accepted(&app, Task::restyle(restyling, format)).await
}

/// Keeps a job and answers with it.
async fn accepted(app: &App, task: Task) -> Result<Response, ApiError> {
    app.jobs.keep(task.clone());
    Ok((StatusCode::ACCEPTED, Json(reply(&task).await?)).into_response())
}

/// A job and, when it is done, its images.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "the id of the job")),
    responses((status = 200, body = JobReply), (status = 404, description = "no such job")))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<JobReply>, ApiError> {
    Ok(Json(reply(&app.jobs.find(&id)?).await?))
}

/// Cancels a job: at once if it waits, else at the next step.
#[utoipa::path(delete, path = "/api/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "the id of the job")),
    responses((status = 200, body = JobReply), (status = 404, description = "no such job")))]
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<JobReply>, ApiError> {
    let task = app.jobs.find(&id)?;
    app.engine.cancel(task.tracked());
    Ok(Json(reply(&task).await?))
}

/// The progress of a job as server-sent events: `progress`, `preview`, and at the end `done`,
/// `failed` or `cancelled`.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/events", tag = "jobs", params(("id" = String, Path, description = "the id of the job")),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 404, description = "no such job")))]
pub(super) async fn events(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    Ok(events_of(app.jobs.find(&id)?, None))
}

/// An image of a job as a file.
pub(super) async fn image(
    State(app): State<Arc<App>>,
    Path((id, number)): Path<(String, usize)>,
) -> Result<Response, ApiError> {
    let task = app.jobs.find(&id)?;
    let images = images_of(task.tracked().state().phase)?;
    let image = images.get(number);
    let image = image.ok_or_else(|| ApiError::not_found("the job has no such image"))?;
    let bytes = task
        .format
        .encode(image, task.parameters(number).as_deref())?;
    let kind = match task.format.kind {
        ImageKind::Png => "image/png",
        ImageKind::Jpeg => "image/jpeg",
        ImageKind::WebP => "image/webp",
    };
    Ok(([(header::CONTENT_TYPE, kind)], bytes).into_response())
}

async fn reply(task: &Task) -> Result<JobReply, ApiError> {
    let job = task.tracked();
    let state = job.state();
    let mut reply = JobReply {
        id: job.id.clone(),
        status: state.phase.name(),
        progress: state.progress(task.steps()),
        result: None,
        error: None,
    };
    match state.phase {
        Phase::Done(images) => {
            reply.progress = 1.0;
            reply.result = Some(task.result(images).await?);
        }
        Phase::Failed(error) => reply.error = Some(error.message),
        Phase::Waiting | Phase::Running | Phase::Cancelled => {}
    }
    Ok(reply)
}

impl Task {
    /// What it gave: these images.
    pub(super) async fn result(&self, images: Arc<Vec<Image>>) -> Result<JobResult, ApiError> {
        Ok(match &self.kind {
            TaskKind::Generate(submitted) => {
                JobResult::Generate(submitted.reply(images, self.format).await?)
            }
            TaskKind::Restyle(restyling) => {
                JobResult::Restyle(RestyleReply::of(restyling, images, self.format).await?)
            }
        })
    }
}
