//! Images of one class or prompt become images of another.

mod body;
mod reply;

pub(crate) use body::RestyleBody;
pub(crate) use reply::RestyleReply;

use crate::api::json::JsonBody;
use crate::api::running::blocking;
use crate::app::{App, Restyling};
use crate::engine::{Loaded, Tracked};
use crate::error::ApiError;
use axum::Json;
use axum::extract::State;
use fewstep_generate::{GenerateError, RestyleError, RestyleStep, Restyler};
use std::sync::Arc;

/// Turns images of one class or prompt into images of another: they are encoded to noise as the one
/// and decoded as the other. When the client leaves, it ends at the next step.
#[utoipa::path(post, path = "/api/v1/restyle", tag = "generate", request_body = RestyleBody,
    responses(
        (status = 200, body = RestyleReply),
        (status = 400, description = "the request contradicts itself or the models"),
        (status = 404, description = "no such model"),
        (status = 413, description = "a body or an image is too large"),
        (status = 429, description = "too many requests wait: see Retry-After"),
        (status = 504, description = "it took too long"),
    ))]
pub(super) async fn restyle(
    State(app): State<Arc<App>>,
    JsonBody(body): JsonBody<RestyleBody>,
) -> Result<Json<RestyleReply>, ApiError> {
    let format = body.format()?;
    let restyling = Arc::new(submit_restyling(&app, body).await?);
    let images = app.finished(&restyling.tracked).await?;
    Ok(Json(RestyleReply::of(&restyling, images, format).await?))
}

/// Checks what a body asks for against the models, and has the worker do it.
pub(super) async fn submit_restyling(app: &App, body: RestyleBody) -> Result<Restyling, ApiError> {
    let accepted = app.engine.accept()?;
    let limits = app.config.limits;
    let weights = body.weights()?;
    let decode = move || body.layers(&limits).map(|layers| (body, layers));
    let (body, layers) = blocking(decode).await?;
    body.check(layers.len(), weights.len(), &limits)?;
    let (encoder, decoder, is_teacher) = body.models()?;
    let encoder = accepted.model(Some(encoder), body.steps, &[]).await?;
    let decoder = accepted.model(Some(decoder), body.steps, &[]).await?;
    let models = [&encoder, &decoder].map(|model| model.name.clone());
    let engine = app.engine.clone();
    let prepare = move || {
        let restyler = restyler(&encoder, &decoder)?;
        let request = body.request(&restyler, &layers, weights, is_teacher)?;
        let needed = restyler.memory(&request)?;
        if !engine.catalog.allows(needed, &[&encoder, &decoder]) {
            return Err(ApiError::field(
                "image",
                "so many images take more memory than models may take on this server: give fewer images, or fewer weights `w`",
            ));
        }
        let notes = restyler.check(&request)?;
        let notes = notes.iter().map(ToString::to_string).collect();
        Ok((restyler, request, notes))
    };
    let (restyler, request, notes) = blocking(prepare).await?;
    let default_w = restyler.decoder().effective_w(None);
    let steps = [request.encoder_steps, request.decoder_steps];
    let w: Vec<_> = request.w.iter().map(|w| w.or(default_w)).collect();
    let (images, weights) = (request.images.len(), w.len());
    let work = move |tracked: &Tracked| {
        let mut observer = |step: RestyleStep| {
            let before = step.w.map_or(0, |_| steps[0]);
            let of_weights = step.w.map_or(0..weights, |w| w..w + 1);
            let results = of_weights.flat_map(|w| step.images.clone().map(move |n| w * images + n));
            tracked.steps(results, before + step.step);
            tracked.go_on()
        };
        let made = restyler.restyle(&request, &mut observer)?;
        Ok(made.into_iter().flatten().collect())
    };
    Ok(Restyling {
        tracked: accepted.run(images * weights, work)?,
        models,
        steps,
        w,
        notes,
    })
}

fn restyler(encoder: &Loaded, decoder: &Loaded) -> Result<Restyler, ApiError> {
    let parts = encoder.generator.components();
    let model = encoder.generator.model().clone();
    Ok(Restyler::new(model, parts, decoder.generator.clone())?)
}

impl From<RestyleError> for ApiError {
    fn from(error: RestyleError) -> Self {
        let (model, error) = match error {
            RestyleError::Encoder(error) => ("encoder", error),
            RestyleError::Decoder(error) => ("decoder", error),
            error => return Self::field("encoder", error.to_string()),
        };
        if matches!(error, GenerateError::Cancelled | GenerateError::Format(_)) {
            return error.into();
        }
        Self::field(model, format!("the {model}: {error}"))
    }
}
