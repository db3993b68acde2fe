//! LoRA of files against the network that was trained with them.

use super::*;
use crate::lora;
use fewstep_nn::{LoraConfig, TextAttention, TextTime, UNetConfig, WEmbedding};
use serde_json::{Value, json};

fn config(width: usize) -> UNetConfig {
    UNetConfig {
        channels: 1,
        widths: vec![width, 16],
        blocks: 1,
        attention: vec![false, true],
        head: 8,
        groups: 4,
        ..UNetConfig::default()
    }
}

/// Transformers of several blocks, sizes and a pooled embedding.
fn sdxl(width: usize) -> UNetConfig {
    UNetConfig {
        text: Some(TextAttention {
            width: 5,
            linear: true,
        }),
        depths: vec![1, 2],
        text_time: Some(TextTime { pooled: 5, dim: 4 }),
        ..config(width)
    }
}

fn network(width: usize) -> Backbone {
    with(config(width))
}

fn with(config: UNetConfig) -> Backbone {
    Backbone::new(&config.into(), 3, &Device::flex()).expect("a network")
}

/// The network with LoRA that change it, in attention and in a convolution.
fn with_lora(network: Backbone) -> Backbone {
    let config = LoraConfig {
        rank: 2,
        alpha: 3.0,
        targets: ["to_q", "to_out.0", "conv_in"].map(String::from).to_vec(),
    };
    let network = network.with_lora(&config, 1).expect("layers");
    let mut layers = network.lora().expect("LoRA").layers();
    for layer in &mut layers {
        let up = layer.up.iter_mut().enumerate();
        up.for_each(|(n, value)| *value = (n as f32).sin());
    }
    network.with_lora_layers(&layers)
}

/// All parameters, by name.
fn parameters(network: &Backbone) -> BTreeMap<String, Vec<f32>> {
    let tensors = network.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
    let values = |tensor: &PackTensor| -> Vec<f32> {
        let bytes = tensor.to_bytes().expect("bytes");
        let values = bytes.as_chunks().0.iter();
        values.map(|b| f32::from_le_bytes(*b)).collect()
    };
    tensors
        .iter()
        .map(|t| (t.name.clone(), values(t)))
        .collect()
}

fn assert_close(a: &BTreeMap<String, Vec<f32>>, b: &BTreeMap<String, Vec<f32>>, what: &str) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, values) in a {
        for (x, y) in values.iter().zip(&b[name]) {
            assert!((x - y).abs() < 1e-5, "{what}: {name} has {x} for {y}");
        }
    }
}

/// The files that a trained student is exported as, under either kind of names, give the network
/// that training has.
#[test]
fn a_lora_of_either_kind_gives_the_network_that_was_trained() {
    round_trip(config, "conv_in");
    // Files of sd-scripts have the names of the single file for SDXL.
    round_trip(sdxl, "input_blocks_0_0");
}

fn round_trip(config: fn(usize) -> UNetConfig, first_layer: &str) {
    let device = Device::flex();
    let network = |width| with(config(width));
    let trained = with_lora(network(8));
    let folder = tempfile::tempdir().expect("a folder");
    lora::save(&trained, "{}", folder.path()).expect("saved");
    let [before, expected] = [network(8), trained.merged()].map(|n| parameters(&n));
    let half: BTreeMap<_, Vec<f32>> = std::iter::zip(&before, &expected)
        .map(|((name, a), (_, b))| {
            let mean = a.iter().zip(b).map(|(a, b)| (a + b) / 2.0);
            (name.clone(), mean.collect())
        })
        .collect();
    for (name, first_layer) in [
        ("lora/kohya.safetensors", first_layer),
        ("lora/pytorch_lora_weights.safetensors", "conv_in"),
    ] {
        let file = LoraFile::read(&folder.path().join(name)).expect("a LoRA");
        assert!(!file.has_text());
        assert!(file.network.contains_key(first_layer), "{:?}", file.network);
        let merged = |weight| {
            let merged = file.merge(weight, network(8), &device);
            parameters(&merged.expect(name))
        };
        assert_close(&merged(1.0), &expected, name);
        assert_close(&merged(0.5), &half, name);
        assert_eq!(merged(0.0), before, "{name}");
        assert_ne!(before, expected);
        let other = file
            .merge(1.0, network(12), &device)
            .expect_err("another network");
        assert!(other.to_string().contains("do not fit a weight"), "{other}");
    }
}

