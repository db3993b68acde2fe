//! Jobs in progress, as handlers see them.

use super::generation::{Generation, Resolved};
use crate::app::{App, Submitted};
use crate::engine::{Accepted, Engine, Loaded, Phase, Submission, Tracked};
use crate::error::ApiError;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use fewstep_data::image::Image;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// The address of the client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client(pub(crate) IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Ok(Self(address.map_or(unknown, |address| address.0.ip())))
    }
}

impl App {
    /// Checks what needs no model, and loads the model with the LoRA that the prompts name.
    pub(crate) async fn model_of(
        &self,
        accepted: &Accepted<'_>,
        generation: &mut Generation,
    ) -> Result<Arc<Loaded>, ApiError> {
        generation.check(&self.config.limits)?;
        generation.take_loras()?;
        let name = generation.model.as_deref();
        let loras = &generation.loras;
        accepted.model(name, generation.steps, loras).await
    }

    /// Loads the model, checks the request against it, and puts it into the queue.
    pub(crate) async fn submit(
        &self,
        accepted: Accepted<'_>,
        client: Client,
        mut generation: Generation,
        previews: bool,
    ) -> Result<Submitted, ApiError> {
        let model = self.model_of(&accepted, &mut generation).await?;
        let for_model = model.clone();
        let engine = self.engine.clone();
        let resolve = move || {
            let resolved = generation.resolve(&for_model.generator)?;
            match engine.batch_of(&for_model, resolved.request.size) {
                Some(_) => Ok(resolved),
                None => Err(ApiError::field(
                    "size",
                    "an image of this size takes more memory than models may take on this server: ask for a smaller one",
                )),
            }
        };
        let Resolved { request, notes } = blocking(resolve).await?;
        let job = accepted.submit(Submission {
            client: client.0,
            model,
            request,
            previews,
        })?;
        Ok(Submitted {
            job,
            notes: Arc::new(notes),
        })
    }

    /// The images of a job, which is cancelled if the caller is dropped before.
    pub(crate) async fn finished(&self, job: &Arc<Tracked>) -> Result<Arc<Vec<Image>>, ApiError> {
        let guard = CancelOnDrop::new(self.engine.clone(), job.clone());
        let mut watched = job.watch();
        let over = watched.wait_for(|state| state.phase.is_over());
        let over = tokio::time::timeout_at(job.deadline.into(), over).await;
        let phase = match over {
            Ok(Ok(state)) => state.phase.clone(),
            Ok(Err(_)) => Phase::Cancelled,
            Err(_) => Phase::Failed(ApiError::timed_out()),
        };
        drop(guard);
        images_of(phase)
    }
}

/// The images of a job that has ended.
pub(crate) fn images_of(phase: Phase) -> Result<Arc<Vec<Image>>, ApiError> {
    match phase {
        Phase::Done(images) => Ok(images),
        Phase::Failed(error) => Err(error),
        Phase::Waiting | Phase::Running | Phase::Cancelled => Err(ApiError::cancelled()),
    }
}

/// Cancels a job when it is dropped, unless the job has ended: when a client leaves, the handler
/// is dropped.
pub(crate) struct CancelOnDrop {
    engine: Arc<Engine>,
    job: Arc<Tracked>,
}

impl CancelOnDrop {
    pub(crate) fn new(engine: Arc<Engine>, job: Arc<Tracked>) -> Self {
        Self { engine, job }
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.engine.cancel(&self.job);
    }
}

/// Runs what takes long on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(ApiError::internal()))
}
