//! Bodies of requests that are JSON.

use crate::error::ApiError;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How long a client may take to send a body.
const PATIENCE: Duration = Duration::from_secs(60);

/// A body that is JSON, with errors in the form of the other errors.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        // A form of another site could send any other kind without being asked first.
        if !kind.trim_start().starts_with("application/json") {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the body must be JSON, with the header `Content-Type: application/json`",
            ));
        }
        let bytes = in_time(Bytes::from_request(request, state)).await?;
        let bytes = bytes.map_err(|rejection| too_large_or(rejection.status()))?;
        // Without this a list would be read as the fields in their order.
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(ApiError::bad("the body must be a JSON object"));
        }
        let parsed = serde_json::from_slice(&bytes);
        let value = parsed.map_err(|error| ApiError {
            field: field_of(&error.to_string()),
            ..ApiError::bad(format!("the body cannot be read: {error}"))
        })?;
        Ok(Self(value))
    }
}

/// A body, unless the client takes too long to send it.
pub(crate) async fn in_time<T>(body: impl Future<Output = T>) -> Result<T, ApiError> {
    let received = tokio::time::timeout(PATIENCE, body).await;
    received.map_err(|_| {
        ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not arrive in time",
        )
    })
}

/// Why a body could not be received.
pub(crate) fn too_large_or(status: StatusCode) -> ApiError {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::new(status, "the body is larger than this server allows")
        }
        status => ApiError::new(status, "the body cannot be received"),
    }
}

/// The field that a message of the parser names.
fn field_of(message: &str) -> Option<String> {
    let rest = message
        .strip_prefix("unknown field `")
        .or_else(|| message.strip_prefix("missing field `"))?;
    Some(rest.split('`').next()?.to_owned())
}
