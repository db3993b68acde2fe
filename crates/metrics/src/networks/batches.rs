//! Runs a network over images, a batch at a time.

use crate::{Features, Images, Probabilities, Result};
use burn::tensor::{Device, Tensor, TensorData, activation::softmax};
use fewstep_kernels::device::Placement;

/// Fewer images do not fill a GPU.
const GPU_BATCH: usize = 128;

/// The output of a network for one batch.
pub(crate) struct Activations {
    /// `[batch, dim]`.
    pub(crate) features: Tensor<2>,
    /// `[batch, classes]`, before the softmax.
    pub(crate) logits: Option<Tensor<2>>,
}

/// Runs `forward` over all images, `batch` at a time and several batches in parallel, with values
/// in [0, 1].
pub(crate) fn run(
    images: &Images,
    batch: usize,
    dim: usize,
    device: &Device,
    forward: impl Fn(Tensor<4>) -> Activations + Sync,
) -> Result<Features> {
    let placement = Placement::of(device);
    let batch = match placement.has_own_memory() {
        true => batch.max(GPU_BATCH),
        false => batch,
    };
    let parts = placement.map(images.batches(batch).collect(), |part| {
        let Activations { features, logits } = forward(to_tensor(&part, device));
        let probabilities = logits.map(|logits| {
            let [_, classes] = logits.dims();
            Probabilities::new(classes, to_vec(softmax(logits, 1)))
        });
        Ok(Features {
            probabilities: probabilities.transpose()?,
            ..Features::new(dim, to_vec(features))?
        })
    });
    let mut all = Features::empty(dim);
    for part in parts {
        all.append(part?)?;
    }
    Ok(all)
}

/// Values in [0, 1], `[count, channels, height, width]`.
pub(crate) fn to_tensor(images: &Images, device: &Device) -> Tensor<4> {
    let [channels, height, width] = images.shape();
    let values: Vec<f32> = images
        .pixels
        .iter()
        .map(|&p| f32::from(p) / 255.0)
        .collect();
    let data = TensorData::new(values, [images.len(), channels, height, width]);
    Tensor::from_data(data, device)
}

fn to_vec(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}
