//! The OpenAPI document.

use super::body::GenerateBody;
use super::models::{LoadBody, ModelFacts, ModelList};
use super::reply::GenerateReply;
use super::restyle::{RestyleBody, RestyleReply};
use super::{generate, jobs, models, restyle};
use axum::Json;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "fewstep",
        description = "Images from diffusion models that were distilled to a few steps."
    ),
    paths(
        models::list,
        models::load,
        generate::generate,
        restyle::restyle,
        jobs::create,
        jobs::create_restyling,
        jobs::show,
        jobs::cancel,
        jobs::events,
    ),
    components(schemas(
        GenerateBody,
        GenerateReply,
        LoadBody,
        ModelFacts,
        ModelList,
        RestyleBody,
        RestyleReply
    ))
)]
struct Document;

/// The OpenAPI document of this API.
pub(super) async fn json() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
