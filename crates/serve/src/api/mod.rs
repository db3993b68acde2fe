//! The APIs, and what they share.

mod a1111;
mod class;
mod edit;
mod explain;
mod follow;
mod generation;
mod health;
mod json;
mod large;
mod lora;
mod native;
mod openai;
mod running;
mod schema;
mod seed;

use crate::app::App;
use crate::error::ApiError;
use crate::{guard, page};
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use std::any::Any;
use std::sync::Arc;
use std::time::Instant;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

/// All routes of the server.
pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new()
        .merge(health::routes())
        .merge(native::routes())
        .merge(openai::routes())
        .merge(a1111::routes())
        .merge(page::routes())
        .fallback(get(unknown).post(unknown))
        .layer(DefaultBodyLimit::max(app.config.limits.body))
        .layer(middleware::from_fn_with_state(app.clone(), large::refuse));
    if !app.config.cors.is_empty() {
        let origins = app
            .config
            .cors
            .iter()
            .filter_map(|origin| origin.parse().ok());
        let cors = CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins.collect::<Vec<HeaderValue>>()))
            .allow_methods(AllowMethods::list([
                Method::GET,
                Method::POST,
                Method::DELETE,
            ]))
            .allow_headers(AllowHeaders::list([
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
            ]));
        router = router.layer(cors);
    }
    router
        .layer(middleware::from_fn_with_state(app.clone(), guard::check))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(app.clone(), watch))
        .with_state(app)
}

async fn unknown(request: Request) -> ApiError {
    ApiError::not_found(format!("there is nothing at {}", request.uri().path()))
}

fn panicked(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("an answer failed by a fault of the program");
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "a fault of the server: its log says more",
    )
    .into_response()
}

/// Counts and logs each answer. Neither has queries, headers or bodies, which may hold secrets.
async fn watch(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("none", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    let mut response = next.run(request).await;
    let status = response.status().as_u16();
    app.engine.metrics.answered(&route, status);
    let ms = started.elapsed().as_millis();
    // Probes ask all the time.
    if !matches!(route.as_str(), "/healthz" | "/readyz" | "/metrics") {
        tracing::info!(%method, route, status, ms = ms as u64, "answered");
    }
    let headers = response.headers_mut();
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}
