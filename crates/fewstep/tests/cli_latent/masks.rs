//! Latent models for inpainting.

use super::*;
use std::ops::Range;

pub(super) const MASKS: &str = "[condition]\nkind = \"inpaint\"\nmask = \"mixed\"\nmasks = 3\n";

#[test]
fn an_inpainting_model_is_distilled_killed_and_resumed() {
    let workspace = workspace();
    let text = format!("{DISTILL}{MASKS}");
    let recipe = recipe(&workspace, "distill.toml", &text, "inpaint");
    workspace.succeed(&["distill", &recipe, "--out", "students"]);
    let kills = workspace.run_with_kills(&["distill", &recipe, "--out", "killed"]);
    assert!(kills > 1, "the run ended before it could be killed");
    let (whole, killed) = (workspace.path("students"), workspace.path("killed"));
    assert_same_run(&whole, &killed, &["guided", "steps-2", "steps-1"]);
    assert_ne!(weights(&whole, "guided"), weights(&whole, "steps-2"));
    let config = json(&whole.join("models/steps-1/unet/config.json"));
    assert_eq!(config["in_channels"], 9);
    let index = json(&whole.join("models/steps-1/model_index.json"));
    assert_eq!(index["_class_name"], "StableDiffusionInpaintPipeline");
    // Without it diffusers does not read a pipeline for inpainting.
    assert!(index["_diffusers_version"].is_string(), "{index}");
    let grid = image::read(&whole.join("samples/steps-1.png"), None, 3).expect("a grid");
    // Twelve rows of three images, three rows next to one another.
    assert_eq!(
        (grid.shape.width, grid.shape.height),
        (9 * 17 + 1, 4 * 17 + 1)
    );

    let mask = Image {
        shape: ImageShape {
            channels: 1,
            height: 16,
            width: 16,
        },
        pixels: (0..256).map(|i| if i % 16 < 5 { 255 } else { 0 }).collect(),
    };
    write_png(workspace.path("mask.png"), &mask).expect("written");
    let image = workspace.path("captioned/3.png").display().to_string();
    let fill = |steps: &str| {
        let out = format!("filled-{steps}");
        workspace.succeed(&[
            "inpaint",
            "--model",
            "students",
            "--steps",
            steps,
            "--image",
            &image,
            "--mask",
            "mask.png",
            "--prompt",
            "a cat",
            "--w",
            "3",
            "--out-dir",
            &out,
        ]);
        let file = workspace.path(&out).join("000000.png");
        image::read(&file, None, 3).expect("an image")
    };
    assert_ne!(fill("1"), fill("2"));
}

/// Against the autoencoder on masked images, and PyTorch's nearest pixel by its index.
#[test]
fn masked_latents_of_an_inpainting_model_are_made_once() {
    let workspace = workspace();
    let text = format!("{DISTILL}{MASKS}");
    let recipe = recipe(&workspace, "distill.toml", &text, "inpaint");
    workspace.succeed(&["distill", &recipe, "--dry-run"]);
    let cache = caches(&workspace).remove(0);
    assert_masked(&workspace, &cache, 0..10, 0);
}

/// Checks what is kept of some of the captioned images and their masks, of which the first has this
/// number, against the autoencoder.
pub(super) fn assert_masked(workspace: &Workspace, cache: &Path, images: Range<usize>, first: u64) {
    let (shape, concat) = tensors(cache)["concat"].clone();
    assert_eq!(shape, [images.len(), 2, 3, 5, 8, 8]);
    let device = Device::flex();
    let vae = Pipeline::load(&golden("inpaint"), &device)
        .expect("a model")
        .vae;
    let masks = Masks {
        kind: MaskKind::Mixed,
        each: 3,
    };
    for (example, mirrored, turn) in [(0, 0, 0), (2, 1, 2), (images.len() - 1, 1, 1)] {
        let copy = 2 * example + mirrored;
        let mask = masks.mask(first.wrapping_add((3 * copy + turn) as u64), 16, 16);
        let number = images.start + example;
        let file = workspace.path(&format!("captioned/{number}.png"));
        let image = image::read(&file, None, 3).expect("an image");
        let seen = (0..3 * 256).map(|i| {
            let (row, column) = (i / 16, i % 16);
            let column = if mirrored == 1 { 15 - column } else { column };
            let value = image::to_f32(image.pixels[16 * row + column]);
            if mask[i % 256] == 1.0 { 0.0 } else { value }
        });
        let seen = TensorData::new(seen.collect::<Vec<f32>>(), [1, 3, 16, 16]);
        let latents = vae.encode(Tensor::from_data(seen, &device));
        let latents = latents.into_data().try_to_vec::<f32>().expect("f32 data");
        let corners = (0..64).map(|i| mask[32 * (i / 8) + 2 * (i % 8)]);
        let expected: Vec<f32> = corners.chain(latents).collect();
        let stored = &concat[5 * 64 * (3 * copy + turn)..][..5 * 64];
        for (a, b) in stored.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-5, "{a} for {b}");
        }
    }
}

#[test]
fn masks_that_make_no_sense_are_refused() {
    let workspace = workspace();
    let recipe = recipe(&workspace, "distill.toml", DISTILL, "inpaint");
    let refuse = |set: &[&str], words: &[&str]| {
        let sets: Vec<&str> = set.iter().flat_map(|set| ["--set", set]).collect();
        let run = ["distill", &recipe, "--out", "students"];
        workspace.refuse(&[&run[..], &sets].concat(), words);
    };
    refuse(&[], &["for inpainting", "kind = \"inpaint\""]);
    refuse(
        &["condition={kind=\"edges\"}"],
        &["for inpainting", "inpaint"],
    );
    refuse(
        &["condition={kind=\"inpaint\",masks=0}"],
        &["condition.masks", "at least"],
    );
    let plain = format!("teacher={}", golden("sd1").display());
    refuse(
        &[&plain, "condition={kind=\"inpaint\"}"],
        &["[condition]", "has not learnt"],
    );
    // The network of such a model sees an image, but no mask.
    let instruct = format!("teacher={}", golden("instruct").display());
    for condition in [&[][..], &["condition={kind=\"inpaint\"}"]] {
        let set = [&[instruct.as_str()], condition].concat();
        refuse(&set, &["by instruction", "kind = \"instruct\""]);
    }
}
