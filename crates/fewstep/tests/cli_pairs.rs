//! Measuring models that generate from control images, and LPIPS, through the real program.

mod tiny;
mod workspace;

use safetensors::{Dtype, tensor::TensorView};
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;
use tiny::{remade, save, teacher, write_image};
use workspace::{refuse, succeed};

const RECIPE: &str = r#"
method = "codi"
seed = 4
teacher = "teacher"
updates = 3
[data]
kind = "folder"
path = "real"
channels = 1
[condition]
kind = "bicubic"
factor = 4
[codi]
intervals = 8
[optim]
batch = 4
lr = 1e-3
[run]
log_every = 1
"#;

/// A folder with a tiny model that enlarges (`up/models/codi`), one that inpaints (`fill`), and
/// real images.
fn workspace() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    save(
        &remade(&teacher(), 4, [1, 32, 32], &["a", "b"]),
        path,
        "teacher",
    );
    for kind in 0..12 {
        let (split, class) = (["train", "test"][kind / 6], ["a", "b"][kind % 2]);
        write_image(
            &path.join(format!("real/{split}/{class}/{kind}.png")),
            32,
            kind,
        );
    }
    std::fs::write(path.join("codi.toml"), RECIPE).expect("written");
    succeed(path, &["distill", "codi.toml", "--out", "up"]);
    let mask = "condition={kind=\"inpaint\", mask=\"box\"}";
    succeed(
        path,
        &["distill", "codi.toml", "--out", "fill", "--set", mask],
    );
    folder
}

fn measure(folder: &Path, model: &str, words: &[&str]) -> Vec<Value> {
    let all = ["eval", "--model", model, "--data", "real", "--json"];
    let (out, _) = succeed(folder, &[&all[..], words].concat());
    serde_json::from_str(&out).expect("JSON rows")
}

fn number(row: &Value, path: &str) -> f64 {
    let value = row.pointer(path).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("no number {path} in {row}"))
}

/// AlexNet and linear layers with arbitrary weights, under the names of the port to JAX.
fn write_lpips(file: &Path) {
    let convs = [
        (11, 3, 64),
        (5, 64, 192),
        (3, 192, 384),
        (3, 384, 256),
        (3, 256, 256),
    ];
    let mut tensors = vec![];
    for (i, (kernel, inputs, outputs)) in convs.into_iter().enumerate() {
        let name = |part| format!("AlexNet_0.Conv_{i}.{part}");
        tensors.push((name("kernel"), vec![kernel, kernel, inputs, outputs]));
        tensors.push((name("bias"), vec![outputs]));
        tensors.push((
            format!("NetLinLayer_{i}.Conv_0.kernel"),
            vec![1, 1, outputs, 1],
        ));
    }
    let values: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(name, shape)| {
            let size: usize = shape.iter().product();
            let scale = (8.0 / (size / shape.last().unwrap_or(&1)) as f32).sqrt();
            let offset = if name.starts_with("Net") { 1.0 } else { 0.0 };
            (0..size)
                .flat_map(|i| {
                    (scale * (i as f32 * 1.7).sin() + offset)
                        .max(-1.0)
                        .to_le_bytes()
                })
                .collect()
        })
        .collect();
    let views = tensors.iter().zip(&values).map(|((name, shape), values)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), values);
        (name.as_str(), view.expect("as large as its shape"))
    });
    let bytes = safetensors::serialize(views, None).expect("bytes");
    std::fs::write(file, bytes).expect("written");
}

/// Held-out images are generated from their control images and compared with the originals, over
/// steps, seeds and samplers; the batch makes no difference.
#[test]
fn images_are_compared_with_the_originals() {
    let folder = workspace();
    let folder = folder.path();
    write_lpips(&folder.join("alex.safetensors"));
    let lpips = [
        "--lpips",
        "alex.safetensors",
        "--steps",
        "1,2",
        "--grid",
        "grid.png",
    ];
    let rows = measure(folder, "up", &lpips);
    assert_eq!(rows.len(), 2);
    for row in &rows {
        assert_eq!(
            (number(row, "/samples"), number(row, "/reference_samples")),
            (6.0, 6.0)
        );
        assert!((3.0..40.0).contains(&number(row, "/psnr/mean")), "{row}");
        assert!((-1.0..1.0).contains(&number(row, "/ssim/mean")));
        assert!(number(row, "/ssim/half_width") > 0.0);
        assert!(number(row, "/lpips/mean") > 0.0 && number(row, "/fid") > 0.0);
        assert_eq!(number(row, "/psnr/count"), 6.0);
    }
    // The control image, two numbers of steps, the original.
    let grid = tiny::read_image(&folder.join("grid.png")).shape;
    assert_eq!((grid.width, grid.height), (4 * 33 + 1, 6 * 33 + 1));
    let same = measure(
        folder,
        "up/models/codi",
        &[&lpips[..], &["--batch", "1"]].concat(),
    );
    for (a, b) in rows.iter().zip(&same) {
        assert_eq!(number(a, "/psnr/mean"), number(b, "/psnr/mean"));
    }
    let train = measure(folder, "up", &["--split", "train"]);
    assert!(number(&train[0], "/psnr/mean") != number(&rows[0], "/psnr/mean"));
    assert!(train[0].get("lpips").is_none_or(Value::is_null));

    let words = [
        "eval", "--model", "up", "--data", "real", "--seeds", "0,1", "--steps", "1",
    ];
    let (table, _) = succeed(folder, &words);
    for part in [
        "PSNR",
        "SSIM",
        "6 images against 6 real ones",
        "95 % interval",
        "--lpips FILE",
    ] {
        assert!(table.contains(part), "no `{part}` in:\n{table}");
    }
}

