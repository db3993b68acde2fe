//! `fewstep export` and `fewstep import` through the real program.

mod tiny;
mod workspace;

use burn::tensor::Device;
use fewstep_data::image::{self, Image};
use fewstep_diffusion::DistilledFor;
use fewstep_formats::{FilePrecision, Pipeline};
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
fn a_single_file_comes_back_as_a_folder() {
    for name in ["sd1", "sd2"] {
        comes_back(&golden_path(name));
    }
}

fn comes_back(model: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let single = ["--form", "single-file", "--out", "model.safetensors"];
    succeed(
        folder,
        &[&["export", "--model", model], &single[..]].concat(),
    );
    let import = [
        "import",
        "--file",
        "model.safetensors",
        "--like",
        model,
        "--out",
        "back",
    ];
    succeed(folder, &import);
    let words = ["--prompt", "a cat"];
    assert_eq!(
        generate(folder, &[&["--model", "back"], &words[..]].concat()),
        generate(folder, &[&["--model", model], &words[..]].concat())
    );
}

/// Entries and tensors of a GGUF file, read by the format's specification.
struct Gguf {
    entries: BTreeMap<String, String>,
    /// Dimensions (the fastest first), type, and all bytes from the start of the data.
    tensors: BTreeMap<String, (Vec<u64>, u32, Vec<u8>)>,
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_first_chunk().expect("long enough");
        self.0 = rest;
        *taken
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn text(&mut self) -> String {
        let length = self.u64() as usize;
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8(text.to_vec()).expect("UTF-8")
    }
}

impl Gguf {
    fn read(file: &Path) -> Self {
        let all = std::fs::read(file).expect("a file");
        let mut bytes = Bytes(&all);
        assert_eq!(&bytes.take(), b"GGUF");
        assert_eq!(bytes.u32(), 3, "version");
        let (count, pairs) = (bytes.u64(), bytes.u64());
        let entries = (0..pairs).map(|_| {
            let key = bytes.text();
            let value = match bytes.u32() {
                4 => bytes.u32().to_string(),
                8 => bytes.text(),
                other => panic!("`{key}` is of type {other}"),
            };
            (key, value)
        });
        let entries = entries.collect();
        let headers: Vec<_> = (0..count)
            .map(|_| {
                let name = bytes.text();
                let sides = bytes.u32();
                let sides: Vec<u64> = (0..sides).map(|_| bytes.u64()).collect();
                (name, sides, bytes.u32(), bytes.u64() as usize)
            })
            .collect();
        let start = (all.len() - bytes.0.len()).next_multiple_of(32);
        let tensors = headers.into_iter().map(|(name, sides, kind, offset)| {
            assert_eq!(offset % 32, 0, "{name}");
            let values = sides.iter().product::<u64>() as usize;
            let length = match kind {
                0 => 4 * values,
                1 => 2 * values,
                8 => values / 32 * 34,
                30 => 2 * values,
                other => panic!("`{name}` is of type {other}"),
            };
            let data = all[start + offset..][..length].to_vec();
            (name, (sides, kind, data))
        });
        Self {
            entries,
            tensors: tensors.collect(),
        }
    }
}