/// Parameters with their types: in 16 bits the sum is rounded once more, and a sum that f16 does not
/// hold is in 32.
#[test]
fn weights_in_16_bits_stay_in_them() {
    let device = Device::flex();
    let trained = with_lora(with(sdxl(8)));
    let folder = tempfile::tempdir().expect("a folder");
    lora::save(&trained, "{}", folder.path()).expect("saved");
    let file = folder.path().join("lora/kohya.safetensors");
    let file = LoraFile::read(&file).expect("a LoRA");
    let typed = |network: &Backbone| -> BTreeMap<String, (DType, Vec<f32>)> {
        let tensors = network.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
        let values = |tensor: &PackTensor| {
            let dtype = match tensor.dtype {
                DType::F16 => Dtype::F16,
                DType::BF16 => Dtype::BF16,
                _ => Dtype::F32,
            };
            floats(dtype, &tensor.to_bytes().expect("bytes")).expect("floats")
        };
        let tensors = tensors.iter();
        tensors
            .map(|t| (t.name.clone(), (t.dtype, values(t))))
            .collect()
    };
    let to_q = "up_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight";
    for (precision, dtype, epsilon) in [
        (Precision::F16, DType::F16, 1.0 / 1024.0),
        (Precision::Bf16, DType::BF16, 1.0 / 128.0),
    ] {
        let stored = || with(sdxl(8)).with_weight_dtype(precision);
        let merge = |weight| file.merge(weight, stored(), &device).expect("merged");
        let (before, merged) = (typed(&stored()), typed(&merge(1.0)));
        let wide = typed(&trained.clone().merged());
        assert_eq!(merged[to_q].0, dtype);
        assert_ne!(merged[to_q].1, before[to_q].1);
        for (name, (dtype, values)) in &merged {
            assert_eq!(*dtype, before[name].0, "{name}");
            for (x, y) in values.iter().zip(&wide[name].1) {
                assert!(
                    (x - y).abs() <= epsilon * (x.abs() + 1.0),
                    "{name}: {x} for {y}"
                );
            }
        }
        let large = typed(&merge(1e6));
        let kept = precision == Precision::Bf16;
        assert_eq!(large[to_q].0 == dtype, kept, "{:?}", large[to_q].0);
        assert!(large[to_q].1.iter().all(|value| value.is_finite()));
    }
}

#[test]
fn what_is_no_lora_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.safetensors");
    let refused = |name: &str, shape: Vec<usize>, part: &str| {
        let bytes = vec![0; 4 * shape.iter().product::<usize>()];
        let view = TensorView::new(Dtype::F32, shape, &bytes).expect("a view");
        safetensors::serialize_to_file([(name, view)], None, &path).expect("written");
        let read = LoraFile::read(&path);
        let merged = read.and_then(|lora| lora.merge(1.0, network(8), &Device::flex()));
        let message = merged.expect_err(name).to_string();
        assert!(message.contains(part), "{name}: {message}");
    };
    refused("conv_in.weight", vec![8, 1, 3, 3], "not those of a LoRA");
    refused(
        "lora_unet_conv_in.hada_w1_a",
        vec![8, 4],
        "not those of a LoRA",
    );
    refused(
        "lora_unet_conv_in.lora_up.weight",
        vec![8, 2],
        "matrices is missing",
    );
    refused("lora_unet_conv_on.diff_b", vec![8], "`conv_on` (its bias)");
    refused("lora_unet_conv_in.diff_b", vec![7], "another shape");
    refused("lora_unet_conv_in.alpha", vec![], "matrices is missing");
    std::fs::write(&path, "<html>").expect("written");
    let read = LoraFile::read(&path).expect_err("a page").to_string();
    assert!(read.contains("no safetensors file"), "{read}");
}

/// A layer gets its product and its differences, and a difference for a bias that a layer has not is
/// not passed over.
#[test]
fn differences_are_added_to_products() {
    let addition = Addition {
        down: Some((vec![1, 2], vec![1.0, 2.0])),
        up: Some((vec![2, 1], vec![3.0, 4.0])),
        alpha: Some(0.5),
        diff: Some(vec![10.0, 20.0, 30.0, 40.0]),
        diff_bias: Some(vec![5.0, 6.0]),
        up_bias: None,
    };
    let to = |part, shape: &[usize]| addition.to(part, shape, &Device::flex());
    assert_eq!(
        to("weight", &[2, 2]),
        Some(Ok(vec![11.5, 23.0, 32.0, 44.0]))
    );
    assert_eq!(to("bias", &[2]), Some(Ok(vec![5.0, 6.0])));
    assert!(to("bias", &[3]).is_some_and(|bias| bias.is_err()));
    // The projection of w has no bias.
    let layer = "lora_unet_time_embedding_cond_proj";
    let (dim, scale) = (4, 1.0);
    let w = Some(WEmbedding { dim, scale });
    let merged = |with_bias: bool| {
        let mut file = LoraFile {
            origin: "a".into(),
            ..LoraFile::default()
        };
        file.take(&format!("{layer}.diff"), vec![8, 4], vec![1.0; 32]);
        if with_bias {
            file.take(&format!("{layer}.diff_b"), vec![8], vec![1.0; 8]);
        }
        let network = with(UNetConfig { w, ..config(8) });
        let merged = file.merge(1.0, network, &Device::flex());
        merged.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(merged(false), Ok(()));
    let error = merged(true).expect_err("a bias that is not there");
    assert!(error.contains("cond_proj` (its bias)"), "{error}");
}

/// Names of other tools for the same layers.
#[test]
fn names_are_alike_whatever_separates_them() {
    let mut file = LoraFile {
        origin: "a".into(),
        ..LoraFile::default()
    };
    for name in [
        "unet.mid_block.attentions.0.attn1.to_q.lora_A.weight",
        "lora_unet_mid_block_attentions_0_attn1_to_q.lora_up.weight",
        "unet.mid_block.attentions.0.attn1.processor.to_q_lora.down.weight",
        "base_model.model.mid_block.attentions.0.attn1.to_q.lora_B.default.weight",
        "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora.up.weight",
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj.alpha",
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.alpha",
        "text_encoder_2.text_model.encoder.layers.1.mlp.fc1.lora_linear_layer.up.weight",
        "lora_te2_text_model_encoder_layers_1_mlp_fc1.lora_down.weight",
    ] {
        assert!(file.take(name, vec![1], vec![1.0]), "{name}");
    }
    let names = |layers: &Layers| layers.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&file.network), ["mid_block_attentions_0_attn1_to_q"]);
    let [first, second] = &file.text;
    assert_eq!(names(first), ["encoder_layers_0_self_attn_q_proj"]);
    assert_eq!(names(second), ["encoder_layers_1_mlp_fc1"]);
}

