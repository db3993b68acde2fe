//! Students that are trained as a LoRA.

use super::*;

/// (B A) of a layer at a place, under the names of either tool.
fn product(
    a: &(Vec<usize>, Vec<f32>),
    b: &(Vec<usize>, Vec<f32>),
    row: usize,
    column: usize,
) -> f32 {
    let (rank, inputs) = (a.0[0], a.0[1]);
    (0..rank)
        .map(|r| b.1[row * rank + r] * a.1[r * inputs + column])
        .sum()
}

/// A weight of the teacher, whose file has 16-bit floats.
fn base_weights(name: &str) -> Vec<f32> {
    let bytes = std::fs::read(golden("sd1").join("unet/diffusion_pytorch_model.fp16.safetensors"));
    let bytes = bytes.expect("there");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("whole");
    let view = file.tensor(name).expect("there");
    let halves = view.data().chunks_exact(2);
    halves
        .map(|b| half(u16::from_le_bytes(b.try_into().expect("two"))))
        .collect()
}

/// An ordinary 16-bit float.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    match exponent {
        0 => sign * fraction * 2f32.powi(-24),
        _ => sign * (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
    }
}

#[test]
fn a_lora_student_equals_its_base_and_the_exported_files() {
    let workspace = workspace();
    let text = format!("{DISTILL}[lora]\nrank = 2\nalpha = 3.0\n");
    let recipe = recipe(&workspace, "lora.toml", &text, "tiny");
    // A teacher that takes no w; the one of the recipe does.
    let teacher = golden_path("sd1");
    let set = format!("teacher={teacher}");
    let run = ["distill", &recipe, "--set", &set, "--out"];
    workspace.succeed(&[&run[..], &["students"]].concat());
    let kills = workspace.run_with_kills(&[&run[..], &["killed"]].concat());
    assert!(kills > 1, "the run ended before it could be killed");
    assert_same_run(
        &workspace.path("students"),
        &workspace.path("killed"),
        &["guided", "steps-2", "steps-1"],
    );

    workspace.succeed(&[
        "export", "--model", "students", "--steps", "1", "--form", "lora", "--out", "lora",
    ]);
    // The one w that readers of kohya's names can have is a bias.
    let (bake, form) = (["--bake-w", "3"], ["--form", "lora", "--out", "baked"]);
    let export = ["export", "--model", "students", "--steps", "1"];
    let said = workspace.run(&[&export[..], &bake, &form].concat());
    assert!(said.status.success() && stderr(&said).contains("--for sd-cpp"));
    let baked = tensors(&workspace.path("baked/kohya.safetensors"));
    let name = "lora_unet_time_embedding_linear_1";
    let (shape, bias) = &baked[&format!("{name}.diff_b")];
    assert!(shape[0] == bias.len() && bias.iter().any(|value| *value != 0.0));
    let folder = ["--form", "folder", "--out", "fixed"];
    workspace.succeed(&[&export[..], &bake, &folder].concat());
    let weights = "unet/diffusion_pytorch_model.safetensors";
    let [fixed, free] = ["fixed", "students/models/steps-1"].map(|model| {
        let all = tensors(&workspace.path(model).join(weights));
        all["time_embedding.linear_1.bias"].1.clone()
    });
    for ((fixed, free), bias) in fixed.iter().zip(&free).zip(bias) {
        assert!((fixed - free - bias).abs() < 1e-6);
    }
    // On the base it gives the images of the student with that w.
    let sample = |model: &str, out: &str, words: &[&str]| {
        let same = ["--prompt", "a cat", "--steps", "1", "--sampler", "ddim"];
        let words = [
            &["sample", "--model", model, "--out", out],
            &same[..],
            words,
        ]
        .concat();
        workspace.succeed(&words);
        let image = image::read(&workspace.path(out), None, 3).expect("an image");
        image.pixels
    };
    let student = sample("fixed", "student.png", &[]);
    let on_base = ["--lora", "baked/kohya.safetensors", "--w", "0"];
    let on_base = sample(&teacher, "on-base.png", &on_base);
    let base = sample(&teacher, "base.png", &["--w", "0"]);
    assert_ne!(base, student, "the LoRA changes something");
    let near = |(a, b): (&u8, &u8)| a.abs_diff(*b) <= 1;
    assert!(on_base.iter().zip(&student).all(near));
    let plain = workspace.run(&[&export[..], &["--form", "lora", "--out", "again"]].concat());
    assert!(stderr(&plain).contains("--bake-w"), "no warning");

    let peft = tensors(&workspace.path("lora/pytorch_lora_weights.safetensors"));
    let kohya = tensors(&workspace.path("lora/kohya.safetensors"));
    assert!(workspace.path("lora/w_embedding.safetensors").is_file());
    let student = tensors(
        &workspace.path("students/models/steps-1/unet/diffusion_pytorch_model.safetensors"),
    );
    let guided =
        tensors(&workspace.path("students/models/guided/unet/diffusion_pytorch_model.safetensors"));
    let layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k";
    let (shape, merged) = &student[&format!("{layer}.weight")];
    let [a, b] = ["A", "B"].map(|part| &peft[&format!("unet.{layer}.lora_{part}.weight")]);
    let name = format!("lora_unet_{}", layer.replace('.', "_"));
    let [down, up] = ["down", "up"].map(|part| &kohya[&format!("{name}.lora_{part}.weight")]);
    assert_eq!(kohya[&format!("{name}.alpha")].1, [3.0]);
    let base = base_weights(&format!("{layer}.weight"));
    let mut largest: f32 = 0.0;
    for row in 0..shape[0] {
        for column in 0..shape[1] {
            let change = merged[row * shape[1] + column] - base[row * shape[1] + column];
            assert!((change - product(a, b, row, column)).abs() < 1e-6);
            assert!((change - 1.5 * product(down, up, row, column)).abs() < 1e-6);
            largest = largest.max(change.abs());
        }
    }
    assert!(largest > 1e-5, "nothing was learnt");
    // Other weights stay the teacher's, except the input for w.
    for (name, (_, values)) in &student {
        let changed = ["to_q", "to_k", "to_v", "to_out", "cond_proj"]
            .iter()
            .any(|part| name.contains(part));
        assert!(changed || guided[name].1 == *values, "{name} moved");
    }
    workspace.refuse(
        &[
            "export", "--model", &teacher, "--form", "lora", "--out", "none",
        ],
        &["LoRA", "[lora]"],
    );
}
