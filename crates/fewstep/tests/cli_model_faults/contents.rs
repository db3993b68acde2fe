//! Weights and metadata that cannot be right.

use super::*;

/// Sets the first value of the tensor whose name ends like this.
fn spoil(file: &Path, ending: &str, value: f32) {
    edit_tensors(file, |tensors, _| {
        let found = tensors.iter_mut().find(|(name, ..)| name.ends_with(ending));
        let (_, dtype, _, data) = found.expect("there");
        match dtype {
            safetensors::Dtype::F16 => {
                let bits: u16 = if value.is_nan() { 0x7e00 } else { 0x7c00 };
                data[..2].copy_from_slice(&bits.to_le_bytes());
            }
            _ => data[..4].copy_from_slice(&value.to_le_bytes()),
        }
    });
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let home = folder();
    let folder = home.path();
    for value in [f32::NAN, f32::INFINITY] {
        save(&teacher(), folder, "model");
        let file = folder.join("model").join(WEIGHTS_FILE);
        spoil(&file, "conv_out.bias", value);
        let parts = ["infinite or not a number", "`conv_out.bias`", "copy"];
        let parts = parts.map(|part| part.trim_matches('`'));
        refuse(folder, &sample(&["--out", "x.png"]), &parts);
        for (part, file, ending) in [
            ("unet", "diffusion_pytorch_model.fp16", "conv_out.bias"),
            (
                "vae",
                "diffusion_pytorch_model.fp16",
                "decoder.conv_out.bias",
            ),
            ("text_encoder", "model.fp16", "final_layer_norm.bias"),
        ] {
            let name = format!("{part}-{value}");
            golden(folder, "latent/sd1", &name);
            let file = folder
                .join(&name)
                .join(part)
                .join(format!("{file}.safetensors"));
            spoil(&file, ending, value);
            let words = [
                "sample", "--model", &name, "--prompt", "x", "--out", "x.png",
            ];
            refuse(folder, &words, &["infinite or not a number", part]);
        }
    }
    assert!(!folder.join("x.png").exists());
}

/// Weights that are numbers may still give none, which would be a black image.
#[test]
fn images_that_are_no_numbers_are_refused() {
    let home = folder();
    let folder = home.path();
    save(&teacher(), folder, "model");
    edit_tensors(&folder.join("model").join(WEIGHTS_FILE), |tensors, _| {
        for (.., data) in tensors {
            let huge = 3e38f32.to_le_bytes().into_iter().cycle();
            data.iter_mut().zip(huge).for_each(|(to, byte)| *to = byte);
        }
    });
    let parts = ["infinite or not a number", "smaller w"];
    refuse(folder, &sample(&["--out", "x.png"]), &parts);
    assert!(!folder.join("x.png").exists());
}

#[test]
fn what_a_model_says_of_itself_is_checked() {
    let home = folder();
    let folder = home.path();
    type Change = fn(&mut Value);
    let changes: [(Change, &str); 9] = [
        (
            |d| d["recipe"]["resolution"] = json!([1, 1_u64 << 40, 16]),
            "resolution",
        ),
        (
            |d| d["recipe"]["resolution"] = json!([3, 16, 16]),
            "3 channels",
        ),
        (
            |d| d["recipe"]["resolution"] = json!([1, 0, 0]),
            "resolution",
        ),
        (|d| d["recipe"]["classes"] = json!(["one"]), "1 classes"),
        (|d| d["recipe"]["version"] = json!(99), "version 99"),
        (|d| d["network"]["blocks"] = json!(1_u64 << 60), "blocks"),
        (
            |d| d["network"]["widths"] = json!([1_u64 << 60, 16]),
            "widths",
        ),
        (
            |d| {
                d["recipe"]["guidance"] =
                    json!({"kind": "input", "w_min": 0, "w_max": 4, "default": 1})
            },
            "no input for w",
        ),
        (
            |d| {
                d["recipe"]["schedule"] = json!({"kind": "discrete", "betas": "linear", "beta_start": 1e-4,
                    "beta_end": 0.02, "steps": 1_u64 << 50, "zero_terminal_snr": false});
            },
            "schedule",
        ),
    ];
    for (change, expected) in changes {
        save(&teacher(), folder, "model");
        describe(&folder.join("model").join(WEIGHTS_FILE), change);
        refuse(folder, &sample(&["--out", "x.png"]), &[expected]);
        refuse(folder, &["info", "model"], &[expected]);
    }
    for (file, field, value) in [
        ("unet/config.json", "layers_per_block", json!(1_u64 << 60)),
        ("unet/config.json", "sample_size", json!(1_u64 << 40)),
        ("vae/config.json", "layers_per_block", json!(1_u64 << 60)),
        (
            "text_encoder/config.json",
            "num_hidden_layers",
            json!(1_u64 << 60),
        ),
        (
            "scheduler/scheduler_config.json",
            "num_train_timesteps",
            json!(1_u64 << 50),
        ),
    ] {
        golden(folder, "latent/sd1", field);
        edit(&folder.join(field).join(file), |config| {
            config[field] = value
        });
        let words = [
            "sample", "--model", field, "--prompt", "x", "--out", "x.png",
        ];
        refuse(folder, &words, &["must be at least"]);
        std::fs::remove_dir_all(folder.join(field)).expect("removed");
    }
}

#[test]
fn names_in_files_do_not_reach_the_terminal_as_they_are() {
    let home = folder();
    let folder = home.path();
    let mut model = teacher();
    model.recipe.classes[0] = "red \u{1b}[31m\u{9b}0m\nRole: other".into();
    model.recipe.provenance.data = "\u{1b}]0;title\u{7}".into();
    save(&model, folder, "model");
    let hidden = |text: &str| text.chars().all(|c| !c.is_control() || c == '\n');
    for words in [
        vec!["info", "model"],
        vec!["info", "model", "--json"],
        sample(&["--class", "other", "--out", "x.png"]),
        sample(&["--out", "x.png", "--json"]),
    ] {
        let output = run(folder, &words);
        for bytes in [&output.stdout, &output.stderr] {
            let text = String::from_utf8_lossy(bytes);
            assert!(hidden(&text), "{words:?}: {text:?}");
            assert!(!text.contains("\nRole: other"), "{words:?}: {text}");
        }
        if words.contains(&"--json") {
            let _: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        }
    }
    let file = folder.join("model").join(WEIGHTS_FILE);
    edit_tensors(&file, |tensors, _| tensors[0].0 = "\u{1b}[2Jgone\r".into());
    let output = run(folder, &["info", "model"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(hidden(&String::from_utf8_lossy(&output.stderr)));
}
