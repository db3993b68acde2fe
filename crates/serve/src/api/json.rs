//! Bodies of requests that are JSON.

use super::explain::explain;
use crate::error::ApiError;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::time::Duration;
use utoipa::ToSchema;

/// How long a client may take to send a body.
const PATIENCE: Duration = Duration::from_secs(60);

/// A body that is a JSON object.
pub(crate) struct JsonObject(pub(crate) Map<String, Value>);

/// A body that is JSON, with errors in the form of the other errors.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync> FromRequest<S> for JsonObject {
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
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(ApiError::bad("the body must be a JSON object")),
            Err(error) => Err(ApiError::bad(format!(
                "the body is not JSON: it is wrong or ends too early at line {}, column {}",
                error.line(),
                error.column()
            ))),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned + ToSchema> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let JsonObject(fields) = JsonObject::from_request(request, state).await?;
        read(fields).map(Self)
    }
}

/// What the fields of a request say.
pub(crate) fn read<T: DeserializeOwned + ToSchema>(
    fields: Map<String, Value>,
) -> Result<T, ApiError> {
    let fields = Value::Object(fields);
    T::deserialize(&fields).map_err(|_| explain::<T>(&fields))
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
