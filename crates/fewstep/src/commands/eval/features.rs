//! The network whose features are compared.

use crate::builtin;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::parsers::named;
use burn::tensor::Device;
use fewstep_data::ImageShape;
use fewstep_metrics::{CifarResNet, FeatureNetwork, InceptionFid, SmallClassifier};
use std::path::{Path, PathBuf};

/// A network by name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    FashionMnistClassifier,
    Inception,
    CifarResNet,
}

const NAMES: [(&str, Name); 3] = [
    ("fashion-mnist-classifier", Name::FashionMnistClassifier),
    ("inception", Name::Inception),
    ("cifar-resnet", Name::CifarResNet),
];

/// The images that the embedded classifier takes.
const GREY_32: ImageShape = ImageShape {
    channels: 1,
    height: 32,
    width: 32,
};

/// The flags for the network.
#[derive(clap::Args)]
pub(super) struct FeatureArgs {
    /// The network whose features are compared [default: the embedded classifier, for grey 32x32
    /// images].
    #[arg(long, value_parser = named(&NAMES))]
    features: Option<Name>,
    /// Weights of the network, a safetensors file; the embedded classifier needs none.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
}

impl FeatureArgs {
    /// Loads the network; by default the one for images of this shape.
    pub(super) fn load(
        &self,
        shape: Option<ImageShape>,
        device: &Device,
    ) -> CliResult<Box<dyn FeatureNetwork>> {
        Ok(match (self.name(shape)?, &self.weights) {
            (Name::FashionMnistClassifier, None) => Box::new(builtin::classifier(device)?),
            (Name::FashionMnistClassifier, Some(file)) => Box::new(
                SmallClassifier::from_bytes(&read(file)?, device).map_err(CliError::input)?,
            ),
            (Name::Inception, Some(file)) => {
                Box::new(InceptionFid::load(file, device).map_err(CliError::input)?)
            }
            (Name::CifarResNet, Some(file)) => {
                Box::new(CifarResNet::load(file, device).map_err(CliError::input)?)
            }
            (Name::Inception, None) => {
                return Err(missing_weights(
                    "inception",
                    "the FID network of 2015-12-05 as safetensors, with the names of pytorch-fid or of TensorFlow",
                ));
            }
            (Name::CifarResNet, None) => {
                return Err(missing_weights(
                    "cifar-resnet",
                    "a CIFAR-10 ResNet as safetensors, with the names of pytorch_resnet_cifar10",
                ));
            }
        })
    }

    /// Whether the network is the one that is taken without flags, for grey images only.
    pub(super) fn is_default(&self) -> bool {
        self.features.is_none()
    }

    /// Channels and side to read image files with; without a side they keep their own.
    pub(super) fn preferred_shape(&self) -> (usize, Option<usize>) {
        match self.features {
            None | Some(Name::FashionMnistClassifier) => (1, Some(32)),
            Some(Name::CifarResNet) => (3, Some(32)),
            Some(Name::Inception) => (3, None),
        }
    }

    fn name(&self, shape: Option<ImageShape>) -> CliResult<Name> {
        match (self.features, shape) {
            (Some(name), _) => Ok(name),
            (None, None | Some(GREY_32)) => Ok(Name::FashionMnistClassifier),
            (None, Some(shape)) => Err(CliError::input(format!(
                "the embedded classifier takes {GREY_32}, but the model generates {shape}: use --features inception or --features cifar-resnet, with --weights FILE"
            ))),
        }
    }
}

fn missing_weights(name: &str, what: &str) -> CliError {
    CliError::input(format!("--features {name} needs --weights FILE: {what}"))
}

fn read(file: &Path) -> CliResult<Vec<u8>> {
    fewstep_formats::read_file(file).input_error()
}