/// What is not masked stays as it is, so a model that inpaints is nearer to the original than one
/// that generates all of it.
#[test]
fn what_is_not_masked_is_put_back() {
    let folder = workspace();
    let folder = folder.path();
    let fill = measure(folder, "fill", &["--steps", "1"]);
    let up = measure(folder, "up", &["--steps", "1"]);
    assert!(number(&fill[0], "/psnr/mean") > number(&up[0], "/psnr/mean") + 2.0);
    // A ControlNet on its base, sampled as a teacher is.
    let words = ["--steps", "2", "--sampler", "ddim", "--w", "0"];
    let adapted = measure(
        folder,
        "teacher",
        &[&words[..], &["--controlnet", "up/models/codi"]].concat(),
    );
    assert_eq!(adapted[0]["sampler"], "ddim");
    assert_eq!(number(&adapted[0], "/network_calls"), 2.0);
}

#[test]
fn pairs_that_do_not_fit_are_refused() {
    let folder = workspace();
    let folder = folder.path();
    std::fs::rename(folder.join("up/models/codi"), folder.join("single")).expect("moved");
    let single = ["eval", "--model", "single", "--data", "real"];
    refuse(folder, &single, &["--condition", "bicubic"]);
    refuse(
        folder,
        &["eval", "--model", "single"],
        &["--data KIND:PATH"],
    );
    for (condition, parts) in [
        (
            "{ kind = \"bicubic\", factor = 2 }",
            ["[1, 8, 8]", "[1, 16, 16]"],
        ),
        ("{ kind = \"bicubik\" }", ["bicubik", "bicubic"]),
        ("bicubic", ["--condition", "bicubic"]),
    ] {
        refuse(
            folder,
            &[&single[..], &["--condition", condition]].concat(),
            &parts,
        );
    }
    let fits = [
        "--condition",
        "{ kind = \"bicubic\", factor = 4 }",
        "--steps",
        "1",
    ];
    succeed(folder, &[&single[..], &fits[..]].concat());
    let missing = [&single[..], &fits[..], &["--lpips", "nowhere"]].concat();
    refuse(folder, &missing, &["nowhere"]);
    write_lpips(&folder.join("alex.safetensors"));
    let unconditional = [
        "eval",
        "--model",
        "teacher",
        "--data",
        "real",
        "--lpips",
        "alex.safetensors",
    ];
    refuse(folder, &unconditional, &["--lpips", "--controlnet"]);
}

#[test]
fn lpips_is_a_distance_to_train_with() {
    let folder = workspace();
    let folder = folder.path();
    write_lpips(&folder.join("alex.safetensors"));
    let words = ["distill", "codi.toml", "--out", "lpips", "--set"];
    let guided = "codi.guidance_distance={lpips=\"alex.safetensors\"}";
    succeed(folder, &[&words[..], &[guided]].concat());
    let weights = |run: &str| {
        let file = folder
            .join(run)
            .join("models/codi/unet/diffusion_pytorch_model.safetensors");
        std::fs::read(file).expect("a model")
    };
    assert!(
        weights("lpips") != weights("up"),
        "the distance makes no difference"
    );
    let words = ["distill", "codi.toml", "--out", "x", "--set"];
    let noise = "codi.distance={lpips=\"alex.safetensors\"}";
    refuse(
        folder,
        &[&words[..], &[noise]].concat(),
        &["consistency = \"image\""],
    );
    let missing = "codi.guidance_distance={lpips=\"nowhere.safetensors\"}";
    refuse(
        folder,
        &[&words[..], &[missing]].concat(),
        &["nowhere.safetensors"],
    );
}
