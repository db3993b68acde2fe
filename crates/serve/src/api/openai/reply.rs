//! Answers and events.

use super::body::Delivery;
use crate::api::running::blocking;
use crate::app::Submitted;
use crate::error::ApiError;
use fewstep_data::image::Image;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Nothing is billed.
pub(super) fn usage() -> Value {
    json!({
        "input_tokens": 0,
        "output_tokens": 0,
        "total_tokens": 0,
        "input_tokens_details": { "image_tokens": 0, "text_tokens": 0 },
    })
}

/// What answers and events say about their images.
pub(super) fn about(submitted: &Submitted, delivery: Delivery) -> Value {
    let generator = &submitted.job.model.generator;
    let usual = generator.image_shape();
    let size = submitted.job.request.size;
    let [height, width] = size.unwrap_or([usual.height, usual.width]);
    json!({
        "background": "opaque",
        "output_format": delivery.format.name(),
        "quality": "auto",
        "size": format!("{width}x{height}"),
    })
}

/// The files of images in base64, with the text about each.
pub(super) async fn encoded(
    submitted: &Submitted,
    images: Arc<Vec<Image>>,
    delivery: Delivery,
) -> Result<Vec<String>, ApiError> {
    let submitted = submitted.clone();
    blocking(move || {
        let each = images.iter().enumerate();
        each.map(|(number, image)| {
            let parameters = submitted.parameters(number);
            delivery.format.base64(image, Some(&parameters))
        })
        .collect()
    })
    .await
}

/// The answer. `base` is the address of the server, for images as addresses.
pub(super) async fn answer(
    submitted: &Submitted,
    images: Arc<Vec<Image>>,
    delivery: Delivery,
    base: &str,
) -> Result<Value, ApiError> {
    let job = &submitted.job;
    let seeds = job.request.images.iter().map(|image| image.seed);
    let data: Vec<Value> = match delivery.as_urls {
        true => {
            let url = |number| format!("{base}/images/{}/{number}", job.id);
            let urls = (0..images.len()).map(url);
            urls.zip(seeds)
                .map(|(url, seed)| json!({ "url": url, "seed": seed }))
                .collect()
        }
        false => {
            let files = encoded(submitted, images, delivery).await?;
            let files = files.into_iter().zip(seeds);
            files
                .map(|(file, seed)| json!({ "b64_json": file, "seed": seed }))
                .collect()
        }
    };
    let mut answer = about(submitted, delivery);
    answer["created"] = json!(now());
    answer["data"] = json!(data);
    answer["usage"] = usage();
    answer["warnings"] = json!(*submitted.notes);
    Ok(answer)
}
