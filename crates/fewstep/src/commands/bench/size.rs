//! Networks of well-known sizes.

use burn::tensor::{Device, Tensor};
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::{Inputs, PromptEmbeds};
use fewstep_distill::method::Batch;
use fewstep_nn::{Modulation, Resampling, TextAttention, UNetConfig};
use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Size {
    Cifar10,
    StableDiffusion,
    Tiny,
    TinyText,
}

impl Size {
    /// The network.
    pub(super) fn config(self) -> UNetConfig {
        match self {
            // recipes/cifar10/teacher.toml
            Self::Cifar10 => UNetConfig {
                channels: 3,
                widths: vec![256; 3],
                blocks: 3,
                attention: vec![false, true, true],
                head: 256,
                groups: 32,
                resampling: Resampling::Block,
                classes: 10,
                ..UNetConfig::default()
            },
            Self::StableDiffusion => UNetConfig {
                channels: 4,
                widths: vec![320, 640, 1280, 1280],
                blocks: 2,
                attention: vec![true, true, true, false],
                heads: vec![8; 4],
                text: Some(TextAttention {
                    width: 768,
                    linear: false,
                }),
                modulation: Modulation::Add,
                groups: 32,
                epsilon: 1e-5,
                ..UNetConfig::default()
            },
            Self::TinyText => UNetConfig {
                channels: 4,
                widths: vec![32, 64],
                blocks: 1,
                attention: vec![true, false],
                heads: vec![2; 2],
                text: Some(TextAttention {
                    width: 48,
                    linear: false,
                }),
                modulation: Modulation::Add,
                groups: 32,
                epsilon: 1e-5,
                ..UNetConfig::default()
            },
            Self::Tiny => UNetConfig {
                channels: 3,
                widths: vec![32, 64],
                blocks: 1,
                attention: vec![false, true],
                head: 32,
                groups: 32,
                resampling: Resampling::Block,
                classes: 10,
                ..UNetConfig::default()
            },
        }
    }

    /// Height and width of its images.
    pub(super) fn side(self) -> usize {
        match self {
            Self::Cifar10 | Self::Tiny => 32,
            Self::StableDiffusion => 64,
            Self::TinyText => 16,
        }
    }
}

/// A batch of random images for it, with classes or embeddings of prompts.
pub(super) fn batch(size: Size, (count, side): (usize, usize), device: &Device) -> Batch {
    let config = size.config();
    let samples: Vec<u64> = (0..count as u64).collect();
    let draw = |seed, shape| random::normal(seed, &samples, Purpose::InitialNoise, shape, device);
    let embeds = config
        .text
        .map(|text| draw(2, [1, 77, text.width]).squeeze_dim::<3>(1));
    Batch {
        images: draw(1, [config.channels, side, side]) * 0.5,
        inputs: Inputs {
            classes: (config.classes > 0)
                .then(|| samples.iter().map(|&s| Some((s % 10) as u32)).collect()),
            prompt: embeds.map(|embeds: Tensor<3>| PromptEmbeds {
                uncond: embeds.clone().into(),
                cond: embeds.into(),
            }),
            ..Inputs::default()
        },
        clock: 0,
        update: 0,
    }
}
