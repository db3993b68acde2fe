//! LoRA that are added to the model of a command that generates.

mod workspace;

use fewstep_data::image::{self, Image};
use safetensors::tensor::{Dtype, TensorView};
use std::path::Path;
use workspace::{copy, golden, refuse, run, stderr, succeed};

const LAYER: &str = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_v";

/// Outputs and inputs of the layer.
fn shape(model: &Path) -> [usize; 2] {
    let bytes = std::fs::read(model.join("unet/diffusion_pytorch_model.fp16.safetensors"));
    let bytes = bytes.expect("there");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("whole");
    let weight = file.tensor(&format!("{LAYER}.weight")).expect("there");
    [weight.shape()[0], weight.shape()[1]]
}

/// A LoRA of rank 1 for the layer, whose matrices have these names; `more` is the name of another
/// tensor.
fn write(file: &Path, [down, up]: [&str; 2], [outputs, inputs]: [usize; 2], more: Option<&str>) {
    let values = |number: usize| -> Vec<u8> {
        let values = (0..number).map(|n| (n as f32).cos());
        values.flat_map(f32::to_le_bytes).collect()
    };
    let (a, b) = (values(inputs), values(outputs));
    let view = |shape, bytes| TensorView::new(Dtype::F32, shape, bytes).expect("a view");
    let mut tensors = vec![
        (down.to_string(), view(vec![1, inputs], &a)),
        (up.to_string(), view(vec![outputs, 1], &b)),
    ];
    tensors.extend(more.map(|name| (name.to_string(), view(vec![outputs, 1], &b))));
    safetensors::serialize_to_file(tensors, None, file).expect("written");
}

fn generate(folder: &Path, out: &str, words: &[&str]) -> (Image, String) {
    let sample = [
        "sample", "--model", "sd", "--prompt", "a cat", "--steps", "2",
    ];
    let (said, _) = succeed(folder, &[&sample[..], words, &["--out", out]].concat());
    (
        image::read(&folder.join(out), None, 3).expect("an image"),
        said,
    )
}

#[test]
fn a_lora_is_added_as_often_as_its_weight_says() {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path();
    copy(&golden("sd1"), &folder.join("sd"));
    let shape = shape(&folder.join("sd"));
    let kohya = format!("lora_unet_{}", LAYER.replace('.', "_"));
    let kohya = ["lora_down", "lora_up"].map(|part| format!("{kohya}.{part}.weight"));
    let peft = ["A", "B"].map(|part| format!("unet.{LAYER}.lora_{part}.weight"));
    for (file, names) in [("ink", &kohya), ("peft", &peft)] {
        let file = folder.join(format!("{file}.safetensors"));
        write(&file, [&names[0], &names[1]], shape, None);
    }
    let plain = generate(folder, "plain.png", &[]).0;
    let (with, said) = generate(folder, "with.png", &["--lora", "ink.safetensors"]);
    assert_ne!(with, plain);
    assert!(said.contains("LoRA ink:1"), "{said}");
    let of = |words: &[&str]| generate(folder, "other.png", words).0;
    assert_eq!(of(&["--lora", "peft.safetensors"]), with);
    assert_eq!(of(&["--lora", "ink.safetensors:0"]), plain);
    let half = ["--lora", "ink.safetensors:0.5"];
    assert_ne!(of(&half), with);
    assert_eq!(of(&[half, half].concat()), with, "halves add up");
    let (away, back) = ("ink.safetensors:0.75", "peft.safetensors:-0.75");
    assert_eq!(of(&["--lora", away, "--lora", back]), plain);
    let bytes = std::fs::read(folder.join("with.png")).expect("there");
    let text = image::parameters(&bytes).expect("parameters");
    assert!(text.starts_with("a cat <lora:ink:1>\nSteps: 2"), "{text}");
}

