//! How far the newest request is, and ending it.

use crate::app::App;
use crate::engine::Phase;
use crate::images::Format;
use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ProgressQuery {
    skip_current_image: bool,
}

pub(super) async fn progress(
    State(app): State<Arc<App>>,
    Query(query): Query<ProgressQuery>,
) -> Json<Value> {
    let jobs = app.a1111.jobs();
    let running = jobs.iter().map(|job| (job, job.state()));
    let running = running.max_by_key(|(_, state)| matches!(state.phase, Phase::Running));
    let (mut done, mut eta, mut step, mut steps, mut image) = (0.0, 0.0, 0, 0, None);
    if let Some((job, state)) = running {
        steps = job.request.steps;
        // Before the end, so that clients that wait for 0 see it only when the job has ended.
        done = state.progress(steps).clamp(0.01, 0.99);
        step = state.steps.iter().copied().max().unwrap_or(0);
        let seconds = job.submitted.elapsed().as_secs_f64();
        eta = seconds / done - seconds;
        if !query.skip_current_image {
            app.engine.wants_preview.store(true, Ordering::Relaxed);
            let preview = state.previews.into_iter().flatten().next();
            image = preview.and_then(|(_, image)| Format::PNG.base64(&image, None).ok());
        }
    }
    Json(json!({
        "progress": done,
        "eta_relative": eta,
        "state": {
            "skipped": false,
            "interrupted": false,
            "stopping_generation": false,
            "job": if jobs.is_empty() { "" } else { "txt2img" },
            "job_count": jobs.len(),
            "job_timestamp": "0",
            "job_no": 0,
            "sampling_step": step,
            "sampling_steps": steps,
        },
        "current_image": image,
        "textinfo": null,
    }))
}

/// Cancels the jobs of this API.
pub(super) async fn interrupt(State(app): State<Arc<App>>) -> Json<Value> {
    for job in app.a1111.jobs() {
        app.engine.cancel(&job);
    }
    Json(Value::Null)
}
