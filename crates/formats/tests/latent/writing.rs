//! Folders that are written.

use crate::golden::Golden;
use burn::tensor::Device;
use fewstep_formats::{Pipeline, PipelineComponents};
use serde_json::Value;
use std::path::Path;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

/// What is written is read back as the same model, and says to diffusers what diffusers had said
/// itself.
#[test]
fn a_folder_comes_back_as_it_was() {
    for name in ["sd1", "sd2", "tiny", "inpaint", "instruct", "sdxl"] {
        let golden = Golden::new(name);
        let pipeline = golden.pipeline();
        let folder = tempfile::tempdir().expect("a folder");
        let saved = pipeline
            .components
            .save_pipeline(&pipeline.model, folder.path());
        saved.expect("written");
        let back = Pipeline::load(folder.path(), &Device::flex()).expect("a whole model");
        assert_eq!(back.model.weights_hash(), pipeline.model.weights_hash());
        assert_eq!(back.model.recipe, pipeline.model.recipe);
        assert_eq!(back.model.network.config(), pipeline.model.network.config());
        let theirs = json(&golden.folder().join("unet/config.json"));
        let ours = json(&folder.path().join("unet/config.json"));
        for (field, value) in ours.as_object().expect("an object") {
            let same = match (field.as_str(), &theirs[field]) {
                // Only in ours.
                ("time_cond_proj_scale", theirs) => theirs.is_null(),
                // One number for all levels, or a list.
                ("attention_head_dim", Value::Number(one)) => {
                    let all = value.as_array().expect("a list");
                    all.iter().all(|each| each.as_u64() == one.as_u64())
                }
                (_, theirs) => value == theirs,
            };
            assert!(
                same,
                "{name}: `{field}` is {value}, and was {}",
                theirs[field]
            );
        }
        for part in ["vae", "text_encoder", "tokenizer"] {
            for file in std::fs::read_dir(golden.folder().join(part)).expect("a folder") {
                let file = file.expect("an entry").path();
                let name = file.file_name().expect("a name").to_string_lossy();
                // diffusers reads all parts of one variant, and the U-Net is of none.
                let name = name.replace(".fp16.", ".");
                let copy = folder.path().join(part).join(&name);
                let [was, is] = [&file, &copy].map(|file| std::fs::read(file).expect("there"));
                if was != is {
                    assert_eq!(name, "config.json", "{part}");
                    let mut was = json(&file);
                    was["dtype"] = "float32".into();
                    assert_eq!(json(&copy), was, "in one type with the U-Net");
                }
            }
        }
        let digest = |components: &PipelineComponents| components.digest().expect("whole");
        assert_eq!(digest(&back.components), digest(&pipeline.components));
        // And once more, from what was written.
        let again = tempfile::tempdir().expect("a folder");
        let saved = back.components.save_pipeline(&back.model, again.path());
        saved.expect("written");
        let again = PipelineComponents::open(again.path()).expect("a whole model");
        assert_eq!(digest(&again), digest(&pipeline.components));
    }
}

/// Latents of earlier versions are found under this digest of the networks, over the bytes of files
/// as a model has them.
#[test]
fn the_digest_of_a_models_parts_lasts() {
    for (name, digest) in [("sd1", "5f8fb852bde23335"), ("sdxl", "335242449ae1d020")] {
        let components = Golden::new(name).pipeline().components;
        assert_eq!(components.digest().expect("whole"), digest);
    }
}

/// A part that was changed by hand is another one, whatever lies next to it.
#[test]
fn the_digest_sees_changes_to_what_was_written() {
    let pipeline = Golden::new("sd1").pipeline();
    let folder = tempfile::tempdir().expect("a folder");
    let saved = pipeline
        .components
        .save_pipeline(&pipeline.model, folder.path());
    saved.expect("written");
    let config = folder.path().join("text_encoder/config.json");
    let mut fields = json(&config);
    fields["layer_norm_eps"] = 1e-6.into();
    std::fs::write(&config, fields.to_string()).expect("written");
    let written = PipelineComponents::open(folder.path()).expect("a whole model");
    assert_ne!(
        written.digest().expect("whole"),
        pipeline.components.digest().expect("whole")
    );
}
