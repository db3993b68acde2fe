//! Models written and read back.

use super::*;
use crate::CONTROLNET_FILE;
use fewstep_diffusion::{ControlSpec, PredictionKind, Provenance, Role, ScheduleConfig, Task};
use fewstep_nn::{ControlNetConfig, Fusion, Initial, UNetConfig};
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeSet;

fn model() -> Model {
    let config = UNetConfig {
        channels: 1,
        patch: 1,
        widths: vec![8, 16],
        blocks: 1,
        attention: vec![false, false],
        head: 8,
        groups: 4,
        classes: 2,
        ..UNetConfig::default()
    };
    Model {
        network: Backbone::new(&config.into(), 3, &Device::flex()).expect("valid"),
        recipe: SamplerRecipe {
            version: 1,
            role: Role::Teacher,
            prediction: PredictionKind::V,
            schedule: ScheduleConfig::default(),
            guidance: Guidance::ClassifierFree,
            image_guidance: None,
            resolution: [1, 8, 8],
            classes: vec!["a".into(), "b".into()],
            clip: true,
            clip_skip: 0,
            control: None,
            default_sampler: None,
            provenance: Provenance::default(),
        },
    }
}

#[test]
fn a_folder_gives_back_the_same_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model();
    model.save(folder.path()).expect("saved");
    let back = Model::load(folder.path(), &Device::flex()).expect("loaded");
    assert_eq!(back.weights_hash(), model.weights_hash());
    assert_eq!(back.recipe, model.recipe);
}

fn with_controlnet() -> Model {
    let model = model();
    let config = ControlNetConfig {
        channels: 2,
        stem: vec![8, 8],
        fusion: Fusion::ZeroConv,
        unit: false,
    };
    let network = model.network.with_controlnet(&config, Initial::Base, 7);
    let control = ControlSpec {
        task: Task::Inpaint,
        shape: [2, 16, 16],
    };
    Model {
        network: network.expect("valid"),
        recipe: SamplerRecipe {
            control: Some(control),
            ..model.recipe
        },
    }
}

#[test]
fn a_controlnet_is_stored_next_to_its_base_under_the_names_of_diffusers() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = with_controlnet();
    model.save(folder.path()).expect("saved");
    let device = Device::flex();
    let back = Model::load(folder.path(), &device).expect("loaded");
    assert_eq!(back.weights_hash(), model.weights_hash());
    assert_eq!(back.recipe, model.recipe);
    let bytes = std::fs::read(folder.path().join(CONTROLNET_FILE)).expect("read");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    for (name, shape) in [
        (
            "controlnet_cond_embedding.blocks.1.weight",
            vec![8, 8, 3, 3],
        ),
        ("controlnet_down_blocks.3.weight", vec![16, 16, 1, 1]),
        ("controlnet_mid_block.bias", vec![16]),
        ("down_blocks.0.resnets.0.conv1.weight", vec![8, 8, 3, 3]),
    ] {
        let tensor = file.tensor(name);
        let tensor = tensor.unwrap_or_else(|_| panic!("{name} is missing"));
        assert_eq!(tensor.shape(), shape, "{name}");
    }
    // One file holds everything too; a part of a folder does not.
    let bytes = model.to_bytes(FilePrecision::Full).expect("bytes");
    let single = Model::from_bytes(bytes, "single", &device).expect("loaded");
    assert_eq!(single.weights_hash(), model.weights_hash());
    let part = Model::load(&folder.path().join(WEIGHTS_FILE), &device);
    assert!(matches!(part, Err(FormatError::NoControlNet { .. })));
}

