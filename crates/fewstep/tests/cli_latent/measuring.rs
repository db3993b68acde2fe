//! Measuring latent models.

use super::*;

/// A ResNet for CIFAR with one block per stage and arbitrary weights.
fn write_resnet(file: &Path) {
    let mut tensors: Vec<(String, Vec<usize>)> = vec![];
    let mut layer = |conv: &str, norm: &str, from: usize, to: usize| {
        tensors.push((format!("{conv}.weight"), vec![to, from, 3, 3]));
        for part in ["weight", "bias", "running_mean", "running_var"] {
            tensors.push((format!("{norm}.{part}"), vec![to]));
        }
    };
    layer("conv1", "bn1", 3, 16);
    for (stage, from, to) in [(1, 16, 16), (2, 16, 32), (3, 32, 64)] {
        let of = |part: &str| format!("layer{stage}.0.{part}");
        layer(&of("conv1"), &of("bn1"), from, to);
        layer(&of("conv2"), &of("bn2"), to, to);
    }
    tensors.push(("linear.weight".into(), vec![10, 64]));
    tensors.push(("linear.bias".into(), vec![10]));
    let values = |shape: &[usize]| -> Vec<u8> {
        let count: usize = shape.iter().product();
        // Positive, as variances are.
        let value = |i: usize| 0.01 + (i * 7919 % 101) as f32 / 1000.0;
        (0..count).flat_map(|i| value(i).to_le_bytes()).collect()
    };
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, shape)| values(shape)).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape), bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("sizes fit");
        (name.as_str(), view)
    });
    let file_bytes = safetensors::serialize(views, None).expect("a file");
    std::fs::write(file, file_bytes).expect("written");
}

/// A golden model, for images of 32x32.
fn enlarged(workspace: &Workspace, name: &str) -> String {
    let folder = workspace.path("large").join(name);
    let parts = [
        "",
        "unet",
        "vae",
        "text_encoder",
        "tokenizer",
        "class_embedder",
        "scheduler",
    ];
    for part in parts.map(|part| golden(name).join(part)) {
        for entry in std::fs::read_dir(&part).into_iter().flatten().flatten() {
            if entry.path().is_file() {
                let target = folder.join(part.strip_prefix(golden(name)).expect("inside"));
                std::fs::create_dir_all(&target).expect("made");
                std::fs::copy(entry.path(), target.join(entry.file_name())).expect("copied");
            }
        }
    }
    let config = folder.join("unet/config.json");
    let mut unet = json(&config);
    unet["sample_size"] = 16.into();
    std::fs::write(config, unet.to_string()).expect("written");
    folder.display().to_string()
}

#[test]
fn models_that_take_prompts_are_measured() {
    let workspace = workspace();
    let model = enlarged(&workspace, "sd1");
    write_resnet(&workspace.path("resnet.safetensors"));
    let measure = |model: &str, words: &[&str]| -> Vec<serde_json::Value> {
        let common = [
            "eval",
            "--model",
            model,
            "--features",
            "cifar-resnet",
            "--weights",
        ];
        let rest = ["resnet.safetensors", "--json"];
        let count: &[&str] = match words.contains(&"--count") {
            true => &[],
            false => &["--count", "4"],
        };
        let output = workspace.run(&[&common[..], &rest, count, words].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {error}");
        serde_json::from_slice(&output.stdout).expect("JSON rows")
    };
    let rows = measure(
        &model,
        &[
            "--data",
            "captioned:captioned",
            "--steps",
            "1,2",
            "--w",
            "0",
        ],
    );
    assert_eq!(rows.len(), 2);
    for row in rows {
        let share = row["retrieval"]["first"].as_f64().expect("a share");
        assert!([0.0, 0.25, 0.5, 0.75, 1.0].contains(&share), "{row}");
        assert_eq!(
            (&row["samples"], &row["reference_samples"]),
            (&4.into(), &10.into())
        );
    }
    // More images than captions are whole turns through all of them.
    let more = ["--data", "captioned:captioned", "--steps", "1", "--count"];
    let rows = measure(&model, &[&more[..], &["13"]].concat());
    assert_eq!(
        (&rows[0]["samples"], &rows[0]["retrieval"]["texts"]),
        (&10.into(), &10.into())
    );
    let common = [
        "eval",
        "--model",
        &model,
        "--features",
        "cifar-resnet",
        "--weights",
    ];
    let words = ["resnet.safetensors", "--data", "folder:captioned"];
    workspace.refuse(&[&common[..], &words].concat(), &["captioned:PATH"]);

    // A model of classes is measured as one on pixels is, with any images.
    let classes = enlarged(&workspace, "classes");
    let data = ["--data", "folder:captioned", "--steps", "1", "--w", "0"];
    let rows = measure(&classes, &data);
    assert_eq!(rows[0]["samples"], 4);
    assert!(
        rows[0]["fid"].is_f64() && rows[0]["retrieval"].is_null(),
        "{}",
        rows[0]
    );

    let condition = "condition = { kind = \"bicubic\", factor = 4 }";
    let text = CODI.replace(
        "condition = { kind = \"instruct\", path = \"BEFORE\" }",
        condition,
    );
    let text = text
        .replace("size = 16", "size = 32")
        .replace("MODEL", &model);
    let recipe = recipe(&workspace, "codi.toml", &text, "sd1");
    workspace.succeed(&["distill", &recipe, "--out", "codi"]);
    let words = [
        "--data",
        "captioned:captioned",
        "--split",
        "train",
        "--steps",
        "1",
    ];
    let rows = measure("codi", &[&words[..], &["--grid", "grid.png"]].concat());
    assert!(
        rows[0]["psnr"]["mean"].as_f64().expect("a mean") > 0.0,
        "{}",
        rows[0]
    );
    assert!(workspace.path("grid.png").is_file());
}