#[test]
fn a_lora_that_does_not_fit_is_refused() {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path();
    copy(&golden("sd1"), &folder.join("sd"));
    let shape = shape(&folder.join("sd"));
    let names = ["A", "B"].map(|part| format!("unet.{LAYER}.lora_{part}.weight"));
    let names = [&*names[0], &*names[1]];
    let dora = format!("unet.{LAYER}.lora_magnitude_vector.weight");
    let [dora_file, other] = ["dora", "other"].map(|n| folder.join(format!("{n}.safetensors")));
    write(&dora_file, names, shape, Some(&dora));
    let nowhere = ["unet.nowhere.lora_A.weight", "unet.nowhere.lora_B.weight"];
    write(&other, nowhere, shape, None);
    let sample = ["sample", "--model", "sd", "--prompt", "x", "--out", "x.png"];
    for (lora, part) in [
        ("dora.safetensors", "DoRA"),
        ("other.safetensors", "`nowhere`"),
        ("none.safetensors", "none.safetensors"),
        ("other.safetensors:nan", "FILE:WEIGHT"),
        ("other.safetensors:1e300", "FILE:WEIGHT"),
    ] {
        refuse(folder, &[&sample[..], &["--lora", lora]].concat(), &[part]);
    }
    assert!(!folder.join("x.png").exists());
    // Images that are there already have no model to add it to.
    let eval = [
        "eval",
        "--images",
        "sd",
        "--lora",
        "other.safetensors",
        "--real",
        "sd",
    ];
    let refused = run(folder, &eval);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
}

/// A LoRA of a pixel model, which is what its student is more than its teacher: with it the teacher
/// generates the images of the student.
#[test]
fn a_lora_is_added_to_a_pixel_model() {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path();
    let teacher = "builtin:fashion-mnist-teacher";
    let export = [
        "export",
        "--model",
        "builtin:fashion-mnist",
        "--steps",
        "4",
        "--bake-w",
        "2",
        "--form",
    ];
    succeed(
        folder,
        &[&export[..], &["folder", "--out", "student"]].concat(),
    );
    let extract = [
        "lora",
        "--base",
        teacher,
        "--extract",
        "64",
        "--out",
        "lora",
    ];
    succeed(folder, &[&export[..], &extract].concat());
    let sample = |words: &[&str]| {
        let same = [
            "--steps", "4", "--class", "bag", "--seed", "2", "--out", "x.png",
        ];
        let said = succeed(folder, &[&["sample"], words, &same].concat()).0;
        let image = image::read(&folder.join("x.png"), None, 1);
        (image.expect("an image").pixels, said)
    };
    let on_base = ["--model", teacher, "--w", "0", "--sampler", "ddim"];
    let distance = |a: &[u8], b: &[u8]| {
        let apart = std::iter::zip(a, b).map(|(a, b)| f64::from(a.abs_diff(*b)));
        apart.sum::<f64>() / a.len() as f64
    };
    let (student, _) = sample(&["--model", "student"]);
    let (base, _) = sample(&on_base);
    let lora = ["--lora", "lora/kohya.safetensors"];
    let (with, said) = sample(&[&on_base[..], &lora].concat());
    assert!(said.contains("LoRA kohya:1"), "{said}");
    assert!(distance(&base, &student) > 5.0);
    assert!(distance(&with, &student) < 1.0);
    // One for a text encoder is refused.
    let names = ["lora_down", "lora_up"]
        .map(|part| format!("lora_te_text_model_encoder_layers_0_mlp_fc1.{part}.weight"));
    let file = folder.join("words.safetensors");
    write(&file, [&names[0], &names[1]], [4, 4], None);
    let sample = [&["sample"], &on_base[..], &["--lora", "words.safetensors"]].concat();
    refuse(
        folder,
        &[&sample[..], &["--out", "y.png"]].concat(),
        &["text encoder"],
    );
}

/// Names of SDXL's single file, as sd-scripts has them, and those of PEFT, for the U-Net and for either
/// text encoder.
#[test]
fn a_lora_is_added_to_sdxl() {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path();
    let model = golden("sdxl");
    let sample = |lora: &[&str]| {
        let model = model.display().to_string();
        let words = [
            "sample", "--model", &model, "--prompt", "a cat", "--steps", "2", "--w", "6",
        ];
        succeed(folder, &[&words[..], lora, &["--out", "x.png"]].concat());
        image::read(&folder.join("x.png"), None, 3).expect("an image")
    };
    let plain = sample(&[]);
    for tool in ["kohya", "peft"] {
        let file = golden("lora").join(format!("sdxl-{tool}.safetensors"));
        let file = file.display().to_string();
        let with = sample(&["--lora", &file]);
        assert_ne!(with, plain, "{tool}");
        assert_ne!(sample(&["--lora", &format!("{file}:0.5")]), with, "{tool}");
        assert_eq!(sample(&["--lora", &format!("{file}:0")]), plain, "{tool}");
    }
}
