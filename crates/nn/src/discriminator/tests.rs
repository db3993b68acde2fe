//! What discriminators see, and what of them moves.

use super::*;
use crate::{LoraConfig, UNetConfig};
use burn::module::{ModuleMapper, Param, list_param_ids};
use burn::optim::GradientsParams;
use burn::tensor::Device;
use fewstep_diffusion::random::{self, Purpose};

const W: WEmbedding = WEmbedding {
    dim: 8,
    scale: 100.0,
};

fn backbone() -> Backbone {
    let config = UNetConfig {
        channels: 1,
        patch: 1,
        widths: vec![8, 16],
        blocks: 2,
        attention: vec![false, true],
        head: 8,
        groups: 4,
        classes: 2,
        ..UNetConfig::default()
    };
    let network = Backbone::new(&config.into(), 3, &Device::flex()).expect("valid");
    network.map(&mut Shake)
}

/// Makes what starts at zero count, so that time and class have an effect.
struct Shake;

impl ModuleMapper for Shake {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| value + 0.02)
    }
}

fn images(seed: u64) -> Tensor<4> {
    random::normal(
        seed,
        &[0, 1],
        Purpose::InitialNoise,
        [1, 8, 8],
        &Device::flex(),
    )
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("f32 data")
}

/// A map for the last block of every level, and the middle: their sizes and channels.
#[test]
fn features_are_of_every_level_and_the_middle() {
    let network = backbone();
    let inputs = Inputs::classes([0, 1]);
    let features = network.features(images(1), &[300.0; 2], &inputs);
    let shapes: Vec<[usize; 4]> = features.iter().map(Tensor::dims).collect();
    assert_eq!(shapes, [[2, 8, 8, 8], [2, 16, 4, 4], [2, 16, 4, 4]]);
    assert_eq!(network.feature_widths(), [8, 16, 16]);
    // The last block's map and not the one before it, which differs from it.
    let Backbone::UNet(unet) = &network;
    let (all, _) = unet.encode(images(1), &[300.0; 2], &inputs);
    assert_eq!(values(features[0].clone()), values(all.skips[2].clone()));
    assert_eq!(values(features[1].clone()), values(all.skips[5].clone()));
    assert_eq!(values(features[2].clone()), values(all.middle));
}

/// Logits depend on the image, the time, the class and, once that is learnt, on w; those of one
/// sample on no other.
#[test]
fn logits_are_of_each_sample_and_head() {
    let network = Discriminator::new(backbone(), 16, Some(W), 5);
    let inputs = Inputs::classes([0, 1]).with_w(vec![0.5, 2.0]);
    let ask = |z, time: f64, inputs: &Inputs| {
        let logits = network
            .logits(z, &[time; 2], inputs)
            .expect("a discriminator");
        assert_eq!(logits.dims(), [2, 3]);
        values(logits)
    };
    let first = ask(images(1), 300.0, &inputs);
    assert_ne!(first[..3], first[3..]);
    assert_ne!(ask(images(2), 300.0, &inputs), first);
    assert_ne!(ask(images(1), 500.0, &inputs), first);
    let other = Inputs::classes([0, 0]).with_w(vec![0.5, 2.0]);
    let changed = ask(images(1), 300.0, &other);
    assert_eq!(changed[..3], first[..3]);
    assert_ne!(changed[3..], first[3..]);
}

/// The projection of w starts at zero and gets a gradient.
#[test]
fn w_is_learnt() {
    let network = Discriminator::new(backbone(), 16, Some(W), 5);
    let network = network.unfreeze().train();
    let inputs = Inputs::classes([0, 1]).with_w(vec![0.5, 2.0]);
    let logits = network.logits(images(1), &[300.0; 2], &inputs);
    let gradients = logits.expect("a discriminator").sum().backward();
    for head in network.heads.projections() {
        let gradient = head.grad(&gradients).expect("in the graph");
        assert!(values(gradient).iter().any(|value| *value != 0.0));
    }
}

/// Gradients go through the frozen encoder to the images, and only heads are parameters.
#[test]
fn gradients_reach_the_images_and_the_encoder_stays() {
    let encoder = backbone();
    let network = Discriminator::new(encoder.clone(), 16, None, 5);
    assert!(network.num_params() < 3 * (9 * 16 * 16 + 16 * 4 + 1));
    let z = images(1).autodiff().require_grad();
    let inputs = Inputs::classes([0, 1]);
    let logits = network.logits(z.clone(), &[300.0; 2], &inputs);
    let gradients = logits.expect("a discriminator").sum().backward();
    let ours = values(z.grad(&gradients).expect("in the graph"));
    // Against differences of two images that are a little apart along the gradient.
    let direction = images(9);
    let along: f32 = ours
        .iter()
        .zip(values(direction.clone()))
        .map(|(g, d)| g * d)
        .sum();
    let at = |step: f64| {
        let z = images(1) + direction.clone() * step;
        let logits = network.logits(z, &[300.0; 2], &inputs);
        values(logits.expect("a discriminator")).iter().sum::<f32>()
    };
    let step = 1e-2;
    let measured = (at(step) - at(-step)) / (2.0 * step as f32);
    assert!(
        (along - measured).abs() < 0.02 * (1.0 + along.abs()),
        "{along} for {measured}"
    );
}

/// With LoRA only these, the input for w and the heads are trained.
#[test]
fn a_score_with_lora_keeps_its_weights() {
    let config = LoraConfig::default_attention();
    let score = backbone().with_lora(&config, 3).expect("fits");
    let all = score.num_params();
    let network = JudgingScore::new(score, 16, None, 5);
    assert_eq!(network.num_params(), all + network.num_head_params());
    let network = network.unfreeze().train().freeze_all_but_lora();
    let inputs = Inputs::classes([0, 1]);
    let v = network.forward(images(1), &[300.0; 2], &inputs).mean();
    let logits = network.logits(images(1), &[300.0; 2], &inputs);
    let loss = v + logits.expect("it has heads").mean();
    let gradients = GradientsParams::from_grads(loss.backward(), &network);
    let lora = network.score.lora().expect("it has LoRA");
    let trained = [list_param_ids(lora), list_param_ids(&network.heads)];
    assert_eq!(gradients.len(), trained.concat().len());
}
