//! How far the newest request is, and ending it.

use crate::api::App;
use crate::engine::{Job, Phase};
use crate::images::Format;
use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ProgressQuery {
    skip_current_image: bool,
}

impl App {
    /// Jobs of this API that have not ended.
    fn a1111_jobs(&self) -> Vec<Arc<Job>> {
        let mut jobs = self
            .a1111
            .jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        jobs.retain(|job| job.upgrade().is_some_and(|job| !job.is_over()));
        jobs.iter().filter_map(|job| job.upgrade()).collect()
    }

    pub(super) fn remember(&self, job: &Arc<Job>) {
        let mut jobs = self
            .a1111
            .jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        jobs.retain(|job| job.upgrade().is_some_and(|job| !job.is_over()));
        jobs.push(Arc::downgrade(job));
    }
}

pub(super) async fn progress(
    State(app): State<Arc<App>>,
    Query(query): Query<ProgressQuery>,
) -> Json<Value> {
    let jobs = app.a1111_jobs();
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
    for job in app.a1111_jobs() {
        app.engine.cancel(&job);
    }
    Json(Value::Null)
}
