//! What a ControlNet must and must not do to a network.

use super::*;
use crate::UNet;
use burn::module::list_param_ids;
use burn::optim::{AdamConfig, GradientsParams};
use fewstep_diffusion::Network;
use fewstep_diffusion::random::{Purpose, normal};
use std::collections::HashSet;

const BOTH: [Fusion; 2] = [Fusion::ZeroConv, Fusion::Mix];

fn base() -> UNet {
    let config = UNetConfig {
        channels: 1,
        patch: 2,
        widths: vec![16, 32],
        blocks: 1,
        attention: vec![false, true],
        head: 16,
        groups: 8,
        classes: 3,
        ..UNetConfig::default()
    };
    let network = UNet::new(&config, 1, &Device::flex()).expect("valid");
    network.map(&mut Shake(0.01))
}

/// Moves every parameter, so that no layer is zero.
struct Shake(f64);

impl ModuleMapper for Shake {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| value + self.0)
    }
}

/// Moves the first parameters: the first two are those of the base's first convolution.
struct ShakeStem(usize, f64);

impl ModuleMapper for ShakeStem {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(left) = self.0.checked_sub(1) else {
            return param;
        };
        self.0 = left;
        param.map(|value| value + self.1)
    }
}

fn config(fusion: Fusion) -> ControlNetConfig {
    ControlNetConfig {
        channels: 2,
        stem: vec![8, 12],
        fusion,
        unit: false,
    }
}

fn with_controlnet(fusion: Fusion) -> UNet {
    let network = base().with_controlnet(&config(fusion), Initial::Base, 5);
    network.expect("valid")
}

fn images(seed: u64, channels: usize, side: usize) -> Tensor<4> {
    let shape = [channels, side, side];
    normal(seed, &[0, 1], Purpose::InitialNoise, shape, &Device::flex())
}

fn output(network: &UNet, control: Option<Tensor<4>>) -> Tensor<4> {
    let inputs = Inputs {
        classes: Some(vec![Some(1), None]),
        control,
        ..Inputs::default()
    };
    network.forward(images(3, 1, 16), &[100.0, 900.0], &inputs)
}

fn values(tensor: Tensor<4>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("f32 data")
}

/// For any control image of any size, a new ControlNet changes nothing.
#[test]
fn a_new_controlnet_changes_nothing() {
    let alone = values(output(&base(), None));
    assert!(alone.iter().any(|&v| v != 0.0));
    for fusion in BOTH {
        for side in [3, 8, 16, 21, 64] {
            for seed in 0..3 {
                let control = images(seed, 2, side) * 10.0;
                let with = values(output(&with_controlnet(fusion), Some(control)));
                assert_eq!(with, alone, "{fusion:?}, side {side}");
            }
        }
    }
}

/// From both starts gradients reach all that they must: after two updates the condition shows in
/// the output.
#[test]
fn a_new_controlnet_can_learn() {
    for fusion in BOTH {
        let mut network = with_controlnet(fusion).unfreeze().train().freeze_base();
        let mut optimizer = AdamConfig::new().init();
        let control = images(8, 2, 32);
        for _ in 0..3 {
            let loss = (output(&network, Some(control.clone())) - 1.0)
                .square()
                .mean();
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            network = optimizer.step(1e-2, network, gradients);
        }
        let network = network.valid();
        let one = values(output(&network, Some(control.clone())));
        let other = values(output(&network, Some(control * -1.0)));
        let apart = one.iter().zip(&other).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f32::max) > 1e-6, "{fusion:?}");
    }
}

/// With a frozen base only parameters of the ControlNet have gradients, and all that take part do.
#[test]
fn a_frozen_base_has_no_gradients() {
    for fusion in BOTH {
        // Past its zeros, so that every layer matters.
        let network = with_controlnet(fusion)
            .map(&mut Shake(0.02))
            .unfreeze()
            .train()
            .freeze_base();
        let loss = output(&network, Some(images(8, 2, 32))).square().mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        let controlnet = network.controlnet().expect("there is one");
        let ours: HashSet<_> = list_param_ids(controlnet).into_iter().collect();
        let all = list_param_ids(&network);
        assert_eq!(
            all.len(),
            all.iter().collect::<HashSet<_>>().len(),
            "numbers are shared"
        );
        let unused = match fusion {
            Fusion::ZeroConv => 0,
            // The encoder sees only the control image, not z_t.
            Fusion::Mix => list_param_ids(&controlnet.conv_in).len(),
        };
        assert_eq!(gradients.len(), ours.len() - unused, "{fusion:?}");
        struct Check<'a>(&'a GradientsParams, HashSet<burn::module::ParamId>);
        impl ModuleVisitor for Check<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let has_gradient = self.0.get::<D>(param.id).is_some();
                assert!(
                    !has_gradient || self.1.contains(&param.id),
                    "the base moves"
                );
            }
        }
        network.visit(&mut Check(&gradients, ours));
    }
}

