//! LoRA in a network, and what they change of it.

use super::*;
use crate::{TextAttention, UNet, UNetConfig, WEmbedding};
use fewstep_diffusion::{Inputs, Network, PromptEmbeds, random};

fn network() -> UNet {
    let config = UNetConfig {
        channels: 2,
        widths: vec![16, 16],
        attention: vec![false, true],
        head: 8,
        groups: 4,
        text: Some(TextAttention {
            width: 6,
            linear: false,
        }),
        w: Some(WEmbedding {
            dim: 8,
            scale: 100.0,
        }),
        ..UNetConfig::default()
    };
    let network = UNet::new(&config, 1, &Device::flex()).expect("valid");
    network.map(&mut Shake)
}

/// Moves every parameter, so that what starts at zero counts.
struct Shake;
impl ModuleMapper for Shake {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|t| t + 0.02)
    }
}

fn config(targets: &[&str]) -> LoraConfig {
    LoraConfig {
        rank: 3,
        alpha: 6.0,
        targets: targets.iter().map(|t| t.to_string()).collect(),
    }
}

fn run(network: &UNet) -> Vec<f32> {
    let device = Device::flex();
    let draw = |shape| random::normal(5, &[0, 1], random::Purpose::InitialNoise, shape, &device);
    let states = draw([5, 6, 1]).squeeze_dim::<3>(3);
    let inputs = Inputs {
        prompt: Some(PromptEmbeds {
            uncond: states.clone().into(),
            cond: states.into(),
        }),
        w: Some(vec![1.0, 2.0]),
        ..Inputs::default()
    };
    let output = network.forward(draw([2, 8, 8]), &[10.0, 900.0], &inputs);
    output.into_data().try_to_vec().expect("f32 data")
}

#[test]
fn new_factors_change_nothing_and_shaken_ones_what_merging_changes() {
    let base = network();
    let plain = run(&base);
    for targets in [
        &["to_q", "to_out.0"][..],
        &["conv1", "proj_in"],
        &["attentions.0.transformer_blocks.0.attn2.to_v"],
    ] {
        let new = base.clone().with_lora(&config(targets), 7).expect("valid");
        assert_eq!(run(&new), plain);
        let lora = new.lora().expect("there is one").clone().map(&mut Shake);
        let changed = UNet::attach_lora(base.clone(), lora);
        let output = run(&changed);
        assert_ne!(output, plain);
        let merged = changed.merged();
        assert!(merged.lora().is_none());
        assert_eq!(run(&merged), output);
    }
}

/// The weight of a merged layer is W + (alpha / r) B A, in PyTorch's layout.
#[test]
fn layers_are_as_pytorch_has_them() {
    let new = network()
        .with_lora(&config(&["to_k", "conv2"]), 7)
        .expect("valid");
    let lora = new.lora().expect("there is one").clone().map(&mut Shake);
    let names: Vec<String> = lora.layers().into_iter().map(|layer| layer.name).collect();
    assert!(
        names
            .iter()
            .any(|n| n == "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"),
        "{names:?}"
    );
    assert!(
        names.iter().any(|n| n == "down_blocks.0.resnets.0.conv2"),
        "{names:?}"
    );
    for layer in lora.layers() {
        let inputs: usize = layer.shape[1..].iter().product();
        assert_eq!(
            (layer.down.len(), layer.up.len()),
            (3 * inputs, 3 * layer.shape[0])
        );
    }
    let (layer, factors) = lora
        .layers
        .iter()
        .zip(&lora.factors)
        .find(|(l, _)| l.shape.len() == 4)
        .expect("a convolution");
    let change = factors.down.val().matmul(factors.up.val()).transpose();
    let change: Vec<f32> = change.into_data().try_to_vec().expect("f32");
    let theirs = lora
        .layers()
        .into_iter()
        .find(|l| l.name == layer.name)
        .expect("the same");
    let inputs: usize = theirs.shape[1..].iter().product();
    for (output, input) in [(0, 0), (3, 5), (15, 140)] {
        let sum: f32 = (0..3)
            .map(|r| theirs.up[3 * output + r] * theirs.down[inputs * r + input])
            .sum();
        assert!((sum - change[inputs * output + input]).abs() < 1e-5);
    }
}

#[test]
fn targets_without_a_layer_are_named() {
    let message = network()
        .with_lora(&config(&["to_x"]), 7)
        .expect_err("refused")
        .to_string();
    assert!(
        message.contains("to_x") && message.contains("to_out.0"),
        "{message}"
    );
}
