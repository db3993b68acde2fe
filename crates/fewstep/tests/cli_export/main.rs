//! `fewstep export` and `fewstep import` through the real program.

mod files;
mod gguf;
#[path = "../tiny/mod.rs"]
mod tiny;
mod tools;
#[path = "../workspace/mod.rs"]
mod workspace;

use burn::tensor::Device;
use fewstep_data::image::{self, Image};
use fewstep_diffusion::DistilledFor;
use fewstep_formats::{FilePrecision, Pipeline};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tiny::{save, student};
use workspace::{copy, golden, golden_path, refuse, succeed};

fn generate(folder: &Path, words: &[&str]) -> Image {
    succeed(
        folder,
        &[&["sample", "--steps", "2", "--out", "image.png"], words].concat(),
    );
    image::read(&folder.join("image.png"), None, 3).expect("an image")
}

fn assert_alike(a: &Image, b: &Image) {
    assert_eq!(a.shape, b.shape);
    let differences = a.pixels.iter().zip(&b.pixels).map(|(a, b)| a.abs_diff(*b));
    let largest = differences.max();
    assert!(largest <= Some(1), "pixels differ by {largest:?}");
}

#[test]
fn a_folded_w_gives_the_images_of_the_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    save(
        &student(DistilledFor::Deterministic, Some(2)),
        folder,
        "pixels",
    );
    let latent = golden_path("tiny");
    for (model, fixed, words) in [
        ("pixels", "fixed", &[][..]),
        (&latent, "fixed-latent", &["--prompt", "a cat"]),
    ] {
        let export = ["export", "--model", model, "--bake-w", "3", "--out", fixed];
        succeed(folder, &export);
        let out = fixed;
        let fixed = generate(folder, &[&["--model", out], words].concat());
        let input = generate(folder, &[&["--model", model, "--w", "3"], words].concat());
        assert_alike(&fixed, &input);
        let other = generate(folder, &[&["--model", model, "--w", "4"], words].concat());
        assert_ne!(other, input);
        let words = [&["sample", "--model", out, "--w", "4"], words].concat();
        refuse(folder, &words, &["only for w = 3", "w = 4"]);
    }
}

#[test]
fn two_exports_of_one_model_are_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let latent = golden_path("sd2");
    for (form, file) in [
        ("folder", "unet/diffusion_pytorch_model.safetensors"),
        ("single-file", ""),
    ] {
        let write = |out: &str| {
            let export = ["export", "--model", &latent, "--form", form, "--out", out];
            succeed(folder, &export);
            let path = folder.join(out).join(file);
            std::fs::read(path.components().as_path()).expect("a file")
        };
        assert!(
            write(&format!("{form}-a")) == write(&format!("{form}-b")),
            "{form}"
        );
    }
}

fn json(file: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(file).expect("there")).expect("JSON")
}

/// A copy of a golden model whose scheduler's configuration has these fields.
fn with_scheduler(folder: &Path, base: &str, name: &str, fields: &[(&str, Value)]) {
    copy(Path::new(&golden_path(base)), &folder.join(name));
    let path = folder.join(name).join("scheduler/scheduler_config.json");
    let mut config = json(&path);
    for (field, value) in fields {
        config[field] = value.clone();
    }
    std::fs::write(path, config.to_string()).expect("written");
}

