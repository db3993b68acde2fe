//! ControlNets and their bases.

use super::*;

/// Killed runs equal uninterrupted ones bit for bit, with all weights trained or only the
/// ControlNet.
#[test]
fn killed_and_resumed_runs_equal_uninterrupted_ones() {
    let workspace = taught();
    let recipe = workspace.recipe("codi.toml", CODI);
    for train in ["full", "controlnet"] {
        let (set, other) = (format!("train={train}"), format!("{train}-killed"));
        let words = ["distill", &recipe, "--set", &set, "--out"];
        workspace.succeed(&[&words[..], &[train]].concat());
        let kills = workspace.run_with_kills(&[&words[..], &[&other]].concat());
        assert!(kills > 1, "the run ended before it could be killed");
        assert_same_run(&workspace.path(train), &workspace.path(&other), &["codi"]);
    }
}

/// `train = "controlnet"` leaves the base as it was, to the bit, and `train = "full"` does not.
#[test]
fn a_controlnet_does_not_change_its_base() {
    let workspace = taught();
    let few = "updates=6";
    distil(&workspace, "pe", &[few, "train=controlnet"]);
    distil(&workspace, "full", &[few]);
    let teacher = weights(&workspace.path("teacher"), "teacher");
    let (pe, full) = (workspace.path("pe"), workspace.path("full"));
    assert!(weights(&pe, "codi") == teacher, "the base has moved");
    assert!(weights(&full, "codi") != teacher, "the base has not moved");
    assert!(!controlnet(&pe, "codi").is_empty());
    assert!(controlnet(&pe, "codi") != controlnet(&full, "codi"));
    // Adam has moments only for the ControlNet: twice its size, and their names.
    let moments = |run: &Path| {
        let checkpoints = run.join("checkpoints").read_dir().expect("there");
        let files = checkpoints.map(|entry| entry.expect("there").path().join("optimizer.bin"));
        let sizes = files.filter_map(|file| Some(file.metadata().ok()?.len()));
        sizes.max().expect("a checkpoint within the phase") as f64
    };
    let bytes = |tensors: &[(String, Vec<u8>)]| -> f64 {
        tensors.iter().map(|(_, bytes)| bytes.len() as f64).sum()
    };
    let (own, base) = (bytes(&controlnet(&pe, "codi")), bytes(&teacher));
    let [of_pe, of_full] = [&pe, &full].map(|run| moments(run));
    assert!(of_full > 2.0 * (own + base), "{of_full}");
    // The rest are the names of parameters, as many bytes for each of both runs.
    let names = of_full - 2.0 * (own + base);
    assert!((2.0 * own..2.0 * own + names).contains(&of_pe), "{of_pe}");
    let (run, _) = workspace.succeed(&["info", "pe"]);
    assert!(run.contains("6 of 6 updates"), "{run}");
    let (model, _) = workspace.succeed(&["info", "pe/models/codi"]);
    for word in ["pe-codi", "fewstep upscale", "4x4", "1 to 4 steps"] {
        assert!(model.contains(word), "no {word} in {model}");
    }
}

/// A ControlNet works on another fine-tune of its base, and is refused with a reason on a base that
/// it does not fit.
#[test]
fn a_controlnet_moves_between_bases() {
    let workspace = taught();
    distil(&workspace, "pe", &["updates=6", "train=controlnet"]);
    let train = workspace.recipe("train.toml", TRAIN);
    let few = [
        "--set",
        "updates=6",
        "--set",
        "optim.warmup=0",
        "--set",
        "seed=9",
    ];
    workspace.succeed(&[&["train", &train, "--out", "other"], &few[..]].concat());
    let wide = ["--set", "updates=1", "--set", "network.widths=[8, 24]"];
    workspace.succeed(&[&["train", &train, "--out", "wide"], &wide[..]].concat());
    let noise = ["--set", "updates=1", "--set", "prediction=eps"];
    workspace.succeed(&[&["train", &train, "--out", "noise"], &noise[..]].concat());
    let folder = workspace.folder.path();
    write_image(&folder.join("small.png"), 4, 1);
    let upscale = |base: &str| {
        let out = format!("{base}.png");
        let words = [
            "upscale",
            "--model",
            base,
            "--controlnet",
            "pe/models/codi",
            "--image",
            "small.png",
            "--out",
            &out,
        ];
        workspace.succeed(&words);
        read_image(&folder.join(out))
    };
    assert_ne!(upscale("teacher").pixels, upscale("other").pixels);
    for (base, words) in [
        ("wide", ["[8, 16]", "[8, 24]"]),
        ("noise", ["predicts V", "predicts Eps"]),
    ] {
        let arguments = [
            "upscale",
            "--model",
            base,
            "--controlnet",
            "pe/models/codi",
            "--image",
            "small.png",
            "--out",
            "x.png",
        ];
        workspace.refuse(&arguments, &words);
    }
    let none = [
        "upscale",
        "--model",
        "teacher",
        "--image",
        "small.png",
        "--out",
        "x.png",
    ];
    workspace.refuse(&none, &["takes no control image", "--controlnet"]);
}
