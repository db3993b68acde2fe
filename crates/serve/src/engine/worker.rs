//! The thread that owns the device: it loads models, and generates one batch after another.

use super::errand::Errand;
use super::queue::Part;
use super::{Engine, Job, Loading, Phase};
use crate::config::Load;
use crate::error::ApiError;
use fewstep_data::image::Image;
use fewstep_generate::{GenerateError, Progress, Request};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;
use std::time::Instant;

/// What the worker does next.
enum Next {
    Load(Loading),
    Generate(Vec<Part<Job>>),
    Run(Errand),
    End,
}

/// Works until the engine ends.
pub(super) fn run(engine: &Engine, load: &Load) {
    loop {
        match next(engine) {
            Next::Load(loading) => {
                let Loading {
                    name,
                    steps,
                    loras,
                    reply,
                } = loading;
                // Whoever has left by now does not wait for it.
                if reply.is_closed() {
                    continue;
                }
                let caught = AssertUnwindSafe(|| engine.catalog.load(&name, steps, &loras, load));
                let loaded = catch_unwind(caught).unwrap_or_else(|_| Err(ApiError::internal()));
                let _ = reply.send(loaded);
            }
            Next::Generate(parts) => generate(engine, &parts),
            Next::Run(errand) => {
                errand.run(engine);
                engine.lock().on_errand = None;
            }
            Next::End => return,
        }
    }
}

fn next(engine: &Engine) -> Next {
    let mut work = engine.lock();
    loop {
        if !work.loads.is_empty() {
            return Next::Load(work.loads.remove(0));
        }
        for job in work.queue.all() {
            if job.is_late() {
                engine.finish(&job, Phase::Failed(ApiError::timed_out()));
                work.queue.remove(&job);
            }
        }
        work.errands
            .retain(|errand| match errand.tracked.is_late() {
                true => {
                    engine.finish(&errand.tracked, Phase::Failed(ApiError::timed_out()));
                    false
                }
                false => true,
            });
        // Batches and errands take turns.
        if work.errand_is_next
            && let Some(errand) = work.errands.pop_front()
        {
            work.on_errand = Some(errand.tracked.clone());
            work.errand_is_next = false;
            return Next::Run(errand);
        }
        let most = |job: &Job| engine.batch_of(&job.model, job.request.size).unwrap_or(1);
        let parts = work.queue.take(most);
        work.errand_is_next = true;
        if !parts.is_empty() {
            return Next::Generate(parts);
        }
        if !work.errands.is_empty() {
            continue;
        }
        if work.ended {
            return Next::End;
        }
        let waited = engine.arrived.wait(work);
        work = waited.unwrap_or_else(PoisonError::into_inner);
    }
}

/// Generates the images of a batch and gives each job its own.
fn generate(engine: &Engine, parts: &[Part<Job>]) {
    let first = &parts[0].job;
    let images = parts
        .iter()
        .flat_map(|part| part.job.request.images[part.images.clone()].iter().cloned());
    let request = Request {
        images: images.collect(),
        ..first.request.clone()
    };
    let request = Request {
        batch: request.images.len(),
        ..request
    };
    for part in parts {
        part.job.start(request.images.len());
    }
    let started = Instant::now();
    let mut observer = |progress: Progress<'_>| observe(engine, parts, &progress);
    // A fault in one model must not end the server.
    let generated = catch_unwind(AssertUnwindSafe(|| {
        first.model.generator.generate(&request, &mut observer)
    }));
    let seconds = started.elapsed().as_secs_f64();
    match generated {
        Ok(Ok(images)) => {
            engine.metrics.batch(images.len(), request.steps, seconds);
            give(engine, parts, images);
        }
        Ok(Err(GenerateError::Cancelled)) => {
            for part in parts {
                let phase = match part.job.is_late() {
                    true => Phase::Failed(ApiError::timed_out()),
                    false => Phase::Cancelled,
                };
                engine.finish(&part.job, phase);
            }
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "generating failed");
            fail(engine, parts, &error.into());
        }
        Err(_) => {
            tracing::error!("generating failed by a fault of the program");
            fail(engine, parts, &ApiError::internal());
        }
    }
    let mut work = engine.lock();
    for part in parts {
        if part.job.is_over() {
            work.queue.remove(&part.job);
        }
    }
}

/// Tells each job of its step. Stops the batch when no job needs it any more.
fn observe(engine: &Engine, parts: &[Part<Job>], progress: &Progress<'_>) -> ControlFlow<()> {
    let is_needed = |part: &Part<Job>| !part.job.is_over() && !part.job.is_late();
    if !parts.iter().any(is_needed) {
        return ControlFlow::Break(());
    }
    let step = progress.step.index + 1;
    let mut of_images = parts
        .iter()
        .flat_map(|part| part.images.clone().map(|image| (&part.job, image)))
        .skip(progress.images.start)
        .take(progress.images.len())
        .peekable();
    let is_last = step == progress.step.total;
    let asked = of_images.peek().is_some() && !is_last && {
        let wished = engine.take_preview_wish();
        let shown = parts.iter().any(|part| part.job.previews);
        wished || shown
    };
    let mut previews = match asked {
        true => progress.preview().into_iter().map(Some).collect(),
        false => vec![],
    }
    .into_iter();
    for (job, image) in of_images {
        let preview: Option<Image> = previews.next().flatten();
        job.step(image, step, preview);
    }
    ControlFlow::Continue(())
}

fn give(engine: &Engine, parts: &[Part<Job>], images: Vec<Image>) {
    let mut images = images.into_iter();
    for part in parts {
        let of_part = images.by_ref().take(part.images.len()).collect();
        if part.job.is_over() {
            continue;
        }
        if part.job.keep(part.images.start, of_part) {
            engine.metrics.ended("done");
            let job = &part.job;
            let waited = job.submitted.elapsed().as_secs_f64();
            engine.metrics.took(waited);
            let images = job.request.images.len();
            tracing::debug!(job = job.id, images, seconds = waited, "a job is done");
        }
    }
}

fn fail(engine: &Engine, parts: &[Part<Job>], error: &ApiError) {
    for part in parts {
        engine.finish(&part.job, Phase::Failed(error.clone()));
    }
}