/// diffusers looks for every part that the index names.
#[test]
fn an_index_names_only_what_is_in_its_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    copy(Path::new(&golden_path("sd1")), &folder.join("published"));
    let path = folder.join("published/model_index.json");
    let mut index = json(&path);
    index["safety_checker"] = json!(["stable_diffusion", "StableDiffusionSafetyChecker"]);
    index["feature_extractor"] = json!(["transformers", "CLIPImageProcessor"]);
    std::fs::write(&path, index.to_string()).expect("written");
    let words = ["export", "--model", "published", "--out", "ours"];
    succeed(folder, &words);
    let index = json(&folder.join("ours/model_index.json"));
    for (part, kind) in index.as_object().expect("an object") {
        if let Some([_, Value::String(_)]) = kind.as_array().map(Vec::as_slice) {
            assert!(folder.join("ours").join(part).is_dir(), "{part}");
        }
    }
    assert_eq!(index["safety_checker"], json!([null, null]));
    assert_eq!(index["requires_safety_checker"], json!(false));
    // The U-Net is in 32 bits, and a pipeline wants the text encoder in the same type.
    let encoder = |model: &str| json(&folder.join(model).join("text_encoder/config.json"));
    assert_eq!(encoder("published")["dtype"], "float16");
    assert_eq!(encoder("ours")["dtype"], "float32");
}

#[test]
fn every_form_is_written_in_half_the_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let model = golden_path("sd1");
    let words = ["--prompt", "a cat"];
    let expected = generate(folder, &[&["--model", &model], &words[..]].concat());
    for precision in ["f16", "bf16"] {
        let out = format!("{precision}-folder");
        let export = ["export", "--model", &model, "--precision", precision];
        succeed(folder, &[&export[..], &["--out", &out]].concat());
        let image = generate(folder, &[&["--model", &out], &words[..]].concat());
        let off = image.pixels.iter().zip(&expected.pixels);
        let off: u64 = off.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        assert!(off <= 4 * image.pixels.len() as u64, "{precision}: {off}");
        let config = json(&folder.join(&out).join("text_encoder/config.json"));
        let dtype = config.get("dtype").or(config.get("torch_dtype"));
        let named = if precision == "f16" {
            "float16"
        } else {
            "bfloat16"
        };
        assert_eq!(dtype, Some(&json!(named)), "transformers reads it");
        let single = format!("{precision}.safetensors");
        let form = ["--form", "single-file", "--out", &single];
        succeed(folder, &[&export[..], &form].concat());
        for file in [
            folder.join(&single),
            folder
                .join(&out)
                .join("unet/diffusion_pytorch_model.safetensors"),
        ] {
            let bytes = std::fs::read(file).expect("there");
            let tensors = SafeTensors::deserialize(&bytes).expect("whole");
            let expected = if precision == "f16" {
                Dtype::F16
            } else {
                Dtype::BF16
            };
            for (name, view) in tensors.tensors() {
                assert_eq!(view.dtype(), expected, "{name}");
            }
        }
    }
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    save(
        &student(DistilledFor::Deterministic, Some(2)),
        folder,
        "pixels",
    );
    let (sd1, tiny) = (golden_path("sd1"), golden_path("tiny"));
    let (single, gguf) = (["--form", "single-file"], ["--form", "gguf"]);
    for (model, words, part) in [
        ("pixels", &single[..], "no autoencoder"),
        ("pixels", &gguf[..], "without prompts"),
        (&tiny, &single[..], "--bake-w"),
        (&tiny, &gguf[..], "--bake-w"),
        (&sd1, &["--precision", "q8_0"], "--form gguf"),
        (&sd1, &["--for", "comfyui", "--precision", "q8_0"], "f16"),
        (&sd1, &["--for", "comfyui", "--form", "folder"], "--form"),
        ("pixels", &["--for", "sd-cpp"], "without prompts"),
        (&golden_path("inpaint"), &["--for", "a1111"], "inpainting"),
        (&golden_path("classes"), &["--for", "comfyui"], "classes"),
        (&sd1, &["--bake-w", "3"], "nothing to fold in"),
    ] {
        let all = [&["export", "--model", model, "--out", "x"], words].concat();
        refuse(folder, &all, &[part]);
    }
    let import = [
        "import",
        "--file",
        "nowhere.safetensors",
        "--like",
        &sd1,
        "--out",
        "x",
    ];
    refuse(folder, &import, &["nowhere.safetensors"]);
}
