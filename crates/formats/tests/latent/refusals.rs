//! Folders that are not what they should be: the message says what, where and what to do.

use crate::golden::Golden;
use burn::tensor::Device;
use fewstep_formats::Pipeline;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A copy of a stored model, to be damaged.
pub(crate) struct Copy {
    folder: TempDir,
}

impl Copy {
    fn of(name: &str) -> Self {
        Self::of_golden(&Golden::new(name))
    }

    pub(crate) fn of_golden(golden: &Golden) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        copy(golden.folder(), folder.path());
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Sets a field of a JSON file; null takes it away.
    pub(crate) fn set(&self, name: &str, field: &str, value: serde_json::Value) {
        let text = std::fs::read(self.path(name)).expect("a file");
        let mut json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        json[field] = value;
        std::fs::write(self.path(name), json.to_string()).expect("written");
    }

    /// The message that a reader gets.
    pub(crate) fn refused(&self, parts: &[&str]) {
        let read = Pipeline::load(self.folder.path(), &Device::flex());
        let message = read.expect_err("refused").to_string();
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

#[test]
fn unknown_and_unsupported_fields_are_named() {
    let unet = "unet/config.json";
    let scheduler = "scheduler/scheduler_config.json";
    for (file, field, value, said) in [
        (
            unet,
            "dual_cross_attention",
            true.into(),
            "`dual_cross_attention` is true",
        ),
        (unet, "magic", 3.into(), "`magic`"),
        (unet, "attention_head_dim", 3.into(), "`heads` = 3"),
        (unet, "down_block_types", ["A", "B"].into(), "`A`"),
        ("vae/config.json", "shift", 1.into(), "`shift`"),
        (
            "text_encoder/config.json",
            "hidden_act",
            "relu".into(),
            "`hidden_act`",
        ),
        (scheduler, "trained_betas", 1.into(), "`trained_betas`"),
        (
            scheduler,
            "use_flow_sigmas",
            true.into(),
            "`use_flow_sigmas`",
        ),
        (
            scheduler,
            "prediction_type",
            "flow_prediction".into(),
            "flow_prediction",
        ),
        (
            scheduler,
            "_class_name",
            "FlowMatchEulerDiscreteScheduler".into(),
            "predicts a flow",
        ),
    ] {
        let copy = Copy::of("sd1");
        copy.set(file, field, value);
        copy.refused(&[file, said]);
    }
}

#[test]
fn parts_of_other_kinds_are_named() {
    let copy = Copy::of("sd1");
    copy.set(
        "model_index.json",
        "text_encoder",
        serde_json::json!(["transformers", "T5EncoderModel"]),
    );
    copy.refused(&["text_encoder", "T5EncoderModel", "CLIPTextModel"]);
}

#[test]
fn parts_that_do_not_fit_are_told_so() {
    let copy = Copy::of("sd1");
    copy.set("vae/config.json", "latent_channels", 8.into());
    copy.refused(&["conv_out", "[8, 8, 3, 3]", "[16, 8, 3, 3]"]);
}

#[test]
fn missing_and_other_tensors_are_listed_with_the_nearest_name() {
    let copy = Copy::of("sd1");
    let file = copy.path("unet/diffusion_pytorch_model.fp16.safetensors");
    let bytes = std::fs::read(&file).expect("a file");
    let (old, new) = ("conv_norm_out.weight", "conv_norm_oot.weight");
    std::fs::write(&file, replaced(&bytes, old, new)).expect("written");
    copy.refused(&[
        "`conv_norm_out.weight` is missing (the file has `conv_norm_oot.weight`)",
        "`conv_norm_oot.weight` is not part of it (the network has `conv_norm_out.weight`)",
    ]);
}

fn replaced(bytes: &[u8], old: &str, new: &str) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let at = bytes.windows(old.len()).position(|w| w == old.as_bytes());
    let at = at.expect("the name is there");
    [&bytes[..at], new.as_bytes(), &bytes[at + old.len()..]].concat()
}

#[test]
fn a_truncated_file_is_told_so() {
    let copy = Copy::of("sd1");
    let file = copy.path("vae/diffusion_pytorch_model.fp16.safetensors");
    let bytes = std::fs::read(&file).expect("a file");
    for length in [bytes.len() / 2, 100, 3] {
        std::fs::write(&file, &bytes[..length]).expect("written");
        copy.refused(&["diffusion_pytorch_model", "not a whole safetensors file"]);
    }
}

#[test]
fn a_missing_shard_is_named() {
    let copy = Copy::of("sd2");
    let shard = "diffusion_pytorch_model-00002-of-00006.safetensors";
    std::fs::remove_file(copy.path("unet").join(shard)).expect("removed");
    copy.refused(&["index.json", shard, "not in the folder"]);
}

#[test]
fn pickled_weights_are_not_read() {
    let copy = Copy::of("sd1");
    let whole = copy.path("unet/diffusion_pytorch_model.fp16.safetensors");
    std::fs::rename(whole, copy.path("unet/diffusion_pytorch_model.bin")).expect("renamed");
    copy.refused(&["unet", "pickled", "run code"]);
}
