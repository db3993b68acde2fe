//! Jobs as server-sent events.

use crate::api::follow::{Follow, Update, event, events};
use crate::api::running::{CancelOnDrop, blocking, images_of};
use crate::app::Task;
use crate::images::Format;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// A job as events: `progress`, `preview`, and at the end `done`, `failed` or `cancelled`. The guard
/// cancels it when the client leaves.
pub(super) fn events_of(task: Task, guard: Option<CancelOnDrop>) -> Response {
    let follow = Follow::new(task.tracked(), guard);
    let render = move |update| render(task.clone(), update);
    events(follow, render).into_response()
}

async fn render(task: Task, update: Update) -> Vec<Event> {
    let phase = match update {
        Update::Over(phase) => phase,
        Update::Progress { state, previews } => {
            let mut made = vec![event(
                "progress",
                &json!({
                    "status": state.phase.name(),
                    "progress": state.progress(task.steps()),
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
        Ok(images) => task.result(images).await,
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
