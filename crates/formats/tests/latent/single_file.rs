//! Single files: every tensor under the name by which diffusers' own reader finds it (tools/golden/single_file.py).

use crate::golden::Golden;
use burn::tensor::Device;
use fewstep_diffusion::Guidance;
use fewstep_formats::{Pipeline, Precision};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::path::Path;

/// The tensors of the stored folder by part and name.
fn stored(golden: &Golden) -> BTreeMap<String, Vec<u8>> {
    let files = [
        ("vae", "diffusion_pytorch_model.fp16.safetensors"),
        ("text_encoder", "model.fp16.safetensors"),
    ];
    let mut all = BTreeMap::new();
    let unet = golden.pipeline().model.to_bytes(Precision::Full);
    add(&mut all, "unet", &unet.expect("bytes"));
    for (part, file) in files {
        let bytes = std::fs::read(golden.folder().join(part).join(file));
        add(&mut all, part, &bytes.expect("a file"));
    }
    all
}

fn add(all: &mut BTreeMap<String, Vec<u8>>, part: &str, bytes: &[u8]) {
    let file = SafeTensors::deserialize(bytes).expect("safetensors");
    for (name, view) in file.tensors() {
        all.insert(format!("{part}/{name}"), view.data().to_vec());
    }
}

fn export(pipeline: &Pipeline, folder: &Path) -> std::path::PathBuf {
    let file = folder.join("model.safetensors");
    pipeline
        .save_single(&pipeline.model, &file)
        .expect("written");
    file
}

#[test]
fn every_tensor_has_the_name_by_which_others_find_it() {
    let golden = Golden::new("sd1");
    let names = std::fs::read(golden.folder().join("single_file.json")).expect("a file");
    let names: BTreeMap<String, String> = serde_json::from_slice(&names).expect("JSON");
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = std::fs::read(export(&golden.pipeline(), folder.path())).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let stored = stored(&golden);
    assert_eq!(file.len(), names.len());
    for (own, single) in names {
        let view = file.tensor(&single);
        let view = view.unwrap_or_else(|_| panic!("`{single}` is missing"));
        assert!(
            view.data() == stored[&own],
            "{own} has other bits as {single}"
        );
        if single.ends_with("attn_1.q.weight") {
            assert_eq!(view.shape()[2..], [1, 1], "{single}");
        }
    }
    let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a header");
    let entries = metadata.metadata().clone().expect("metadata");
    assert_eq!(entries["modelspec.architecture"], "stable-diffusion-v1");
    assert_eq!(entries["modelspec.resolution"], "16x16");
    assert!(entries["fewstep"].contains("scaled-linear"));
}

#[test]
fn a_single_file_comes_back_bit_for_bit() {
    let golden = Golden::new("sd1");
    let pipeline = golden.pipeline();
    let folder = tempfile::tempdir().expect("a folder");
    let (file, back) = (export(&pipeline, folder.path()), folder.path().join("back"));
    pipeline.import_single(&file, &back).expect("a folder");
    let back = Pipeline::load(&back, &Device::flex()).expect("a whole model");
    assert_eq!(back.model.weights_hash(), pipeline.model.weights_hash());
    let again = folder.path().join("again.safetensors");
    back.save_single(&back.model, &again).expect("written");
    let [again, file] = [again, file].map(|path| {
        let mut tensors = BTreeMap::new();
        add(&mut tensors, "", &std::fs::read(path).expect("a file"));
        tensors
    });
    assert!(again == file);
}

#[test]
fn a_student_goes_into_a_single_file_with_one_w_alone() {
    let student = Golden::new("tiny").pipeline().model;
    let pipeline = Golden::new("sd1").pipeline();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("student.safetensors");
    let refused = pipeline
        .save_single(&student, &file)
        .expect_err("an input for w");
    assert!(refused.to_string().contains("--bake-w"), "{refused}");
    let fixed = student.with_fixed_w(6.5);
    assert_eq!(fixed.recipe.guidance, Guidance::Fixed { w: 6.5 });
    pipeline.save_single(&fixed, &file).expect("written");
}

#[test]
fn what_has_no_place_in_a_single_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, said) in [("sd2", "text encoder"), ("tiny", "--bake-w")] {
        let pipeline = Golden::new(name).pipeline();
        let refused = pipeline.save_single(&pipeline.model, &folder.path().join("x"));
        let refused = refused.expect_err("refused").to_string();
        assert!(refused.contains(said), "{name}: {refused}");
    }
}
