//! Distances between predictions.

use crate::error::RecipeError;
use burn::tensor::{Device, Tensor};
use fewstep_data::expand_home;
use fewstep_diffusion::limits::{FACTOR, above_zero, within};
use fewstep_metrics::{Lpips, MetricsError};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How far two batches of images are apart. `P` is the perceptual network: where its weights are,
/// in a recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Distance<P = Arc<Lpips>> {
    /// Squares.
    #[default]
    L2,
    /// Absolute values.
    L1,
    /// √(d² + c²) − c of each value: squares below c, absolute values above; c = 1e-3 in latent
    /// consistency models.
    PseudoHuber(f64),
    /// LPIPS of the images: of x̂ only, because noise does not look like anything.
    Lpips(P),
}

/// A distance as recipes name it.
pub type DistanceConfig = Distance<PathBuf>;

impl Distance {
    /// # Shapes
    /// - `a`, `b`: `[batch, channels, height, width]`
    /// - output: `[batch]`
    pub(super) fn between(&self, a: Tensor<4>, b: Tensor<4>) -> Tensor<1> {
        let mean = |values: Tensor<4>| values.flatten::<2>(1, 3).mean_dim(1).squeeze_dim(1);
        match self {
            Distance::L2 => mean((a - b).square()),
            Distance::L1 => mean((a - b).abs()),
            Distance::PseudoHuber(c) => mean(((a - b).square() + c * c).sqrt() - *c),
            Distance::Lpips(network) => network.between(a, b),
        }
    }
}

impl DistanceConfig {
    /// The distance with its network, for images of this shape, `[channels, height, width]`.
    ///
    /// # Errors
    /// When the network's file cannot be read, holds something else, or is not for such images.
    pub(super) fn load(
        &self,
        shape: [usize; 3],
        device: &Device,
    ) -> Result<Distance, MetricsError> {
        Ok(match self {
            Distance::L2 => Distance::L2,
            Distance::L1 => Distance::L1,
            Distance::PseudoHuber(c) => Distance::PseudoHuber(*c),
            Distance::Lpips(weights) => {
                let network = Lpips::load(&expand_home(weights), device)?;
                network.check(shape)?;
                Distance::Lpips(Arc::new(network))
            }
        })
    }

    /// The file of the network's weights, if there is one.
    pub(super) fn weight_file(&self) -> Option<&Path> {
        match self {
            Distance::Lpips(weights) => Some(weights),
            Distance::L2 | Distance::L1 | Distance::PseudoHuber(_) => None,
        }
    }

    /// Checks the range.
    ///
    /// # Errors
    /// When c is not above 0, or too large.
    pub(crate) fn validate(&self) -> Result<(), RecipeError> {
        match self {
            Distance::PseudoHuber(c) => Ok(within("pseudo-huber", *c, above_zero(FACTOR))?),
            Distance::L2 | Distance::L1 | Distance::Lpips(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn image(values: [f32; 4]) -> Tensor<4> {
        Tensor::from_data(
            TensorData::new(values.to_vec(), [2, 1, 1, 2]),
            &Device::flex(),
        )
    }

    #[test]
    fn distances_are_means_over_each_image() {
        let (a, b) = (image([0.0, 0.0, 1.0, 1.0]), image([3.0, 4.0, 1.0, 1.0]));
        let between = |distance: Distance| {
            let values = distance.between(a.clone(), b.clone()).into_data();
            values.try_to_vec::<f32>().expect("f32 data")
        };
        assert_eq!(between(Distance::L2), [12.5, 0.0]);
        assert_eq!(between(Distance::L1), [3.5, 0.0]);
        let huber = between(Distance::PseudoHuber(1e-3));
        assert!((huber[0] - 3.5).abs() < 2e-3 && huber[1].abs() < 1e-6);
        // √(9 + 4) − 2 and √(16 + 4) − 2.
        let huber = between(Distance::PseudoHuber(2.0));
        let expected = (13f32.sqrt() + 20f32.sqrt()) / 2.0 - 2.0;
        assert!((huber[0] - expected).abs() < 1e-6 && huber[1].abs() < 1e-6);
    }
}