#[test]
fn a_controlnet_moves_to_bases_that_it_fits() {
    let controlnet = || with_controlnet().controlnet().expect("there is one");
    let with = model().with_controlnet(controlnet()).expect("its own base");
    assert_eq!(with.recipe.control, with_controlnet().recipe.control);
    let refused = |change: fn(&mut Model)| {
        let mut base = model();
        change(&mut base);
        base.with_controlnet(controlnet())
            .expect_err("refused")
            .to_string()
    };
    let message = refused(|m| m.recipe.prediction = PredictionKind::Eps);
    assert!(
        message.contains("predicts V") && message.contains("predicts Eps"),
        "{message}"
    );
    let message = refused(|m| m.recipe.resolution[0] = 3);
    assert!(
        message.contains("channels of 1") && message.contains("channels of 3"),
        "{message}"
    );
    // Both halve what they are given: the base may be for images of another size.
    let mut base = model();
    base.recipe.resolution = [1, 16, 16];
    let with = base.with_controlnet(controlnet()).expect("another size");
    assert_eq!(with.recipe.resolution, [1, 8, 8]);
    assert_eq!(with.recipe.control, with_controlnet().recipe.control);
}

#[test]
fn names_are_those_of_diffusers() {
    let bytes = model().to_bytes(FilePrecision::Full).expect("bytes");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    for (name, shape) in [
        ("down_blocks.0.downsamplers.0.conv.weight", vec![8, 8, 3, 3]),
        ("mid_block.attentions.0.to_out.0.weight", vec![16, 16]),
        ("up_blocks.0.resnets.0.time_emb_proj.weight", vec![32, 32]),
        ("conv_norm_out.weight", vec![8]),
        ("class_embedding.weight", vec![3, 32]),
    ] {
        let tensor = file
            .tensor(name)
            .unwrap_or_else(|_| panic!("{name} is missing"));
        assert_eq!(tensor.shape(), shape, "{name}");
    }
}

#[test]
fn half_precision_halves_the_file_and_keeps_the_values() {
    let model = model();
    let full = model.to_bytes(FilePrecision::Full).expect("bytes");
    let half = model.to_bytes(FilePrecision::Half).expect("bytes");
    assert!(half.len() < full.len() * 6 / 10);
    let back = Model::from_bytes(half, "half", &Device::flex()).expect("loaded");
    let again = back.to_bytes(FilePrecision::Half).expect("bytes");
    let back_again = Model::from_bytes(again, "half", &Device::flex()).expect("loaded");
    assert_eq!(back.weights_hash(), back_again.weights_hash());
}

/// Some trainers keep the norms of a model in 32 bits, and the rest in 16.
#[test]
fn tensors_of_one_file_may_have_different_types() {
    let device = Device::flex();
    let half = model().to_bytes(FilePrecision::Half).expect("bytes");
    let rounded = Model::from_bytes(half.clone(), "half", &device).expect("loaded");
    let full = rounded.to_bytes(FilePrecision::Full).expect("bytes");
    let [narrow, wide] = [&half, &full].map(|bytes| SafeTensors::deserialize(bytes));
    let (narrow, wide) = (narrow.expect("tensors"), wide.expect("tensors"));
    let mixed = wide.tensors().into_iter().map(|(name, tensor)| {
        let tensor = match name.contains("norm") {
            true => tensor,
            false => narrow.tensor(&name).expect("of the same name"),
        };
        (name, tensor)
    });
    let mixed: Vec<_> = mixed.collect();
    let types: BTreeSet<_> = mixed.iter().map(|(_, tensor)| tensor.dtype()).collect();
    assert_eq!(types, BTreeSet::from([Dtype::F16, Dtype::F32]));
    let (_, header) = SafeTensors::read_metadata(&full).expect("a header");
    let bytes = safetensors::serialize(mixed, header.metadata().clone()).expect("bytes");
    let back = Model::from_bytes(bytes, "mixed", &device).expect("loaded");
    assert_eq!(back.weights_hash(), rounded.weights_hash());
}

#[test]
fn damaged_and_foreign_files_are_refused_with_a_reason() {
    let device = Device::flex();
    let bytes = model().to_bytes(FilePrecision::Full).expect("bytes");
    let truncated = bytes[..bytes.len() / 2].to_vec();
    let message = |bytes| {
        Model::from_bytes(bytes, "file", &device)
            .expect_err("refused")
            .to_string()
    };
    assert!(message(truncated).contains("safetensors"));
    let nothing: [(&str, safetensors::tensor::TensorView); 0] = [];
    let foreign = safetensors::serialize(nothing, None);
    assert!(message(foreign.expect("bytes")).contains("metadata"));
    assert!(Model::load(Path::new("/nonexistent"), &device).is_err());
}
