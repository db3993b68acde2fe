//! Pictures as tensors and back.

use burn::tensor::{Device, Tensor, TensorData};
use fewstep_data::ImageShape;
use fewstep_data::picture::{Picture, to_f32};

/// Pictures of one shape as values in [-1, 1], `[pictures, channels, height, width]`.
///
/// # Panics
/// When their shapes differ.
pub fn from_pictures(pictures: &[Picture], device: &Device) -> Tensor<4> {
    let shape = pictures.first().map_or([0; 3], |first| {
        [first.shape.channels, first.shape.height, first.shape.width]
    });
    let pixels = pictures.iter().flat_map(|picture| &picture.pixels);
    let values: Vec<f32> = pixels.map(|&value| to_f32(value)).collect();
    let [channels, height, width] = shape;
    let shape = [pictures.len(), channels, height, width];
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// 8-bit pictures from values in [-1, 1], `[pictures, channels, height, width]`.
pub fn to_pictures(batch: Tensor<4>) -> Vec<Picture> {
    let [_, channels, height, width] = batch.dims();
    let shape = ImageShape {
        channels,
        height,
        width,
    };
    // A tensor in memory can always be read back.
    let values = batch.into_data().try_to_vec::<f32>().unwrap_or_default();
    values
        .chunks_exact(shape.len())
        .map(|picture| Picture::from_f32(shape, picture))
        .collect()
}
