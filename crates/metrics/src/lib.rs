//! How good generated images are: Fréchet distance, kernel distance, precision and recall,
//! classifier score, and the networks whose activations they compare.
//!
//! All metrics of sets work alike. A [`FeatureNetwork`] turns [`Images`] into [`Features`]; a
//! metric compares two sets of features, or their [`Statistics`]. A number has a meaning only
//! together with the network it was measured with, so every network has a [`FeatureId`], which says
//! what a distance measured with it may be called.
//!
//! ```
//! use fewstep_metrics::{Features, Statistics, frechet_distance};
//!
//! // Two sets of activations, two wide: the second is the first, moved by (3, 4).
//! let real = Features::new(2, vec![0.0, 1.0, 1.0, 0.0, 2.0, 2.0])?;
//! let fake = Features::new(2, vec![3.0, 5.0, 4.0, 4.0, 5.0, 6.0])?;
//! let distance = frechet_distance(&Statistics::of(&real)?, &Statistics::of(&fake)?)?;
//! assert!((distance - 25.0).abs() < 1e-6);
//! # Ok::<(), fewstep_metrics::MetricsError>(())
//! ```
//!
//! | metric | function | source |
//! |---|---|---|
//! | Fréchet distance (FID) | [`frechet_distance`] | Heusel et al. 2017 |
//! | kernel distance (KID) | [`kid`] | Bińkowski et al. 2018 |
//! | precision and recall | [`precision_recall`] | Kynkäänniemi et al. 2019 |
//! | squared error of pairs | [`mse`] | |
//! | mean colour, contrast and sharpness of images | [`channel_means`], [`contrast`], [`sharpness`] | |
//! | peak signal-to-noise ratio of pairs | [`psnr`] | |
//! | structural similarity of pairs | [`ssim`] | Wang et al. 2004 |
//! | LPIPS of pairs | [`Lpips`] | Zhang et al. 2018 |
//! | classifier (Inception) score | [`classifier_score`] | Salimans et al. 2016 |

#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod appearance;
mod classifier_score;
mod error;
mod features;
mod frechet;
mod images;
mod kid;
mod matrix;
mod mean;
mod networks;
mod precision_recall;
mod reference;
mod restoration;
mod retrieval;
mod statistics;

pub use appearance::{channel_means, contrast, sharpness};
pub use classifier_score::classifier_score;
pub use error::{MetricsError, Result};
pub use features::{FeatureId, FeatureKind, FeatureNetwork, Features, Probabilities};
pub use frechet::frechet_distance;
pub use images::Images;
pub use kid::kid;
pub use mean::{MeanInterval, MeanStd};
pub use networks::{
    CifarResNet, ClassifierNet, InceptionFid, Lpips, SmallClassifier, weights_hash,
};
pub use precision_recall::precision_recall;
pub use reference::Reference;
pub use restoration::{mse, psnr, ssim};
pub use retrieval::{Retrieval, retrieval};
pub use statistics::{Statistics, StatisticsBuilder};
