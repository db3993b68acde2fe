//! Why the server does not start, and why it refuses a request.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fewstep_data::amount;
use fewstep_diffusion::RecipeError;
use fewstep_generate::{GenerateError, RegistryError, UnknownClass};
use serde_json::json;
use std::net::SocketAddr;

/// Why the server does not start or ends.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Others could use it without a token.
    #[error(
        "{0} can be reached by other machines, and there is no token: set one, or listen on 127.0.0.1"
    )]
    NeedsToken(SocketAddr),
    /// The address is taken, or not one of this machine.
    #[error("cannot listen on {address} ({source}): choose another address")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Two models of one name.
    #[error("two models would be called `{0}`: give them other names")]
    SameName(String),
    /// An origin that is none.
    #[error("`{0}` is no origin: write it as https://example.org")]
    Origin(String),
    /// The first model takes more memory than models may take.
    #[error(
        "the model `{name}` takes {} of memory, and models may take {}",
        amount(*needed), amount(*allowed)
    )]
    Memory {
        /// Its name.
        name: String,
        /// What it takes.
        needed: u64,
        /// What models may take.
        allowed: u64,
    },
    /// The first model cannot be loaded.
    #[error(transparent)]
    Model(#[from] RegistryError),
    /// Threads or sockets that the system refuses.
    #[error("the server cannot go on: {0}")]
    System(#[from] std::io::Error),
}

/// Why a request is refused, in the form that every API of the server answers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// The field that is at fault.
    pub(crate) field: Option<String>,
    /// Seconds after which to try again.
    pub(crate) retry_after: Option<u64>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            field: None,
            retry_after: None,
        }
    }

    /// The request itself is at fault.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// A field of the request is at fault.
    pub(crate) fn field(field: &str, message: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            ..Self::bad(message)
        }
    }

    /// With the name that an API has for the field.
    pub(crate) fn renamed(mut self, names: &[(&str, &str)]) -> Self {
        let ours = self.field.as_deref();
        if let Some((_, theirs)) = names.iter().find(|(name, _)| Some(*name) == ours) {
            self.field = Some((*theirs).into());
        }
        self
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(crate) fn cancelled() -> Self {
        Self::new(StatusCode::CONFLICT, "the request was cancelled")
    }

    pub(crate) fn timed_out() -> Self {
        let message = "the request took longer than this server allows: ask for fewer images or steps, or try again later";
        Self::new(StatusCode::GATEWAY_TIMEOUT, message)
    }

    pub(crate) fn stopping() -> Self {
        Self {
            retry_after: Some(5),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping")
        }
    }

    pub(crate) fn internal() -> Self {
        let message = "generating failed: the server's log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// The error as JSON: as OpenAI's clients read it, and with `detail` for those of A1111.
    pub(crate) fn body(&self) -> serde_json::Value {
        let kind = match self.status.as_u16() {
            401 | 403 => "authentication_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            400..500 => "invalid_request_error",
            _ => "server_error",
        };
        json!({
            "error": {
                "message": self.message,
                "type": kind,
                "param": self.field,
                "code": self.status.canonical_reason().map(|reason| {
                    reason.to_lowercase().replace(' ', "_")
                }),
            },
            "detail": self.message,
        })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body())).into_response();
        if let Some(seconds) = self.retry_after {
            let seconds = HeaderValue::from(seconds);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

impl From<GenerateError> for ApiError {
    fn from(error: GenerateError) -> Self {
        match error {
            GenerateError::Cancelled => Self::cancelled(),
            GenerateError::Format(error) => {
                tracing::error!(%error, "a part of a model cannot be read");
                Self::internal()
            }
            error => Self {
                field: field_of(&error).map(String::from),
                ..Self::bad(error.to_string())
            },
        }
    }
}

/// The field that an error of the generator is about.
fn field_of(error: &GenerateError) -> Option<&'static str> {
    Some(match error {
        GenerateError::Recipe(error) => match error {
            RecipeError::WrongSampler { .. } | RecipeError::TeacherSampler { .. } => "sampler",
            RecipeError::WrongDirection { .. } => "model",
            RecipeError::UnknownClass { .. } => "class",
            RecipeError::FixedImageGuidance { .. } => "control",
            RecipeError::Number(_)
            | RecipeError::FixedW { .. }
            | RecipeError::NoGuidance { .. } => "w",
        },
        GenerateError::Grid(_) => "steps",
        GenerateError::NeedsControl { .. }
        | GenerateError::OnlyForInstruct
        | GenerateError::Control { .. } => "control",
        GenerateError::NoNullClass | GenerateError::NoClasses => "class",
        GenerateError::NoPrompts => "prompt",
        GenerateError::Size { .. } | GenerateError::Number(_) => "size",
        GenerateError::NoNegative => "negative_prompt",
        GenerateError::ClipSkip(_) => "clip_skip",
        GenerateError::Strength(_) => "strength",
        GenerateError::InitSize { what, .. } | GenerateError::InitChannels { what, .. } => what,
        GenerateError::EditStochastic
        | GenerateError::OnlyForInpainting
        | GenerateError::NotForInstruct => "image",
        GenerateError::NotForInpainting => "mask",
        GenerateError::NotForStudents { .. } => "sampler",
        GenerateError::Schedule(_)
        | GenerateError::Format(_)
        | GenerateError::NotFinite
        | GenerateError::Cancelled => return None,
    })
}

impl From<UnknownClass> for ApiError {
    fn from(error: UnknownClass) -> Self {
        Self::field("class", error.to_string())
    }
}
