//! Bodies that are too large.

use super::json::{in_time, too_large_or};
use crate::app::App;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use std::sync::Arc;

/// A body is received and thrown away up to this many times the size that is allowed.
const MOST: u64 = 16;

/// Refuses a request whose body will be too large. Many clients read no answer before they have sent
/// all, and would only see that the connection is closed: the body is received, and thrown away.
pub(super) async fn refuse(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let limit = app.config.limits.body as u64;
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length > limit => {
            if length <= limit.saturating_mul(MOST) {
                let mut parts = request.into_body().into_data_stream();
                let all = async { while let Some(Ok(_)) = parts.next().await {} };
                let _ = in_time(all).await;
            }
            too_large_or(StatusCode::PAYLOAD_TOO_LARGE).into_response()
        }
        _ => next.run(request).await,
    }
}
