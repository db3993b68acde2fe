//! Generating and changing images.

use super::body::{Delivery, Form, ImagesBody};
use super::reply::{about, answer, encoded, now, usage};
use crate::api::edit::Edit;
use crate::api::follow::{Follow, Update, event, events};
use crate::api::generation::Generation;
use crate::api::json::{JsonBody, in_time, too_large_or};
use crate::api::running::{CancelOnDrop, Client, blocking, images_of};
use crate::app::{App, Submitted, Task};
use crate::engine::Accepted;
use crate::error::ApiError;
use crate::images::Format;
use axum::Json;
use axum::extract::multipart::MultipartRejection;
use axum::extract::{Multipart, State};
use axum::http::{HeaderMap, header};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use fewstep_data::image::MaskKind;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};

/// What this API calls the fields of a generation.
const NAMES: &[(&str, &str)] = &[("count", "n"), ("control", "image")];

pub(super) async fn generations(
    State(app): State<Arc<App>>,
    client: Client,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ImagesBody>,
) -> Result<Response, ApiError> {
    let accepted = app.engine.accept()?;
    let delivery = body.delivery()?;
    let generation = body.generation(&app.config.limits)?;
    respond(
        &app,
        accepted,
        client,
        &headers,
        generation,
        delivery,
        "image_generation",
    )
    .await
}

pub(super) async fn edits(
    State(app): State<Arc<App>>,
    client: Client,
    headers: HeaderMap,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Response, ApiError> {
    let form = form.map_err(|rejection| too_large_or(rejection.status()))?;
    let limits = app.config.limits;
    let accepted = app.engine.accept()?;
    let Form { body, image, mask } = in_time(Form::read(form, &limits)).await??;
    let (delivery, strength) = (body.delivery()?, body.strength());
    let mut generation = body.generation(&limits)?;
    let model = app.model_of(&accepted, &mut generation).await;
    let model = model.map_err(|error| error.renamed(NAMES))?;
    let edit = Edit {
        image,
        mask: mask.map(|mask| (mask, MaskKind::Transparent)),
        strength,
    };
    (generation.start, generation.control) = edit.for_model(&model.generator);
    respond(
        &app,
        accepted,
        client,
        &headers,
        generation,
        delivery,
        "image_edit",
    )
    .await
}

async fn respond(
    app: &Arc<App>,
    accepted: Accepted<'_>,
    client: Client,
    headers: &HeaderMap,
    generation: Generation,
    delivery: Delivery,
    kind: &'static str,
) -> Result<Response, ApiError> {
    let previews = delivery.stream && delivery.partial > 0;
    let submitted = app.submit(accepted, client, generation, previews).await;
    let submitted = submitted.map_err(|error| error.renamed(NAMES))?;
    if delivery.stream {
        let guard = CancelOnDrop::new(app.engine.clone(), submitted.job.tracked.clone());
        let follow = Follow::new(&submitted.job.tracked, Some(guard));
        let stream = Stream {
            sent: Arc::new(Mutex::new(vec![0; submitted.job.request.images.len()])),
            submitted,
            delivery,
            kind,
        };
        let render = move |update| render(stream.clone(), update);
        return Ok(events(follow, render).into_response());
    }
    let images = app.finished(&submitted.job.tracked).await?;
    if delivery.as_urls {
        let task = Task::generate(submitted.clone(), delivery.format);
        app.jobs.keep(task);
    }
    let base = base(headers);
    Ok(Json(answer(&submitted, images, delivery, &base).await?).into_response())
}

/// The address of the server as the client wrote it.
fn base(headers: &HeaderMap) -> String {
    let of = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = match of("x-forwarded-proto") {
        Some("https") => "https",
        _ => "http",
    };
    let host = of(header::HOST.as_str()).unwrap_or("localhost");
    format!("{scheme}://{host}")
}

#[derive(Clone)]
struct Stream {
    submitted: Submitted,
    delivery: Delivery,
    kind: &'static str,
    /// Previews of each image that were sent.
    sent: Arc<Mutex<Vec<usize>>>,
}

impl Stream {
    fn event(&self, end: &str, file: &str, more: (&str, Value)) -> Event {
        let name = format!("{}.{end}", self.kind);
        let mut data = about(&self.submitted, self.delivery);
        data["type"] = json!(name);
        data["b64_json"] = json!(file);
        data["created_at"] = json!(now());
        data[more.0] = more.1;
        event(&name, &data)
    }

    /// Whether the preview of this step is one of those asked for, which are spread over the steps;
    /// its number.
    fn take_turn(&self, number: usize, step: usize) -> Option<usize> {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let (partial, steps) = (self.delivery.partial, self.submitted.job.request.steps);
        let is_due = sent[number] < partial && step * (partial + 1) >= (sent[number] + 1) * steps;
        is_due.then(|| {
            sent[number] += 1;
            sent[number] - 1
        })
    }
}

async fn render(stream: Stream, update: Update) -> Vec<Event> {
    let phase = match update {
        Update::Over(phase) => phase,
        Update::Progress { previews, .. } => {
            let mut made = vec![];
            for (number, step, image) in previews {
                let Some(index) = stream.take_turn(number, step) else {
                    continue;
                };
                let format: Format = stream.delivery.format;
                if let Ok(file) = blocking(move || format.base64(&image, None)).await {
                    let more = ("partial_image_index", json!(index));
                    made.push(stream.event("partial_image", &file, more));
                }
            }
            return made;
        }
    };
    let files = match images_of(phase) {
        Ok(images) => encoded(&stream.submitted, images, stream.delivery).await,
        Err(error) => Err(error),
    };
    match files {
        Ok(files) => {
            let completed = |file: &String| stream.event("completed", file, ("usage", usage()));
            files.iter().map(completed).collect()
        }
        Err(error) => vec![event("error", &error.body())],
    }
}
