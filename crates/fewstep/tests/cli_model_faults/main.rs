//! Models and places that are not what they should be, through the real program: it says so, and harms nothing.

mod contents;
mod exports;
mod other_tools;
#[cfg(unix)]
mod places;
#[path = "../tiny/mod.rs"]
mod tiny;
mod unread;
#[path = "../workspace/mod.rs"]
mod workspace;

use burn::tensor::Device;
use fewstep_diffusion::DistilledFor;
use fewstep_formats::{Model, WEIGHTS_FILE};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tiny::{save, student, teacher};
use workspace::{command, copy, refuse, run, succeed};

/// A copy of a stored model, in a folder of its own.
fn golden(folder: &Path, kind: &str, name: &str) {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../formats/tests/golden");
    copy(&golden.join(kind), &folder.join(name));
}

/// Changes a file of JSON.
fn edit(file: &Path, change: impl FnOnce(&mut Value)) {
    let text = std::fs::read(file).expect("there");
    let mut json = serde_json::from_slice(&text).expect("JSON");
    change(&mut json);
    std::fs::write(file, json.to_string()).expect("written");
}

type Tensors = Vec<(String, safetensors::Dtype, Vec<usize>, Vec<u8>)>;

/// Changes the tensors and the metadata of a safetensors file.
fn edit_tensors(file: &Path, change: impl FnOnce(&mut Tensors, &mut HashMap<String, String>)) {
    let bytes = std::fs::read(file).expect("there");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
    let mut metadata = header.metadata().clone().unwrap_or_default();
    let tensors = SafeTensors::deserialize(&bytes).expect("whole");
    let tensors = tensors.tensors().into_iter();
    let tensors = tensors.map(|(name, view)| {
        (
            name,
            view.dtype(),
            view.shape().to_vec(),
            view.data().to_vec(),
        )
    });
    let mut tensors: Tensors = tensors.collect();
    change(&mut tensors, &mut metadata);
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        let view = TensorView::new(*dtype, shape.clone(), data).expect("whole");
        (name.as_str(), view)
    });
    let bytes = safetensors::serialize(views, Some(metadata)).expect("bytes");
    std::fs::write(file, bytes).expect("written");
}

/// Changes what a model's weights say of it.
fn describe(file: &Path, change: impl FnOnce(&mut Value)) {
    edit_tensors(file, |_, metadata| {
        let mut description = serde_json::from_str(&metadata["fewstep"]).expect("JSON");
        change(&mut description);
        metadata.insert("fewstep".into(), description.to_string());
    });
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

const SAMPLE: [&str; 7] = ["sample", "--model", "model", "--steps", "1", "--count", "1"];

fn sample<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [&SAMPLE[..], words].concat()
}
