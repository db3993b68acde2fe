//! The networks whose activations are compared.

mod batches;
mod inception;
mod layers;
mod lpips;
mod resnet;
mod small_classifier;
mod weights;

pub use inception::InceptionFid;
pub use lpips::Lpips;
pub use resnet::CifarResNet;
pub use small_classifier::{ClassifierNet, SmallClassifier};

pub use weights::weights_hash;
pub(crate) use weights::{metadata, read};
