//! A job as a stream of events.

use super::running::CancelOnDrop;
use crate::engine::{JobState, Phase, Tracked, Watched};
use crate::error::ApiError;
use axum::response::sse::{Event, KeepAlive, Sse};
use fewstep_data::image::Image;
use futures_util::stream::{self, Stream};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

/// A job that is followed until it ends.
pub(crate) struct Follow {
    job: Arc<Tracked>,
    watched: Watched,
    /// The step of the newest preview of each image that was shown.
    shown: Vec<usize>,
    begun: bool,
    over: bool,
    /// Cancels the job when the client leaves, where it is not to go on alone.
    _guard: Option<CancelOnDrop>,
}

/// What has happened to a job.
pub(crate) enum Update {
    Progress {
        state: JobState,
        /// What is new: number of the image, step, preview.
        previews: Vec<(usize, usize, Arc<Image>)>,
    },
    Over(Phase),
}

impl Follow {
    pub(crate) fn new(job: &Arc<Tracked>, guard: Option<CancelOnDrop>) -> Self {
        let watched = job.watch();
        let images = watched.borrow().steps.len();
        Self {
            watched,
            shown: vec![0; images],
            job: job.clone(),
            begun: false,
            over: false,
            _guard: guard,
        }
    }

    /// Waits for something to happen; none after the end.
    async fn next(&mut self) -> Option<Update> {
        if self.over {
            return None;
        }
        if self.begun {
            let changed = self.watched.changed();
            let changed = tokio::time::timeout_at(self.job.deadline.into(), changed).await;
            if changed.is_err() {
                self.over = true;
                return Some(Update::Over(Phase::Failed(ApiError::timed_out())));
            }
        }
        self.begun = true;
        let state = self.watched.borrow_and_update().clone();
        self.over = state.phase.is_over();
        if self.over {
            return Some(Update::Over(state.phase));
        }
        let mut previews = vec![];
        for (number, preview) in state.previews.iter().enumerate() {
            if let Some((step, image)) = preview
                && self.shown[number] < *step
            {
                self.shown[number] = *step;
                previews.push((number, *step, image.clone()));
            }
        }
        Some(Update::Progress { state, previews })
    }
}

/// An answer of server-sent events: those that `render` makes of each update.
pub(crate) fn events<Made>(
    follow: Follow,
    render: impl Fn(Update) -> Made + Clone + Send + 'static,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>>
where
    Made: Future<Output = Vec<Event>> + Send,
{
    let start = (follow, VecDeque::new());
    let stream = stream::unfold(start, move |(mut follow, mut ready)| {
        let render = render.clone();
        async move {
            loop {
                if let Some(event) = ready.pop_front() {
                    return Some((Ok(event), (follow, ready)));
                }
                let update = follow.next().await?;
                ready.extend(render(update).await);
            }
        }
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

/// An event with JSON.
pub(crate) fn event(name: &str, data: &serde_json::Value) -> Event {
    Event::default().event(name).data(data.to_string())
}
