//! Images to tensors and back.

use burn::tensor::{Device, Tensor, TensorData};
use fewstep_data::ImageShape;
use fewstep_data::image::{Image, to_f32};

/// Images of one shape as values in [-1, 1], `[images, channels, height, width]`.
///
/// # Panics
/// When their shapes differ.
pub fn from_images(images: &[Image], device: &Device) -> Tensor<4> {
    let shape = images.first().map_or([0; 3], |first| {
        [first.shape.channels, first.shape.height, first.shape.width]
    });
    let pixels = images.iter().flat_map(|image| &image.pixels);
    let values: Vec<f32> = pixels.map(|&value| to_f32(value)).collect();
    let [channels, height, width] = shape;
    let shape = [images.len(), channels, height, width];
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// 8-bit images from values in [-1, 1], `[images, channels, height, width]`.
pub fn to_images(batch: Tensor<4>) -> Vec<Image> {
    let (shape, values) = values(batch);
    images_of(shape, &values)
}

/// The same; none where a value is infinite or not a number, which would be black.
pub(crate) fn to_finite_images(batch: Tensor<4>) -> Option<Vec<Image>> {
    let (shape, values) = values(batch);
    let finite = values.iter().all(|value| value.is_finite());
    finite.then(|| images_of(shape, &values))
}

fn values(batch: Tensor<4>) -> (ImageShape, Vec<f32>) {
    let [_, channels, height, width] = batch.dims();
    let shape = ImageShape {
        channels,
        height,
        width,
    };
    (shape, batch.into_data().iter().collect())
}

fn images_of(shape: ImageShape, values: &[f32]) -> Vec<Image> {
    values
        .chunks_exact(shape.len())
        .map(|image| Image::from_f32(shape, image))
        .collect()
}
