//! LoRA that are made of students whose weights were all trained, and a w inside of PEFT's files.

use super::*;

fn distilled(workspace: &Workspace, of: &str, lora: &str) {
    let (text, _) = DISTILL.split_once("[progressive]").expect("stage two");
    let recipe = recipe(workspace, "r.toml", &format!("{text}{lora}"), of);
    workspace.succeed(&["distill", &*recipe, "--out", "students"]);
}

fn sample(workspace: &Workspace, model: &str, words: &[&str]) -> Vec<u8> {
    let same = ["--prompt", "a cat", "--steps", "2", "--sampler", "ddim"];
    let sample = ["sample", "--model", model, "--out", "x.png"];
    workspace.succeed(&[&sample[..], &same, words].concat());
    let image = image::read(&workspace.path("x.png"), None, 3);
    image.expect("an image").pixels
}

/// The mean difference of two images, in steps of 255.
fn distance(a: &[u8], b: &[u8]) -> f64 {
    let sum: u32 = std::iter::zip(a, b)
        .map(|(a, b)| u32::from(a.abs_diff(*b)))
        .sum();
    f64::from(sum) / a.len() as f64
}

/// Under the names of each kind of model, for layers of every kind: norms, biases, convolutions.
#[test]
fn a_lora_of_full_rank_is_the_student_and_smaller_ones_say_what_they_lose() {
    for model in ["sd1", "sdxl"] {
        extracted(model);
    }
}

fn extracted(model: &str) {
    let workspace = workspace();
    distilled(&workspace, model, "");
    let base = golden_path(model);
    let export = [
        "export", "--model", "students", "--form", "lora", "--base", &*base,
    ];
    let extract = |rank: &str, out: &str| {
        let words = ["--bake-w", "3", "--extract", rank, "--out", out];
        workspace.succeed(&[&export[..], &words].concat()).0
    };
    let said = extract("500", "full");
    assert!(said.contains("rank 500 loses 0.0 %"), "{said}");
    let few = extract("2", "few");
    assert!(
        few.contains("rank 1 loses ") && few.contains("rank 2 loses "),
        "{few}"
    );
    let losses = few.split("loses ").skip(1).map(|rest| {
        let number = rest.split(' ').next().expect("a number");
        number.parse::<f64>().expect("a number")
    });
    let losses: Vec<f64> = losses.collect();
    assert!(losses[0] > losses[1] && losses[1] > 1.0, "{few}");

    let bake = ["--bake-w", "3", "--form", "folder", "--out", "fixed"];
    workspace.succeed(&[&["export", "--model", "students"], &bake[..]].concat());
    let student = sample(&workspace, "fixed", &[]);
    let of = |file: &str| {
        let image = sample(&workspace, &base, &["--lora", file, "--w", "0"]);
        distance(&image, &student)
    };
    let plain = distance(&sample(&workspace, &base, &["--w", "0"]), &student);
    let [full, few] = ["full", "few"].map(|folder| of(&format!("{folder}/kohya.safetensors")));
    assert!(
        full < 0.05 && full <= few && few < plain,
        "{full} {few} {plain}"
    );
    // PEFT's file has no norms.
    let peft = of("full/pytorch_lora_weights.safetensors");
    assert!(full <= peft && 8.0 * peft < plain, "{full} {peft} {plain}");
}

#[test]
fn the_file_of_peft_has_the_w_too() {
    let workspace = workspace();
    distilled(&workspace, "sd1", "[lora]\nrank = 2\nalpha = 3.0\n");
    let export = ["export", "--model", "students", "--bake-w", "3", "--form"];
    workspace.succeed(&[&export[..], &["lora", "--out", "lora"]].concat());
    workspace.succeed(&[&export[..], &["folder", "--out", "fixed"]].concat());
    let student = sample(&workspace, "fixed", &[]);
    let base = golden_path("sd1");
    let file = "lora/pytorch_lora_weights.safetensors";
    let with = sample(&workspace, &base, &["--lora", file, "--w", "0"]);
    assert!(distance(&with, &student) < 0.05, "another w");
    // PEFT has biases for all layers or for none.
    let peft = tensors(&workspace.path(file));
    for name in peft.keys() {
        let bias = name.replace("lora_A.weight", "lora_B.bias");
        assert!(peft.contains_key(&bias), "{bias}");
    }
    // Without the bias it is another image.
    workspace.succeed(&[
        "export", "--model", "students", "--form", "lora", "--out", "plain",
    ]);
    let file = "plain/pytorch_lora_weights.safetensors";
    let without = sample(&workspace, &base, &["--lora", file, "--w", "0"]);
    assert!(distance(&without, &student) > distance(&with, &student));
}

#[test]
fn a_lora_that_cannot_be_extracted_is_refused() {
    let workspace = workspace();
    distilled(&workspace, "sd1", "");
    let base = golden_path("sd1");
    let refuse = |words: &[&str], said: &str| {
        let export = [
            "export", "--model", "students", "--form", "lora", "--out", "x",
        ];
        workspace.refuse(&[&export[..], words].concat(), &[said]);
        assert!(!workspace.path("x").exists());
    };
    refuse(&["--extract", "2"], "--base");
    refuse(&["--extract", "0", "--base", &base], "--extract");
    refuse(
        &["--extract", "2", "--base", &golden_path("sdxl")],
        "different shapes",
    );
    refuse(
        &["--extract", "2", "--base", &golden_path("sd2")],
        "predicts",
    );
    refuse(
        &["--extract", "2", "--base", "students"],
        "weights of the base",
    );
    let single = [
        "export",
        "--model",
        "students",
        "--out",
        "x",
        "--extract",
        "2",
    ];
    workspace.refuse(
        &[&single[..], &["--base", &base, "--form", "gguf"]].concat(),
        &["--form lora"],
    );
}
