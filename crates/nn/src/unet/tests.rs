//! What a U-Net must and must not do.

use super::*;
use crate::controlnet::{Fusion, Initial};
use crate::layers::embedding::WEmbedding;
use burn::module::{ModuleMapper, Param, list_param_ids};

fn config() -> UNetConfig {
    UNetConfig {
        channels: 1,
        patch: 2,
        widths: vec![16, 32],
        blocks: 1,
        attention: vec![false, true],
        head: 16,
        groups: 8,
        resampling: Resampling::Conv,
        dropout: 0.0,
        classes: 3,
        ..UNetConfig::default()
    }
}

/// Makes every zero-initialised weight count, so that a comparison of outputs means something.
struct Shake;
impl ModuleMapper for Shake {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|t| t + 0.01)
    }
}

fn run(network: &UNet, w: Option<Vec<f64>>) -> Vec<f32> {
    let z = fewstep_diffusion::random::normal(
        5,
        &[0, 1],
        fewstep_diffusion::random::Purpose::InitialNoise,
        [1, 16, 16],
        &Device::flex(),
    );
    let inputs = Inputs {
        classes: Some(vec![Some(1), None]),
        w,
        ..Inputs::default()
    };
    let output = network.forward(z, &[100.0, 900.0], &inputs);
    assert_eq!(output.dims(), [2, 1, 16, 16]);
    output.into_data().try_to_vec().expect("f32 data")
}

#[test]
fn a_new_network_predicts_zero() {
    let network = UNet::new(&config(), 1, &Device::flex()).expect("valid");
    assert!(run(&network, None).iter().all(|&v| v == 0.0));
}

#[test]
fn both_resamplings_keep_the_shape() {
    for resampling in [Resampling::Conv, Resampling::Block] {
        let config = UNetConfig {
            resampling,
            ..config()
        };
        let network = UNet::new(&config, 1, &Device::flex())
            .expect("valid")
            .map(&mut Shake);
        assert!(run(&network, None).iter().any(|&v| v != 0.0));
    }
}

/// With its projection at zero, a w-conditioned student equals its teacher for every w.
#[test]
fn a_fresh_w_input_changes_nothing() {
    let teacher = UNet::new(&config(), 1, &Device::flex()).expect("valid");
    let controlnet = config().controlnet_for([1; 3], [1; 3], Fusion::ZeroConv);
    let teacher = teacher.with_controlnet(&controlnet, Initial::Base, 2);
    let teacher = teacher.expect("fits").map(&mut Shake);
    let embedding = WEmbedding {
        dim: 16,
        scale: 250.0,
    };
    let student = teacher.clone().with_w_input(embedding);
    let teacher = run(&teacher, None);
    for w in [0.0, 0.7, 4.0] {
        assert_eq!(run(&student, Some(vec![w; 2])), teacher);
    }
    assert!(teacher.iter().any(|&v| v != 0.0));
    // Its parameters have the numbers that they have when it is read from a file.
    let read = UNet::new(student.config(), 1, &Device::flex()).expect("valid");
    assert_eq!(list_param_ids(&student), list_param_ids(&read));
}

#[test]
fn a_fixed_w_gives_what_the_input_gives() {
    let config = UNetConfig {
        w: Some(WEmbedding {
            dim: 16,
            scale: 250.0,
        }),
        ..config()
    };
    let student = UNet::new(&config, 1, &Device::flex()).expect("valid");
    let student = student.map(&mut Shake);
    let [low, high] = [0.0, 6.5].map(|w| run(&student, Some(vec![w; 2])));
    assert_ne!(low, high);
    let fixed = student.with_fixed_w(6.5);
    assert_eq!(fixed.config().w, None);
    assert_eq!(fixed.num_params() + 16 * 16, student.num_params());
    for (fixed, input) in run(&fixed, None).into_iter().zip(high) {
        assert!((fixed - input).abs() < 1e-5, "{fixed} for {input}");
    }
}

#[test]
fn initial_weights_are_a_function_of_the_seed() {
    let weights = |seed| {
        let network = UNet::new(&config(), seed, &Device::flex()).expect("valid");
        let weight = network.conv_in.weight.val();
        weight.into_data().try_to_vec::<f32>().expect("f32 data")
    };
    assert_eq!(weights(3), weights(3));
    assert_ne!(weights(3), weights(4));
}

#[test]
fn numbers_that_do_not_fit_are_named() {
    let mut wrong = config();
    wrong.attention = vec![true];
    let message = UNet::new(&wrong, 1, &Device::flex())
        .expect_err("refused")
        .to_string();
    assert!(message.contains("attention"), "{message}");
    assert!(config().validate_size(30, 32).is_err());
}