/// A file of one LoRA of rank 4 for `to_q` and `to_k`, and what its alphas are read as.
fn alphas(
    name: &str,
    prefix: &str,
    metadata: Option<Value>,
    beside: Option<Value>,
) -> [Option<f32>; 2] {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    let bytes = [0u8; 64];
    let layers = ["to_q", "to_k"].into_iter().flat_map(|layer| {
        ["A", "B"].map(|part| {
            let view = TensorView::new(Dtype::F32, vec![4, 4], &bytes).expect("a view");
            (format!("{prefix}attn1.{layer}.lora_{part}.weight"), view)
        })
    });
    let metadata = metadata.map(|fields| {
        let entry = ("lora_adapter_metadata".to_string(), fields.to_string());
        std::collections::HashMap::from([entry])
    });
    safetensors::serialize_to_file(layers, metadata, &path).expect("written");
    if let Some(fields) = beside {
        let config = folder.path().join("adapter_config.json");
        std::fs::write(config, fields.to_string()).expect("written");
    }
    let read = LoraFile::read(&path).expect("a LoRA");
    ["attn1_to_q", "attn1_to_k"].map(|layer| read.network[layer].alpha)
}

#[test]
fn alpha_of_peft_is_in_its_configuration() {
    let of = |fields: Value| alphas("one.safetensors", "unet.", Some(fields), None);
    assert_eq!(of(json!({"unet.lora_alpha": 3})), [Some(3.0); 2]);
    assert_eq!(of(json!({"text_encoder.lora_alpha": 3})), [None; 2]);
    let patterns = json!({"unet.lora_alpha": 3, "unet.alpha_pattern": {"attn1.to_k": 5, "o_q": 7}});
    assert_eq!(of(patterns), [Some(3.0), Some(5.0)]);
    let by_root = json!({"unet.lora_alpha": 3, "unet.use_rslora": true});
    assert_eq!(of(by_root), [Some(6.0); 2]);
    // PEFT's own folder.
    let config = || Some(json!({"lora_alpha": 8, "r": 4}));
    let name = "adapter_model.safetensors";
    assert_eq!(
        alphas(name, "base_model.model.", None, config()),
        [Some(8.0); 2]
    );
    assert_eq!(alphas(name, "base_model.model.", None, None), [None; 2]);
    assert_eq!(
        alphas("other.safetensors", "base_model.model.", None, config()),
        [None; 2]
    );
}

#[test]
fn a_configuration_of_peft_that_makes_no_sense_is_refused() {
    for (text, part) in [
        (
            r#"{"unet.lora_alpha": "much"}"#,
            "must be a number, not \"much\"",
        ),
        (
            r#"{"unet.alpha_pattern": {"to_q": null}}"#,
            "must be a number, not null",
        ),
        ("[]", "the configuration of PEFT"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("one.safetensors");
        let view = TensorView::new(Dtype::F32, vec![1, 1], &[0; 4]).expect("a view");
        let entry = ("lora_adapter_metadata".to_string(), text.to_string());
        let metadata = std::collections::HashMap::from([entry]);
        let tensors = [("unet.to_q.lora_A.weight", view)];
        safetensors::serialize_to_file(tensors, Some(metadata), &path).expect("written");
        let error = LoraFile::read(&path).expect_err(text).to_string();
        assert!(error.contains(part), "{error}");
    }
}