#[test]
fn a_gguf_file_holds_the_unet_under_the_names_of_its_readers() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let model = golden_path("sd1");
    let export = |precision: &str, out: &str| {
        let form = ["export", "--form", "gguf", "--precision", precision];
        succeed(
            folder,
            &[&form[..], &["--model", &model, "--out", out]].concat(),
        );
        Gguf::read(&folder.join(out))
    };
    let [full, half, bytes] =
        ["f32", "f16", "q8_0"].map(|precision| export(precision, &format!("{precision}.gguf")));
    let names = std::fs::read(golden("sd1").join("single_file.json")).expect("a file");
    let names: BTreeMap<String, String> = serde_json::from_slice(&names).expect("JSON");
    let unet = Pipeline::load_model(Path::new(&model), &Device::flex()).expect("a U-Net");
    let unet = unet.to_bytes(FilePrecision::Full).expect("bytes");
    let unet = SafeTensors::deserialize(&unet).expect("safetensors");
    assert_eq!(full.tensors.len(), unet.len());
    let mut quantised = 0;
    for (name, view) in unet.tensors() {
        let single = &names[&format!("unet/{name}")];
        let theirs = single
            .strip_prefix("model.diffusion_model.")
            .expect("the prefix");
        let (sides, kind, data) = &full.tensors[theirs];
        let shape: Vec<u64> = view.shape().iter().rev().map(|side| *side as u64).collect();
        assert_eq!((sides, *kind), (&shape, 0), "{theirs}");
        assert!(data == view.data(), "{theirs} has other bits");
        let expected = |wide: u32| if shape.len() == 1 { 0 } else { wide };
        assert_eq!(half.tensors[theirs].1, expected(1), "{theirs}");
        let narrow = if shape[0].is_multiple_of(32) { 8 } else { 1 };
        let (_, kind, packed) = &bytes.tensors[theirs];
        assert_eq!(*kind, expected(narrow), "{theirs}");
        if *kind == 8 {
            quantised += 1;
            // A value of the widest size in each block is stored as ±127, and no value is off by
            // more than half a step.
            for (block, values) in packed.chunks_exact(34).zip(data.chunks_exact(128)) {
                let steps = block[2..].iter().map(|byte| *byte as i8);
                let values = values.chunks_exact(4).map(|b| b.try_into().expect("four"));
                let values: Vec<f32> = values.map(f32::from_le_bytes).collect();
                let largest = values.iter().fold(0f32, |max, v| max.max(v.abs()));
                assert_eq!(
                    steps.clone().map(|step| step.unsigned_abs()).max(),
                    Some(127)
                );
                for (step, value) in steps.zip(values) {
                    let error = (f32::from(step) * largest / 127.0 - value).abs();
                    assert!(error <= 0.501 * largest / 127.0, "{theirs}: {error}");
                }
            }
        }
    }
    assert!(quantised > 0);
    for (file, kind) in [(&full, "0"), (&half, "1"), (&bytes, "7")] {
        assert_eq!(file.entries["general.architecture"], "sd1");
        assert_eq!(file.entries["general.file_type"], kind);
        assert_eq!(
            file.entries["modelspec.architecture"],
            "stable-diffusion-v1"
        );
        assert!(file.entries["fewstep"].contains("scaled-linear"));
    }
    let again = export("f16", "again.gguf");
    assert_eq!(again.entries, half.entries);
    let read = |name: &str| std::fs::read(folder.join(name)).expect("a file");
    assert!(read("again.gguf") == read("f16.gguf"));
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

/// Pickled weights (tools/golden/pickles.py): only on request, and never anything but tensors.
#[test]
fn pickled_weights_are_read_on_request_and_run_no_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let model = golden_path("sd1");
    let pickle = |name: &str| golden_path("../pickles") + "/" + name;
    let words = ["--prompt", "a cat"];
    let expected = generate(folder, &[&["--model", &model], &words[..]].concat());

    let checkpoint = pickle("sd1.ckpt");
    let import = [
        "import",
        "--file",
        &checkpoint,
        "--like",
        &model,
        "--out",
        "single",
    ];
    refuse(folder, &import, &["sd1.ckpt", "--allow-pickle"]);
    succeed(folder, &[&import[..], &["--allow-pickle"]].concat());
    let image = generate(folder, &[&["--model", "single"], &words[..]].concat());
    assert!(image == expected);

    copy(Path::new(&model), &folder.join("pickled"));
    let encoder = folder.join("pickled/text_encoder");
    std::fs::remove_file(encoder.join("model.fp16.safetensors")).expect("removed");
    std::fs::copy(
        pickle("pytorch_model.bin"),
        encoder.join("pytorch_model.bin"),
    )
    .expect("copied");
    let sample = [
        "sample", "--model", "pickled", "--prompt", "x", "--out", "x.png",
    ];
    refuse(
        folder,
        &sample,
        &["text_encoder", "fewstep import --allow-pickle"],
    );
    let import = ["import", "--file", "pickled", "--out", "whole"];
    refuse(folder, &import, &["pickled is a folder", "--allow-pickle"]);
    succeed(folder, &[&import[..], &["--allow-pickle"]].concat());
    let image = generate(folder, &[&["--model", "whole"], &words[..]].concat());
    assert!(image == expected);

    for (name, part) in [
        ("system.pt", "`posix.system`"),
        ("eval.pt", "`builtins.eval`"),
    ] {
        let file = pickle(name);
        let import = [
            "import",
            "--allow-pickle",
            "--file",
            &file,
            "--like",
            &model,
            "--out",
            "bad",
        ];
        refuse(folder, &import, &[name, part, "nothing of it was run"]);
        std::fs::copy(&file, encoder.join("pytorch_model.bin")).expect("copied");
        let import = [
            "import",
            "--allow-pickle",
            "--file",
            "pickled",
            "--out",
            "bad",
        ];
        refuse(folder, &import, &[part]);
        assert!(!folder.join("executed").exists() && !folder.join("bad").exists());
    }
}

fn json(file: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(file).expect("there")).expect("JSON")
}

/// A copy of a model whose scheduler's configuration has these fields.
fn with_scheduler(folder: &Path, name: &str, fields: &[(&str, Value)]) {
    copy(Path::new(&golden_path("sd1")), &folder.join(name));
    let path = folder.join(name).join("scheduler/scheduler_config.json");
    let mut config = json(&path);
    for (field, value) in fields {
        config[field] = value.clone();
    }
    std::fs::write(path, config.to_string()).expect("written");
}

