//! Every network on its own.

use crate::golden::Golden;
use burn::tensor::Tensor;
use fewstep_diffusion::{Inputs, Network, PromptEmbeds};
use fewstep_formats::TextEncoder;
use fewstep_nn::{Backbone, LoraConfig, Tiles, Vae};

/// The stored U-Net on the stored inputs.
fn unet(golden: &Golden, w: Option<Vec<f64>>) -> Tensor<4> {
    forward(golden, &golden.pipeline().model.network, w)
}

/// A U-Net on the stored inputs.
fn forward(golden: &Golden, network: &Backbone, w: Option<Vec<f64>>) -> Tensor<4> {
    let states: Tensor<3> = golden.tensor("unet.states");
    let times: Vec<f64> = golden
        .values("unet.time")
        .iter()
        .map(|&t| t.into())
        .collect();
    let concat: Tensor<4> = golden.tensor("unet.concat");
    let inputs = Inputs {
        prompt: Some(PromptEmbeds {
            uncond: states.zeros_like().into(),
            cond: states.into(),
        }),
        concat: (concat.dims()[1] > 0).then_some(concat),
        w,
        ..Inputs::default()
    };
    network.forward(golden.tensor("unet.z"), &times, &inputs)
}

#[test]
fn the_unet_of_stable_diffusion_1_equals_diffusers() {
    let golden = Golden::new("sd1");
    golden.assert_equal("unet.output", unet(&golden, None));
}

#[test]
fn the_unet_of_stable_diffusion_2_equals_diffusers() {
    let golden = Golden::new("sd2");
    golden.assert_equal("unet.output", unet(&golden, None));
}

#[test]
fn the_unet_for_inpainting_equals_diffusers() {
    let golden = Golden::new("inpaint");
    golden.assert_equal("unet.output", unet(&golden, None));
}

#[test]
fn the_unet_for_editing_by_instruction_equals_diffusers() {
    let golden = Golden::new("instruct");
    golden.assert_equal("unet.output", unet(&golden, None));
}

#[test]
fn an_input_for_w_equals_that_of_diffusers() {
    let golden = Golden::new("tiny");
    golden.assert_equal("unet.output", unet(&golden, None));
    let w = golden.values("student.w").into_iter().map(f64::from);
    golden.assert_equal("student.output", unet(&golden, Some(w.collect())));
}

/// Samplers get LoRA within the weights, which give the same output to the bit.
#[test]
fn loras_are_added_once_for_sampling() {
    let golden = Golden::new("sd1");
    let mut model = golden.pipeline().model;
    let config = LoraConfig {
        rank: 2,
        alpha: 3.0,
        targets: ["to_q", "to_v", "conv1"].map(String::from).into(),
    };
    let plain = forward(&golden, &model.network, None).into_data();
    let network = model.network.with_lora(&config, 1).expect("layers");
    let mut layers = network.lora().expect("changes").layers();
    for value in layers.iter_mut().flat_map(|layer| &mut layer.up) {
        *value += 0.05;
    }
    model.network = network.with_lora_layers(&layers);
    let changed = forward(&golden, &model.network, None).into_data();
    assert_ne!(changed, plain);
    let sampled = model.denoiser().expect("a schedule").network;
    assert!(sampled.lora().is_none());
    assert_eq!(forward(&golden, &sampled, None).into_data(), changed);
}

#[test]
fn text_encoders_equal_those_of_transformers() {
    for name in ["sd1", "sd2"] {
        let golden = Golden::new(name);
        let tokens = &golden.tokens()[..3];
        let TextEncoder::Clip(_, network) = golden.pipeline().text_encoder else {
            panic!("{name} has a CLIP")
        };
        let states = network.forward(tokens, 0);
        golden.assert_equal("text.states", states);
    }
}

#[test]
fn a_bert_equals_that_of_transformers() {
    let golden = Golden::new("bert");
    let prompts = golden.texts()["prompts"].clone();
    let prompts: Vec<String> = serde_json::from_value(prompts).expect("texts");
    let (states, cut) = golden.pipeline().text_encoder.encode(&prompts, 0);
    golden.assert_equal("text.states", states.states);
    assert!(cut[6].is_some() && cut[1].is_none(), "{cut:?}");
}

#[test]
fn autoencoders_equal_those_of_diffusers() {
    for name in ["sd1", "sd2"] {
        let golden = Golden::new(name);
        let Vae::Kl(network, scale) = golden.pipeline().vae else {
            panic!("{name} has the autoencoder of latent diffusion")
        };
        assert_eq!(scale.factor, 0.18215);
        let posterior = network.encode(golden.tensor("vae.image"));
        golden.assert_equal("vae.mean", posterior.mean);
        golden.assert_equal("vae.log_variance", posterior.log_variance);
        golden.assert_equal("vae.decoded", network.decode(golden.tensor("unet.z")));
    }
}

#[test]
fn the_tiny_autoencoder_equals_that_of_diffusers() {
    // The second one has group normalisation at its lowest resolution.
    for name in ["tiny", "bert"] {
        let golden = Golden::new(name);
        let vae = golden.pipeline().vae;
        assert!(matches!(vae, Vae::Tiny(..)));
        golden.assert_equal("vae.mean", vae.encode(golden.tensor("vae.image")));
        golden.assert_equal("vae.decoded", vae.decode(golden.tensor("unet.z"), None));
    }
}

#[test]
fn decoding_in_tiles_equals_diffusers() {
    let golden = Golden::new("sd1");
    let Vae::Kl(network, _) = golden.pipeline().vae else {
        panic!("the autoencoder of latent diffusion")
    };
    let tiles = Tiles {
        side: 6,
        overlap: 0.25,
    };
    golden.assert_equal(
        "tiled.decoded",
        network.decode_tiled(golden.tensor("tiled.z"), tiles),
    );
}
