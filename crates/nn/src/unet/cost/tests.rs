//! Held against real networks.

use super::*;
use crate::{ControlNetConfig, Fusion, Modulation, Resampling};
use crate::{TextAttention, UNet, WEmbedding};
use burn::module::Module;
use burn::tensor::Device;

fn config(widths: Vec<usize>) -> UNetConfig {
    let levels = widths.len();
    UNetConfig {
        widths,
        blocks: 1,
        attention: vec![false; levels],
        head: 8,
        groups: 4,
        ..UNetConfig::default()
    }
}

fn training(side: usize, part: TrainedPart) -> Training {
    Training {
        size: [side, side],
        states: 7,
        part,
        checkpointing: false,
    }
}

/// Every layer is in the list: the gradients are as many as the parameters.
#[test]
fn gradients_are_as_many_as_parameters() {
    let text = |linear| UNetConfig {
        text: Some(TextAttention { width: 12, linear }),
        concat: 5,
        modulation: Modulation::Add,
        attention: vec![true, false],
        blocks: 2,
        w: Some(WEmbedding { dim: 6, scale: 1.0 }),
        ..config(vec![16, 24])
    };
    let pixels = UNetConfig {
        patch: 2,
        classes: 3,
        attention: vec![false, true, false],
        resampling: Resampling::Block,
        ..config(vec![16, 32, 32])
    };
    let adapted = |fusion| UNetConfig {
        controlnet: Some(ControlNetConfig {
            channels: 2,
            stem: vec![8, 12, 20],
            fusion,
        }),
        ..pixels.clone()
    };
    for config in [
        config(vec![8]),
        text(false),
        text(true),
        pixels.clone(),
        adapted(Fusion::ZeroConv),
        adapted(Fusion::Mix),
        UNetConfig {
            middle_attention: false,
            null_class: false,
            resampling: Resampling::Corner,
            ..pixels.clone()
        },
    ] {
        let network = UNet::new(&config, 1, &Device::flex()).expect("valid");
        assert_eq!(config.parameters(), network.num_params(), "{config:?}");
    }
}

/// One level of 8 channels, counted by hand: stem 1; down 2 (8 + 8); middle 2 · 2 (8 + 8) + 7 · 8; up
/// 2 (16 + 8), twice; the last normalisation and convolution 2 · 8.
#[test]
fn one_level_counted_by_hand() {
    let per_position = 1 + 32 + 64 + 56 + 96 + 16;
    let config = config(vec![8]);
    let whole = config.kept(&training(4, TrainedPart::All));
    assert_eq!(whole, 16 * per_position);
    // A ControlNet of its own size and one level: its stem 1 + 2 · 16 and the convolution behind it 16, the looking half
    // again, and the input of the middle's zero convolution.
    let adapted = UNetConfig {
        controlnet: Some(ControlNetConfig {
            channels: 1,
            stem: vec![16],
            fusion: Fusion::ZeroConv,
        }),
        ..config
    };
    let looking = 1 + 32 + 64 + 56;
    let all = adapted.kept(&training(4, TrainedPart::All));
    assert_eq!(all, whole + 16 * (33 + 16 + looking + 8));
    // Nothing is kept for weights that are frozen: the base's first half goes, of its blocks the inputs of the
    // convolutions, and that of the last one.
    let controlnet = adapted.kept(&training(4, TrainedPart::ControlNet));
    assert_eq!(controlnet, all - 16 * (looking + 48 + 8));
}

#[test]
fn memory_grows_with_the_area_and_checkpointing_takes_less() {
    let config = config(vec![8, 16]);
    let of = |side| config.kept(&training(side, TrainedPart::All));
    assert_eq!(4 * of(8), of(16));
    let least = Training {
        checkpointing: true,
        ..training(16, TrainedPart::All)
    };
    assert!(2 * config.kept(&least) < of(16));
    assert!(config.peak(&least, 9) < config.peak(&training(16, TrainedPart::All), 9));
}
