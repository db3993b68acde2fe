//! The API of the A1111 web interface, under `/sdapi/v1`: what its clients need, which is more than
//! means something here.

mod body;
mod extras;
mod generate;
mod lists;
mod options;
mod progress;

use crate::app::App;
use axum::Router;
use axum::routing::{get, post};
use std::sync::Arc;

pub(super) fn routes() -> Router<Arc<App>> {
    let routes = Router::new()
        .route("/sdapi/v1/txt2img", post(generate::txt2img))
        .route("/sdapi/v1/img2img", post(generate::img2img))
        .route("/sdapi/v1/options", get(options::get).post(options::set))
        .route("/sdapi/v1/progress", get(progress::progress))
        .route("/sdapi/v1/interrupt", post(progress::interrupt))
        .route("/sdapi/v1/skip", post(progress::interrupt))
        .route("/sdapi/v1/extra-single-image", post(extras::single))
        .route("/sdapi/v1/extra-batch-images", post(extras::batch))
        .route("/sdapi/v1/png-info", post(extras::png_info))
        .route("/sdapi/v1/interrogate", post(extras::interrogate))
        .route("/sdapi/v1/sd-models", get(lists::models))
        .route("/sdapi/v1/loras", get(lists::loras))
        .route("/sdapi/v1/refresh-loras", post(lists::refresh_loras))
        .route("/sdapi/v1/samplers", get(lists::samplers))
        .route("/sdapi/v1/memory", get(lists::memory));
    let routes = lists::FIXED.iter().fold(routes, |routes, (path, body)| {
        routes.route(path, get(async move || lists::fixed(body)))
    });
    [
        "refresh-checkpoints",
        "unload-checkpoint",
        "reload-checkpoint",
    ]
    .iter()
    .fold(routes, |routes, name| {
        let nothing = async || lists::fixed("null");
        routes.route(&format!("/sdapi/v1/{name}"), post(nothing))
    })
}
