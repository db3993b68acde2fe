//! Conditional and consistency distillation, and the verbs that draw from control images, through
//! the binary.

mod tiny;
mod workspace;

use std::path::Path;
use tiny::{read_image, write_image};
use workspace::{TRAIN, Workspace, assert_same_run, controlnet, weights};

const CODI: &str = r#"
method = "codi"
seed = 4
teacher = "TEACHER"
updates = 16
train = "full"
flip = true
[data]
kind = "idx"
path = "DATA"
[condition]
kind = "bicubic"
factor = 2
[codi]
intervals = 8
[optim]
batch = 8
micro_batch = 4
lr = 1e-3
ema = { decay = 0.99 }
[run]
log_every = 2
checkpoint_every = 4
"#;

/// A workspace with a tiny trained teacher.
fn taught() -> Workspace {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", TRAIN);
    let few = ["--set", "updates=4", "--set", "optim.warmup=0"];
    workspace.succeed(&[&["train", &train, "--out", "teacher"], &few[..]].concat());
    workspace
}

/// Runs a recipe of the workspace under another name and with other settings.
fn distil(workspace: &Workspace, out: &str, settings: &[&str]) {
    let recipe = workspace.recipe("codi.toml", CODI);
    let mut words = vec!["distill", &recipe, "--out", out];
    settings
        .iter()
        .for_each(|setting| words.extend(["--set", setting]));
    workspace.succeed(&words);
}