/// What stands next to a file says what the tool must be told, and nothing where it knows.
#[test]
fn a_tool_gets_its_file_and_what_to_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let scaled = [
        ("beta_start", json!(0.00085)),
        ("beta_end", json!(0.012)),
        ("beta_schedule", json!("scaled_linear")),
    ];
    with_scheduler(folder, "eps", &scaled);
    let of_v = [&scaled[..], &[("prediction_type", json!("v_prediction"))]].concat();
    with_scheduler(folder, "v", &of_v);
    let export = |model: &str, tool: &str| {
        let out = format!("{model}-{tool}");
        let (_, said) = succeed(
            folder,
            &["export", "--model", model, "--for", tool, "--out", &out],
        );
        assert!(!said.contains("warning"), "{said}");
        let read = std::fs::read_to_string(folder.join(&out).join("README.md"));
        (folder.join(&out), read.expect("a README"))
    };
    for (model, sampling) in [("eps", None), ("v", Some("v_prediction"))] {
        let (out, _) = export(model, "comfyui");
        let workflow = json(&out.join("workflow_api.json"));
        let found = workflow.get("sampling");
        let found = found.map(|node| node["inputs"]["sampling"].as_str().expect("a name"));
        assert_eq!(found, sampling);
        // Every link leads to a node that is there.
        for node in workflow.as_object().expect("nodes").values() {
            for input in node["inputs"].as_object().expect("inputs").values() {
                if let Some(link) = input.as_array() {
                    assert!(workflow.get(link[0].as_str().expect("a node")).is_some());
                }
            }
        }
        assert_eq!(workflow["latent"]["inputs"]["width"], 16);
        let (out, read) = export(model, "a1111");
        assert_eq!(out.join("model.yaml").is_file(), sampling.is_some());
        assert!(read.contains("Size: 16x16"), "{read}");
        let (out, read) = export(model, "sd-cpp");
        assert_eq!(
            read.contains("--prediction v"),
            sampling.is_some(),
            "{read}"
        );
        assert!(Gguf::read(&out.join("model.gguf")).tensors.len() > 100);
        export(model, "diffusers");
    }
    // Without the schedule of Stable Diffusion, a tool that takes it for granted is wrong.
    with_scheduler(folder, "linear", &[("beta_schedule", json!("linear"))]);
    let words = [
        "--model",
        "linear",
        "--for",
        "comfyui",
        "--out",
        "linear-out",
    ];
    let (_, said) = succeed(folder, &[&["export"], &words[..]].concat());
    assert!(said.contains("another noise schedule"), "{said}");
}

#[test]
fn a_student_is_written_for_its_own_w_where_a_tool_knows_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    copy(Path::new(&golden_path("sd1")), &folder.join("base"));
    // The golden student has another autoencoder than a single file can hold.
    let tiny = golden_path("tiny");
    let words = [
        "export",
        "--model",
        &tiny,
        "--for",
        "diffusers",
        "--out",
        "kept",
    ];
    let (_, said) = succeed(folder, &words);
    assert!(!said.contains("folded in"), "{said}");
    let config = json(&folder.join("kept/unet/config.json"));
    assert!(config["time_cond_proj_dim"].is_number());
    let words = ["export", "--model", &tiny, "--for", "comfyui", "--out", "x"];
    refuse(folder, &words, &["tiny autoencoder"]);
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
fn a_whole_model_is_one_gguf_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let model = golden_path("sd1");
    let names = json(&golden("sd1").join("single_file.json"));
    let mut expected: Vec<&str> = names
        .as_object()
        .expect("names")
        .values()
        .map(|name| {
            name.as_str()
                .expect("a name")
                .split(':')
                .next()
                .expect("a name")
        })
        .collect();
    expected.sort_unstable();
    expected.dedup();
    for (precision, of_text, vector) in [("f32", 0, 0), ("bf16", 30, 0), ("q8_0", 1, 0)] {
        let file = format!("{precision}.gguf");
        let form = ["--form", "gguf-model", "--precision", precision];
        let words = [&["export", "--model", &model, "--out", &file], &form[..]].concat();
        succeed(folder, &words);
        let read = Gguf::read(&folder.join(&file));
        assert!(
            read.tensors
                .keys()
                .map(String::as_str)
                .eq(expected.iter().copied())
        );
        let kind = |name: &str| read.tensors[name].1;
        let text = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight";
        assert_eq!(kind(text), of_text, "{precision}");
        assert_eq!(kind("model.diffusion_model.out.2.bias"), vector);
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
