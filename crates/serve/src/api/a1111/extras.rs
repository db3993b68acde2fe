//! What has nothing to do with a model: enlarging, and reading the text in a file.

use crate::api::json::JsonBody;
use crate::api::running::blocking;
use crate::app::App;
use crate::config::Limits;
use crate::error::ApiError;
use crate::images::{Format, decode_base64, from_base64};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fewstep_data::image::parameters;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::ToSchema;

/// An image to enlarge; clients send more than has a meaning here.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(default)]
pub(super) struct Enlarge {
    resize_mode: u8,
    upscaling_resize: f64,
    upscaling_resize_w: usize,
    upscaling_resize_h: usize,
    image: String,
    #[serde(rename = "imageList")]
    images: Vec<ListedImage>,
}

#[derive(Clone, Deserialize, Serialize, ToSchema)]
struct ListedImage {
    data: String,
}

impl Default for Enlarge {
    fn default() -> Self {
        Self {
            resize_mode: 0,
            upscaling_resize: 2.0,
            upscaling_resize_w: 512,
            upscaling_resize_h: 512,
            image: String::new(),
            images: vec![],
        }
    }
}

impl Enlarge {
    fn enlarged(&self, image: &str, limits: &Limits) -> Result<String, ApiError> {
        let image = decode_base64(image, "image", limits)?;
        let [height, width] = match self.resize_mode {
            1 => [self.upscaling_resize_h, self.upscaling_resize_w],
            _ => image
                .size()
                .map(|side| (side as f64 * self.upscaling_resize).round() as usize),
        };
        if height == 0 || width == 0 || height.saturating_mul(width) as u64 > limits.pixels {
            let message = format!(
                "the result would have {width}x{height} pixels: at least 1 and at most {} are allowed",
                limits.pixels
            );
            return Err(ApiError::field("upscaling_resize", message));
        }
        Format::PNG.base64(&image.image(3).covering([height, width]), None)
    }
}

pub(super) async fn single(
    State(app): State<Arc<App>>,
    JsonBody(body): JsonBody<Enlarge>,
) -> Result<Json<Value>, ApiError> {
    let limits = app.config.limits;
    let image = blocking(move || body.enlarged(&body.image, &limits)).await?;
    Ok(Json(json!({ "html_info": "", "image": image })))
}

pub(super) async fn batch(
    State(app): State<Arc<App>>,
    JsonBody(body): JsonBody<Enlarge>,
) -> Result<Json<Value>, ApiError> {
    let limits = app.config.limits;
    if body.images.len() > limits.images {
        let message = format!("at most {} images at a time", limits.images);
        return Err(ApiError::field("imageList", message));
    }
    let images = blocking(move || {
        let images = body.images.iter();
        let images = images.map(|image| body.enlarged(&image.data, &limits));
        images.collect::<Result<Vec<String>, ApiError>>()
    });
    Ok(Json(json!({ "html_info": "", "images": images.await? })))
}

#[derive(Deserialize, ToSchema)]
pub(super) struct PngInfo {
    image: String,
}

/// The text in a PNG file that says how it was made.
pub(super) async fn png_info(JsonBody(body): JsonBody<PngInfo>) -> Result<Json<Value>, ApiError> {
    let text = parameters(&from_base64(&body.image, "image")?).unwrap_or_default();
    Ok(Json(
        json!({ "info": text, "items": { "parameters": text }, "parameters": {} }),
    ))
}

pub(super) async fn interrogate() -> ApiError {
    let message = "this server has no model that describes images";
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, message)
}