/// Killed runs are bit for bit the uninterrupted ones, whether all is trained or the ControlNet
/// alone.
#[test]
fn killed_and_resumed_runs_equal_uninterrupted_ones() {
    let workspace = taught();
    let recipe = workspace.recipe("codi.toml", CODI);
    for train in ["full", "adapter"] {
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
fn an_controlnet_leaves_its_base_alone() {
    let workspace = taught();
    let few = "updates=6";
    distil(&workspace, "pe", &[few, "train=adapter"]);
    distil(&workspace, "full", &[few]);
    let teacher = weights(&workspace.path("teacher"), "teacher");
    let (pe, full) = (workspace.path("pe"), workspace.path("full"));
    assert!(weights(&pe, "codi") == teacher, "the base has moved");
    assert!(weights(&full, "codi") != teacher, "the base has not moved");
    assert!(!controlnet(&pe, "codi").is_empty());
    assert!(controlnet(&pe, "codi") != controlnet(&full, "codi"));
    // Adam's moments are those of the ControlNet alone: twice its size, and what names them.
    let moments = |run: &Path| {
        let checkpoints = run.join("checkpoints").read_dir().expect("there");
        let files = checkpoints.map(|entry| entry.expect("there").path().join("optimizer.bin"));
        let sizes = files.filter_map(|file| Some(file.metadata().ok()?.len()));
        sizes.max().expect("a checkpoint within the phase") as f64
    };
    let bytes = |tensors: &[(String, Vec<u8>)]| -> f64 {
        tensors.iter().map(|(_, bytes)| bytes.len() as f64).sum()
    };
    let (alone, base) = (bytes(&controlnet(&pe, "codi")), bytes(&teacher));
    let [of_pe, of_full] = [&pe, &full].map(|run| moments(run));
    assert!(of_full > 2.0 * (alone + base), "{of_full}");
    // The rest are the names of parameters, as many bytes for each of both runs.
    let names = of_full - 2.0 * (alone + base);
    assert!(
        (2.0 * alone..2.0 * alone + names).contains(&of_pe),
        "{of_pe}"
    );
    let folder = workspace.folder.path();
    let (run, _) = tiny::succeed(folder, &["info", "pe"]);
    assert!(run.contains("6 of 6 updates"), "{run}");
    let (model, _) = tiny::succeed(folder, &["info", "pe/models/codi"]);
    for word in ["pe-codi", "fewstep upscale", "4x4", "1 to 4 steps"] {
        assert!(model.contains(word), "no {word} in {model}");
    }
}

/// Every method and reading runs, and what comes out says how it is sampled.
#[test]
fn methods_and_readings_run() {
    let workspace = taught();
    let few = "updates=2";
    for (out, settings) in [
        ("image", vec!["codi.consistency=image", "codi.boundary=lcm"]),
        (
            "base",
            vec![
                "codi.ode_model=base",
                "teacher_precision=bf16",
                "codi.ode_noise=predicted",
                "codi.shared_t=false",
            ],
        ),
        ("guided", vec!["w=[0.0, 2.0]", "codi.ode_model=average"]),
        (
            "huber",
            vec![
                "codi.distance={pseudo-huber=0.001}",
                "codi.error_weight={min-snr=5.0}",
            ],
        ),
        ("mix", vec!["adapter.fusion=mix", "adapter.initial=random"]),
        (
            "inpaint",
            vec!["condition={kind=\"inpaint\", mask=\"mixed\"}"],
        ),
        ("edges", vec!["condition={kind=\"edges\"}"]),
        ("taught", vec!["method=denoising"]),
        ("lcm", vec!["method=consistency", "w=[0.0, 2.0]"]),
        (
            "heun",
            vec!["method=consistency", "consistency.solver=heun"],
        ),
    ] {
        distil(&workspace, out, &[&[few], settings.as_slice()].concat());
        assert!(
            workspace
                .path(out)
                .join("samples")
                .read_dir()
                .is_ok_and(|mut d| d.next().is_some()),
            "{out}"
        );
    }
    // Few steps first, then the condition: what has w as an input is told w, and stays a model of
    // few steps.
    let teacher = "teacher=lcm-alone/models/consistency";
    let text = CODI.replace("[condition]\nkind = \"bicubic\"\nfactor = 2\n", "");
    let alone = workspace.recipe("alone.toml", &text);
    let lcm = [
        "--set",
        few,
        "--set",
        "method=consistency",
        "--set",
        "w=[0.0, 2.0]",
    ];
    workspace.succeed(&[&["distill", &alone, "--out", "lcm-alone"], &lcm[..]].concat());
    distil(
        &workspace,
        "first",
        &[few, teacher, "method=denoising", "train=adapter"],
    );
    let (info, _) = tiny::succeed(
        workspace.folder.path(),
        &["info", "first/models/conditioned"],
    );
    assert!(
        info.contains("1 to 4 steps") && info.contains("fewstep upscale"),
        "{info}"
    );
    let recipe = workspace.recipe("codi.toml", CODI);
    let codi = ["distill", &recipe, "--out", "x", "--set", teacher];
    workspace.refuse(&codi, &["takes w as an input", "before guidance"]);
    // Condition first, then few steps: the teacher of the second run takes the condition already.
    distil(
        &workspace,
        "second",
        &[
            few,
            "teacher=taught/models/conditioned",
            "method=consistency",
        ],
    );
    workspace.refuse(&["sample", "--model", "second"], &["fewstep upscale"]);
    for (set, words) in [
        ("condition.factor=4", vec!["[1, 4, 4]", "[1, 2, 2]"]),
        ("condition={kind=\"edges\"}", vec!["upscale", "render"]),
    ] {
        let teacher = "teacher=taught/models/conditioned";
        let words: Vec<&str> = words;
        workspace.refuse(
            &[
                "distill", &recipe, "--out", "x", "--set", teacher, "--set", set,
            ],
            &words,
        );
    }
}

/// A ControlNet works on another fine-tune of its base, and is refused with a reason on a base that
/// it does not fit.
#[test]
fn an_controlnet_moves_between_bases() {
    let workspace = taught();
    distil(&workspace, "pe", &["updates=6", "train=adapter"]);
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
    let draw = |base: &str| {
        let out = format!("{base}.png");
        let words = [
            "upscale",
            "--model",
            base,
            "--adapter",
            "pe/models/codi",
            "--image",
            "small.png",
            "--out",
            &out,
        ];
        tiny::succeed(folder, &words);
        read_image(&folder.join(out))
    };
    assert_ne!(draw("teacher").pixels, draw("other").pixels);
    for (base, words) in [
        ("wide", ["[8, 16]", "[8, 24]"]),
        ("noise", ["predicts V", "predicts Eps"]),
    ] {
        let arguments = [
            "upscale",
            "--model",
            base,
            "--adapter",
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
    workspace.refuse(&none, &["takes no condition image", "--adapter"]);
}

/// The verbs draw the same image for the same seed, as many times larger as learnt; what is known
/// stays known.
#[test]
fn verbs_draw_from_their_images() {
    let workspace = taught();
    distil(&workspace, "up", &["updates=4"]);
    distil(
        &workspace,
        "fill",
        &["updates=4", "condition={kind=\"inpaint\"}"],
    );
    let folder = workspace.folder.path();
    write_image(&folder.join("small.png"), 4, 1);
    write_image(&folder.join("larger.png"), 8, 2);
    let upscale = [
        "upscale",
        "--model",
        "up",
        "--image",
        "small.png",
        "--steps",
        "2",
        "--out",
    ];
    for (out, more) in [
        ("a.png", vec![]),
        ("b.png", vec![]),
        ("c.png", vec!["--seed", "1"]),
        ("d.png", vec!["--sampler", "multistep-consistency"]),
        ("e.png", vec!["--sampler", "renoising"]),
    ] {
        tiny::succeed(folder, &[&upscale[..], &[out], &more].concat());
    }
    let image = |name: &str| read_image(&folder.join(name)).pixels;
    assert_eq!(image("a.png"), image("b.png"));
    assert_ne!(image("a.png"), image("c.png"));
    assert_ne!(image("a.png"), image("d.png"));
    // The sampler's name in earlier versions.
    assert_eq!(image("d.png"), image("e.png"));
    // Two cells of 8 pixels with a margin of one; and of 16 for a condition of 8.
    assert_eq!(read_image(&folder.join("a.png")).shape.width, 19);
    let (json, _) = tiny::succeed(
        folder,
        &[
            "upscale",
            "--model",
            "up",
            "--image",
            "larger.png",
            "--out",
            "e.png",
            "--json",
        ],
    );
    assert_eq!(read_image(&folder.join("e.png")).shape.width, 35);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        (&json["steps"], &json["network_calls"]),
        (&4.into(), &4.into())
    );

    let hole = fewstep_data::image::Image {
        shape: read_image(&folder.join("larger.png")).shape,
        pixels: (0..64).map(|i| if i % 8 < 4 { 255 } else { 0 }).collect(),
    };
    fewstep_data::image::write_png(folder.join("hole.png"), &hole).expect("written");
    let inpaint = [
        "inpaint",
        "--model",
        "fill",
        "--image",
        "larger.png",
        "--out",
        "f.png",
        "--mask",
    ];
    tiny::succeed(folder, &[&inpaint[..], &["hole.png"]].concat());
    let (whole, filled) = (image("larger.png"), image("f.png"));
    let cell = |x: usize, y: usize| filled[(y + 1) * 19 + 10 + x];
    assert!(
        (0..64).all(|i| i % 8 < 4 || cell(i % 8, i / 8) == whole[i]),
        "the known part moved"
    );
    workspace.refuse(
        &[&inpaint[..], &["small.png"]].concat(),
        &["8x8", "4x4", "mask"],
    );
    for (flag, value, part) in [
        ("--prompt", "a cat", "text_encoder"),
        ("--size", "8x8", "draws from images"),
        ("--first", "2", "order of --image"),
        ("--columns", "2", "a row for each image"),
    ] {
        let words = [&inpaint[..], &["hole.png", flag, value]].concat();
        workspace.refuse(&words, &[flag, part]);
    }
    let other = [
        "inpaint",
        "--model",
        "up",
        "--image",
        "small.png",
        "--mask",
        "small.png",
        "--out",
        "x.png",
    ];
    workspace.refuse(&other, &["fewstep upscale"]);
    write_image(&folder.join("odd.png"), 9, 1);
    let odd = [
        "inpaint", "--model", "fill", "--image", "odd.png", "--mask", "odd.png", "--out", "x.png",
    ];
    workspace.refuse(&odd, &["[2, 9, 9]", "multiples"]);
}

fn pairs(folder: &Path) {
    for kind in 0..6 {
        write_image(&folder.join(format!("images/{kind}.png")), 8, kind);
        write_image(&folder.join(format!("sketches/{kind}.png")), 16, kind);
    }
}

/// Pairs from two folders: taken by name, and refused with a reason where they do not pair up.
#[test]
fn pairs_must_be_whole() {
    let workspace = Workspace::new();
    let folder = workspace.folder.path();
    pairs(folder);
    let data = "data={kind=\"folder\", path=\"images\", channels=1}";
    let train = workspace.recipe("train.toml", TRAIN);
    workspace.succeed(&[
        "train",
        &train,
        "--out",
        "teacher",
        "--set",
        data,
        "--set",
        "updates=2",
    ]);
    let recipe = workspace.recipe("codi.toml", CODI);
    let condition = "condition={kind=\"image\", path=\"sketches\"}";
    let words = [
        "distill",
        &recipe,
        "--out",
        "run",
        "--set",
        data,
        "--set",
        "updates=2",
        "--set",
    ];
    workspace.succeed(&[&words[..], &[condition]].concat());
    let render = [
        "render",
        "--model",
        "run",
        "--image",
        "sketches/0.png",
        "--out",
        "out.png",
    ];
    workspace.succeed(&render);

    let broken = [&words[..], &[condition]].concat();
    let sketch = folder.join("sketches/3.png");
    std::fs::remove_file(&sketch).expect("removed");
    workspace.refuse(&broken, &["sketches", "`3`", "3.png"]);
    write_image(&sketch, 12, 3);
    workspace.refuse(&broken, &["3.png", "16x16", "12x12"]);
    workspace::write(&sketch, b"no image");
    workspace.refuse(&broken, &["3.png", "unreadable"]);
    let depth = [
        &words[..],
        &["condition={kind=\"depth\", path=\"sketches\"}"],
    ]
    .concat();
    workspace.refuse(&depth, &["3.png", "unreadable"]);
}

#[test]
fn recipes_that_cannot_work_are_refused() {
    let workspace = taught();
    let recipe = workspace.recipe("codi.toml", CODI);
    for (set, words) in [
        ("method=cody", ["method", "Did you mean `codi`?"]),
        ("codi.intervals=0", ["[codi]", "intervals"]),
        (
            "codi.ode_modell=base",
            ["ode_modell", "Did you mean `ode_model`?"],
        ),
        ("condition.factor=3", ["condition.factor", "divides"]),
        (
            "condition={kind=\"image\", path=\"nowhere\"}",
            ["`path`", "data.kind"],
        ),
        ("teacher=nowhere", ["nowhere", "cannot read"]),
    ] {
        workspace.refuse(&["distill", &recipe, "--out", "y", "--set", set], &words);
    }
    workspace.refuse(
        &[
            "distill",
            &recipe,
            "--out",
            "y",
            "--set",
            "train=adapter",
            "--set",
            "teacher_precision=bf16",
        ],
        &["teacher_precision", "train = \"adapter\""],
    );
    let text = CODI.replace("[condition]\nkind = \"bicubic\"\nfactor = 2\n", "");
    let alone = workspace.recipe("alone.toml", &text.replace("\"full\"", "\"adapter\""));
    workspace.refuse(
        &["distill", &alone, "--out", "y"],
        &["train = \"adapter\"", "[condition]"],
    );
}