/// h' = (1 − μ) h + μ h_c: at μ = 1 nothing of the base's own encoder is left.
#[test]
fn mixing_goes_from_the_base_to_the_control_image() {
    let with_mu = |mu: f64, shake: f64| {
        let network = with_controlnet(Fusion::Mix);
        let mut controlnet = network.controlnet().cloned().expect("there is one");
        controlnet.mix = controlnet.mix.map(|mix| mix.map(|mix| mix + mu));
        let network = network.map(&mut ShakeStem(2, shake));
        let network = network.attach_controlnet(controlnet).expect("its own");
        values(output(&network, Some(images(8, 2, 16))))
    };
    assert_ne!(with_mu(0.5, 0.0), with_mu(0.5, 0.1));
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(close(&with_mu(1.0, 0.0), &with_mu(1.0, 0.1)));
    assert!(!close(&with_mu(1.0, 0.0), &with_mu(0.0, 0.0)));
}

#[test]
fn the_copy_starts_at_the_base_and_random_does_not() {
    let weight = |initial| {
        let network = base().with_controlnet(&config(Fusion::ZeroConv), initial, 5);
        let network = network.expect("valid");
        let controlnet = network.controlnet().expect("there is one");
        let block = &controlnet.down_blocks[0];
        block.collect_values()
    };
    let base = base().encoder().down_blocks[0].collect_values();
    assert_eq!(weight(Initial::Base), base);
    assert_ne!(weight(Initial::Random), base);
}

impl DownBlock {
    fn collect_values(&self) -> Vec<f32> {
        struct Collect(Vec<f32>);
        impl ModuleVisitor for Collect {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let values = param.val().into_data().try_to_vec::<f32>();
                self.0.extend(values.expect("f32 data"));
            }
        }
        let mut collect = Collect(vec![]);
        self.visit(&mut collect);
        collect.0
    }
}

/// Without a control image a network with a ControlNet is its base.
#[test]
fn without_a_control_image_the_base_answers() {
    let network = with_controlnet(Fusion::ZeroConv).map(&mut Shake(0.02));
    let alone = network.clone().without_controlnet();
    assert_eq!(values(output(&network, None)), values(output(&alone, None)));
    let control = Some(images(8, 2, 32));
    assert_ne!(
        values(output(&network, control)),
        values(output(&alone, None))
    );
}

#[test]
fn a_controlnet_moves_to_bases_of_its_shapes_only() {
    let network = with_controlnet(Fusion::ZeroConv);
    let controlnet = network.controlnet().expect("there is one");
    let other = base().map(&mut Shake(0.1));
    assert!(other.attach_controlnet(controlnet.clone()).is_ok());
    let wider = UNetConfig {
        widths: vec![16, 48],
        ..base().config().clone()
    };
    let wider = UNet::new(&wider, 1, &Device::flex()).expect("valid");
    let message = wider
        .attach_controlnet(controlnet.clone())
        .expect_err("refused")
        .to_string();
    assert!(
        message.contains("[16, 32]") && message.contains("[16, 48]"),
        "{message}"
    );
}

/// On a base for inpainting the ControlNet sees the latents without the mask.
#[test]
fn maps_next_to_the_latents_are_for_the_base_only() {
    let config = UNetConfig {
        concat: 3,
        patch: 1,
        ..base().config().clone()
    };
    let network = UNet::new(&config, 1, &Device::flex()).expect("valid");
    let network = network.map(&mut Shake(0.01));
    let output = |network: &UNet, control: Option<Tensor<4>>| {
        let inputs = Inputs {
            concat: Some(images(4, 3, 16)),
            control,
            ..Inputs::default()
        };
        values(network.forward(images(3, 1, 16), &[100.0, 900.0], &inputs))
    };
    let control = Some(images(8, 2, 32));
    for fusion in BOTH {
        let new = network
            .clone()
            .with_controlnet(&self::config(fusion), Initial::Base, 5);
        let new = new.expect("fits");
        assert_eq!(output(&new, control.clone()), output(&network, None));
        let moved = new.map(&mut Shake(0.02));
        assert_ne!(output(&moved, control.clone()), output(&moved, None));
    }
}

/// The stem halves as often as the condition is larger than the first feature map.
#[test]
fn the_stem_follows_the_ratio() {
    let base = base();
    let stem = |side| {
        let config = base
            .config()
            .controlnet_for([3, side, side], [1, 16, 16], Fusion::Mix);
        config.stem
    };
    assert_eq!(stem(2), [16]);
    assert_eq!(stem(8), [16]);
    assert_eq!(stem(16), [16, 32]);
    assert_eq!(stem(31), [16, 32]);
    assert_eq!(stem(32), [16, 32, 96]);
}
