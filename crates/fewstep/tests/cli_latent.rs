//! `train` and `distill` on latents of captioned pictures, through the real program. Teachers, autoencoders and text
//! encoders are tiny random ones in diffusers' folders.

mod workspace;

use burn::tensor::{Device, Tensor, TensorData};
use fewstep_data::picture::{self, Picture, write_png};
use fewstep_data::{Holes, ImageShape, MaskKind};
use fewstep_formats::Pipeline;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use workspace::{Workspace, assert_same_run, weights};

const CAPTIONS: [&str; 5] = [
    "a photograph",
    "an orange cat",
    "two dogs",
    "the cat\'s house",
    "a lighthouse",
];

const DISTILL: &str = r#"
seed = 4
teacher = "MODEL"
w_embedding = { dim = 16, scale = 100.0 }
flip = true
prompts = ["a cat"]
[data]
kind = "captioned"
path = "CAPTIONED"
size = 16
[guided]
updates = 6
optim = { batch = 4, lr = 1e-3, ema = { decay = 0.9 } }
[progressive]
start_steps = 4
end_steps = 1
updates = 4
optim = { batch = 4, lr = 1e-3 }
[run]
log_every = 1
checkpoint_every = 2
"#;

const ENCODER: &str = r#"
seed = 5
teacher = "students/models/guided"
w = [2, 14]
[data]
kind = "captioned"
path = "CAPTIONED"
size = 16
[progressive]
halving = "encoder"
start_steps = 4
end_steps = 2
updates = 6
optim = { batch = 4, lr = 1e-3 }
[run]
log_every = 1
checkpoint_every = 2
"#;

const TRAIN: &str = r#"
seed = 3
updates = 6
[data]
kind = "captioned"
path = "CAPTIONED"
size = 16
[text]
autoencoder = "MODEL/vae"
encoder = "ENCODER"
length = 12
[network]
widths = [8, 16]
blocks = 1
attention = [false, true]
head = 8
groups = 4
[optim]
batch = 4
lr = 1e-3
[run]
log_every = 1
checkpoint_every = 2
"#;

fn model(name: &str) -> PathBuf {
    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../formats/tests/golden/latent"
    );
    PathBuf::from(golden).join(name)
}

/// A workspace with captioned pictures in it.
fn workspace() -> Workspace {
    let workspace = Workspace::new();
    let folder = workspace.path("captioned");
    std::fs::create_dir(&folder).expect("made");
    for picture in 0..10 {
        let shape = ImageShape {
            channels: 3,
            height: 16,
            width: 16,
        };
        let pixels = (0..shape.len()).map(|i| ((i * 37 + picture * 11) % 256) as u8);
        let pixels = pixels.collect();
        let place = folder.join(format!("{picture}.png"));
        write_png(place, &Picture { shape, pixels }).expect("written");
        let caption = CAPTIONS[picture % CAPTIONS.len()];
        std::fs::write(folder.join(format!("{picture}.txt")), caption).expect("written");
    }
    workspace
}

fn recipe(workspace: &Workspace, name: &str, text: &str, of: &str) -> String {
    let path = |path: &Path| path.display().to_string();
    let text = text
        .replace("MODEL", &path(&model(of)))
        .replace("ENCODER", &path(&workspace.path("encoder")))
        .replace("CAPTIONED", &path(&workspace.path("captioned")));
    workspace.recipe(name, &text)
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).expect("there")).expect("JSON")
}

/// The caches that the program left.
fn caches(workspace: &Workspace) -> Vec<PathBuf> {
    let folder = workspace.path("cache/fewstep");
    let entries = std::fs::read_dir(folder).expect("there").flatten();
    let files = entries.map(|entry| entry.path());
    files.filter(|path| path.is_file()).collect()
}

#[test]
fn a_stable_diffusion_is_distilled_killed_and_resumed() {
    let workspace = workspace();
    let recipe = recipe(&workspace, "distill.toml", DISTILL, "sd1");
    workspace.succeed(&["distill", &recipe, "--out", "students"]);
    let kills = workspace.run_with_kills(&["distill", &recipe, "--out", "killed"]);
    assert!(kills > 1, "the run ended before it could be killed");
    let (whole, killed) = (workspace.path("students"), workspace.path("killed"));
    assert_same_run(&whole, &killed, &["guided", "steps-2", "steps-1"]);
    assert_eq!(caches(&workspace).len(), 1, "one cache for all runs");

    // The teacher predicts noise; the students predict v and take the usual range of w.
    let student = json(&whole.join("models/steps-1/fewstep.json"));
    assert_eq!(student["prediction"], "v");
    assert_eq!(student["guidance"]["w_min"], 2.0);
    assert_eq!(student["guidance"]["w_max"], 14.0);
    assert_eq!(student["clip"], false);
    let scheduler = json(&whole.join("models/steps-1/scheduler/scheduler_config.json"));
    assert_eq!(scheduler["prediction_type"], "v_prediction");
    // Stable Diffusion's is false, and a student's last step ends at its picture.
    assert_eq!(scheduler["set_alpha_to_one"], true);
    workspace.succeed(&[
        "sample", "--model", "students", "--steps", "2", "--prompt", "a cat", "--w", "3", "--out",
        "cat.png",
    ]);
    assert!(workspace.path("students/samples/steps-1.png").is_file());
    // Halvings go on from the student of stage one.
    assert_ne!(weights(&whole, "guided"), weights(&whole, "steps-2"));
}

/// An encoder is distilled from the student of stage one, and takes pictures to another text with a decoder.
#[test]
fn an_encoder_of_texts_is_distilled_and_restyles() {
    let workspace = workspace();
    let text = DISTILL.replace("updates = 6", "updates = 2");
    let students = recipe(&workspace, "distill.toml", &text, "sd1");
    workspace.succeed(&["distill", &students, "--out", "students"]);
    let encoder = recipe(&workspace, "encoder.toml", ENCODER, "sd1");
    workspace.succeed(&["distill", &encoder, "--out", "encoder"]);
    let kills = workspace.run_with_kills(&["distill", &encoder, "--out", "killed"]);
    assert!(kills > 1, "the run ended before it could be killed");
    assert_same_run(
        &workspace.path("encoder"),
        &workspace.path("killed"),
        &["encoder-steps-2"],
    );
    let model = json(&workspace.path("encoder/models/encoder-steps-2/fewstep.json"));
    assert_eq!(model["role"]["sampler"], "encoder");
    // An encoder draws nothing, while it is trained neither.
    assert!(!workspace.path("encoder/samples").exists());
    let draw = ["sample", "--model", "encoder", "--prompt", "a cat"];
    workspace.refuse(&draw, &["cannot draw pictures"]);

    let picture = workspace.path("captioned/0.png");
    let picture = picture.to_str().expect("a path in UTF-8");
    let restyle = |words: &[&str]| {
        let task = [
            "restyle", "--image", picture, "--from", "a cat", "--to", "two dogs",
        ];
        workspace.run(&[&task[..], words].concat())
    };
    let pair = ["--encoder", "encoder", "--decoder", "students"];
    let output = restyle(&[&pair[..], &["--steps", "2", "--w", "2,14"]].concat());
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(
        out.contains("students: 2 network calls to encode and 2 network calls to decode"),
        "{out} {}",
        workspace::stderr(&output)
    );
    assert_eq!(workspace::stderr(&output), "");
    // The wrong way round.
    let turned = ["--encoder", "students", "--decoder", "encoder"];
    let output = restyle(&[&turned[..], &["--steps", "2"]].concat());
    workspace::assert_refused(&output, &["--encoder students", "cannot encode a picture"]);
}

type Tensors = HashMap<String, (Vec<usize>, Vec<f32>)>;

fn tensors(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).expect("there");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("whole");
    let tensors = file.tensors().into_iter();
    let tensors = tensors.map(|(name, view)| {
        let values: Vec<f32> = match view.dtype() {
            safetensors::Dtype::F32 => {
                let bytes = view.data().chunks_exact(4);
                bytes
                    .map(|b| f32::from_le_bytes(b.try_into().expect("four")))
                    .collect()
            }
            _ => vec![],
        };
        (name, (view.shape().to_vec(), values))
    });
    tensors.collect()
}

/// (B A) of a layer at a place, in the names of either tool.
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

#[test]
fn a_student_of_low_rank_changes_is_the_base_and_its_files() {
    let workspace = workspace();
    let text = format!("{DISTILL}[lora]\nrank = 2\nalpha = 3.0\n");
    let recipe = recipe(&workspace, "lora.toml", &text, "tiny");
    // A teacher that takes no w as yet: the one in the folder does.
    let teacher = model("sd1").display().to_string();
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
    // What is no target stays the teacher's, but for the input for w.
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
        &["low-rank", "[lora]"],
    );
}

/// A weight of the teacher, whose file has 16-bit floats.
fn base_weights(name: &str) -> Vec<f32> {
    let bytes = std::fs::read(model("sd1").join("unet/diffusion_pytorch_model.fp16.safetensors"));
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
fn a_teacher_of_texts_is_trained_and_distilled() {
    let workspace = workspace();
    // Encoder and tokenizer in one folder, as they are shared.
    let encoder = workspace.path("encoder");
    std::fs::create_dir(&encoder).expect("made");
    for part in ["text_encoder", "tokenizer"] {
        for entry in std::fs::read_dir(model("bert").join(part))
            .expect("there")
            .flatten()
        {
            std::fs::copy(entry.path(), encoder.join(entry.file_name())).expect("copied");
        }
    }
    let train = recipe(&workspace, "train.toml", TRAIN, "bert");
    workspace.refuse(
        &["train", &train, "--set", "data.size=18", "--out", "odd"],
        &["latents of [4, 9, 9]", "multiples of 2"],
    );
    assert!(
        !workspace.path("cache/fewstep").exists(),
        "pictures were encoded"
    );
    workspace.succeed(&["train", &train, "--out", "teacher"]);
    let kills = workspace.run_with_kills(&["train", &train, "--out", "killed"]);
    assert!(kills > 1, "the run ended before it could be killed");
    assert_same_run(
        &workspace.path("teacher"),
        &workspace.path("killed"),
        &["teacher"],
    );
    let config = json(&workspace.path("teacher/models/teacher/unet/config.json"));
    assert_eq!(config["cross_attention_dim"], 12);
    let draw = [
        "sample",
        "--model",
        "teacher",
        "--prompt",
        "an orange cat",
        "--steps",
        "2",
    ];
    workspace.succeed(&[&draw[..], &["--w", "2", "--out", "cat.png"]].concat());

    let distill = recipe(&workspace, "distill.toml", DISTILL, "bert");
    workspace.succeed(&[
        "distill",
        &distill,
        "--set",
        "teacher=teacher",
        "--set",
        "w=[0, 4]",
        "--out",
        "students",
    ]);
    let student = json(&workspace.path("students/models/steps-1/fewstep.json"));
    assert_eq!(student["guidance"]["w_max"], 4.0);
}

/// Classes in folders, whose order by name is that of the model's rows.
fn labelled(workspace: &Workspace) -> String {
    let folder = workspace.path("labelled");
    for picture in 0..8 {
        let shape = ImageShape {
            channels: 3,
            height: 16,
            width: 16,
        };
        let pixels = (0..shape.len()).map(|i| ((i * 29 + picture * 17) % 256) as u8);
        let pixels = pixels.collect();
        let class = folder.join(["a", "b", "c", "d"][picture % 4]);
        std::fs::create_dir_all(&class).expect("made");
        write_png(
            class.join(format!("{picture}.png")),
            &Picture { shape, pixels },
        )
        .expect("written");
    }
    let text = DISTILL
        .replace("kind = \"captioned\"", "kind = \"folder\"")
        .replace("CAPTIONED", &folder.display().to_string())
        .replace("prompts = [\"a cat\"]\n", "");
    recipe(workspace, "distill.toml", &text, "classes")
}

#[test]
fn a_model_of_classes_is_distilled_killed_and_resumed() {
    let workspace = Workspace::new();
    let recipe = labelled(&workspace);
    workspace.succeed(&["distill", &recipe, "--out", "students"]);
    let kills = workspace.run_with_kills(&["distill", &recipe, "--out", "killed"]);
    assert!(kills > 1, "the run ended before it could be killed");
    let (whole, killed) = (workspace.path("students"), workspace.path("killed"));
    assert_same_run(&whole, &killed, &["guided", "steps-2", "steps-1"]);
    assert!(whole.join("samples/steps-1.png").is_file());

    // Every example has the row of its class, and what stands for none is the last one.
    let cache = tensors(&caches(&workspace).remove(0));
    let table = tensors(&model("classes").join("class_embedder/model.safetensors"));
    let (shape, rows) = &table["embedding.weight"];
    let (kept, states) = &cache["states"];
    assert_eq!((shape, kept), (&vec![5, 6], &vec![5, 1, 6]));
    assert_eq!(states[..6], rows[4 * 6..]);
    assert_eq!(cache["captions"].0, [8]);
    let mut both: Vec<&[f32]> = states[6..].chunks(6).collect();
    let mut expected: Vec<&[f32]> = rows[..24].chunks(6).collect();
    for all in [&mut both, &mut expected] {
        all.sort_by(|a, b| a[0].total_cmp(&b[0]));
    }
    assert_eq!(both, expected);

    let draw = |class: &str, out: &str| {
        workspace.succeed(&[
            "sample",
            "--model",
            "students",
            "--steps",
            "2",
            "--class",
            class,
            "--w",
            "3",
            "--count",
            "1",
            "--out-dir",
            out,
        ]);
        let drawn = workspace.path(out).join("000000.png");
        picture::read(&drawn, None, 3).expect("a picture")
    };
    assert_eq!(draw("shark", "shark"), draw("2", "second"));
    assert_ne!(draw("shark", "shark"), draw("ray", "ray"));
    let teacher = model("classes").display().to_string();
    let sample = ["sample", "--model", &teacher, "--steps", "1"];
    workspace.succeed(&[&sample[..], &["--out", "all.png"]].concat());
    workspace.refuse(
        &[&sample[..], &["--prompt", "a"]].concat(),
        &["--prompt", "--class"],
    );
    workspace.refuse(
        &[&sample[..], &["--class", "cat"]].concat(),
        &["cat", "tench"],
    );
    workspace.refuse(
        &[
            "edit", "--model", &teacher, "--image", "x.png", "--prompt", "a",
        ],
        &["draws classes", "texts"],
    );
}

#[test]
fn data_that_does_not_go_with_classes_is_refused() {
    let workspace = Workspace::new();
    let recipe = labelled(&workspace);
    let refuse = |set: &[&str], words: &[&str]| {
        let sets: Vec<&str> = set.iter().flat_map(|set| ["--set", set]).collect();
        let run = ["distill", &recipe, "--out", "students"];
        workspace.refuse(&[&run[..], &sets].concat(), words);
    };
    refuse(&["data.kind=captioned"], &["draws classes", "data.kind"]);
    refuse(&["data.size=17"], &["multiples of 2", "17x17"]);
    std::fs::remove_dir_all(workspace.path("labelled/d")).expect("removed");
    refuse(&[], &["3 classes", "4 classes"]);
}

#[test]
fn mistakes_are_told() {
    let workspace = workspace();
    let recipe = recipe(&workspace, "distill.toml", DISTILL, "sd1");
    let refuse = |set: &str, words: &[&str]| {
        workspace.refuse(
            &["distill", &recipe, "--set", set, "--out", "students"],
            words,
        );
    };
    refuse("data.size=17", &["multiples of 2", "17"]);
    refuse(
        "data.size=32",
        &["[4, 8, 8]", "[4, 16, 16]", "`data.size` = 16"],
    );
    assert!(
        !workspace.path("cache/fewstep").exists(),
        "pictures were encoded"
    );
    refuse("data.kind=folder", &["data.kind", "captioned"]);
    refuse(
        "condition={kind=\"edges\"}",
        &["[condition]", "has not learnt"],
    );
    refuse("lora={rank=0,alpha=1}", &["rank"]);
    refuse(
        "lora={rank=2,alpha=1,targets=[\"to_x\"]}",
        &["to_x", "to_out.0"],
    );
    std::fs::write(workspace.path("captioned/3.txt"), " ").expect("written");
    refuse("seed=4", &["3.png: caption empty", "1 example(s)"]);
    assert!(!workspace.path("students").join("recipe.toml").exists());
}

const HOLES: &str = "[condition]\nkind = \"inpaint\"\nmask = \"mixed\"\nholes = 3\n";

#[test]
fn a_model_that_fills_in_is_distilled_killed_and_resumed() {
    let workspace = workspace();
    let text = format!("{DISTILL}{HOLES}");
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
    let grid = picture::read(&whole.join("samples/steps-1.png"), None, 3).expect("a grid");
    // Twelve rows of three pictures, three rows beside one another.
    assert_eq!(
        (grid.shape.width, grid.shape.height),
        (9 * 17 + 1, 4 * 17 + 1)
    );

    let hole = Picture {
        shape: ImageShape {
            channels: 1,
            height: 16,
            width: 16,
        },
        pixels: (0..256).map(|i| if i % 16 < 5 { 255 } else { 0 }).collect(),
    };
    write_png(workspace.path("hole.png"), &hole).expect("written");
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
            "hole.png",
            "--prompt",
            "a cat",
            "--w",
            "3",
            "--out-dir",
            &out,
        ]);
        let drawn = workspace.path(&out).join("000000.png");
        picture::read(&drawn, None, 3).expect("a picture")
    };
    assert_ne!(fill("1"), fill("2"));
}

/// Against the autoencoder on pictures with holes, and PyTorch's nearest pixel by its index.
#[test]
fn what_a_model_that_fills_in_sees_is_made_once() {
    let workspace = workspace();
    let text = format!("{DISTILL}{HOLES}");
    let recipe = recipe(&workspace, "distill.toml", &text, "inpaint");
    workspace.succeed(&["distill", &recipe, "--dry-run"]);
    let cache = caches(&workspace).remove(0);
    let (shape, beside) = tensors(&cache)["beside"].clone();
    assert_eq!(shape, [10, 2, 3, 5, 8, 8]);
    let device = Device::flex();
    let codec = Pipeline::load(&model("inpaint"), &device)
        .expect("a model")
        .codec;
    let holes = Holes {
        mask: MaskKind::Mixed,
        each: 3,
    };
    for (example, mirrored, turn) in [(0, 0, 0), (3, 1, 2), (9, 1, 1)] {
        let copy = 2 * example + mirrored;
        let hole = holes.hole((3 * copy + turn) as u64, 16, 16);
        let file = workspace.path(&format!("captioned/{example}.png"));
        let picture = picture::read(&file, None, 3).expect("a picture");
        let seen = (0..3 * 256).map(|i| {
            let (row, column) = (i / 16, i % 16);
            let column = if mirrored == 1 { 15 - column } else { column };
            let value = picture::to_f32(picture.pixels[16 * row + column]);
            if hole[i % 256] == 1.0 { 0.0 } else { value }
        });
        let seen = TensorData::new(seen.collect::<Vec<f32>>(), [1, 3, 16, 16]);
        let known = codec.encode(Tensor::from_data(seen, &device));
        let known = known.into_data().try_to_vec::<f32>().expect("f32 data");
        let corners = (0..64).map(|i| hole[32 * (i / 8) + 2 * (i % 8)]);
        let expected: Vec<f32> = corners.chain(known).collect();
        let stored = &beside[5 * 64 * (3 * copy + turn)..][..5 * 64];
        for (a, b) in stored.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-5, "{a} for {b}");
        }
    }
}

#[test]
fn holes_that_make_no_sense_are_refused() {
    let workspace = workspace();
    let recipe = recipe(&workspace, "distill.toml", DISTILL, "inpaint");
    let refuse = |set: &[&str], words: &[&str]| {
        let sets: Vec<&str> = set.iter().flat_map(|set| ["--set", set]).collect();
        let run = ["distill", &recipe, "--out", "students"];
        workspace.refuse(&[&run[..], &sets].concat(), words);
    };
    refuse(&[], &["fills in", "kind = \"inpaint\""]);
    refuse(&["condition={kind=\"edges\"}"], &["fills in", "inpaint"]);
    refuse(
        &["condition={kind=\"inpaint\",holes=0}"],
        &["condition.holes", "at least"],
    );
    let plain = format!("teacher={}", model("sd1").display());
    refuse(
        &[&plain, "condition={kind=\"inpaint\"}"],
        &["[condition]", "has not learnt"],
    );
}

#[test]
fn a_damaged_cache_is_told_and_made_again() {
    let workspace = workspace();
    let recipe = recipe(&workspace, "distill.toml", DISTILL, "sd1");
    let run = ["distill", &recipe, "--dry-run"];
    // What is left where a program was killed while it encoded.
    let folder = workspace.path("cache/fewstep");
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::write(folder.join("latents-0-0-0.1.tmp"), "begun").expect("written");
    workspace.succeed(&run);
    assert_eq!(caches(&workspace).len(), 1, "the cache alone");
    let cache = caches(&workspace).remove(0);
    let mut bytes = std::fs::read(&cache).expect("there");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&cache, &bytes).expect("written");
    workspace.refuse(&run, &["cache", "not what was written", "remove it"]);
    std::fs::remove_file(&cache).expect("removed");
    workspace.succeed(&run);
}

const CODI: &str = r#"
method = "codi"
seed = 5
teacher = "MODEL"
updates = 6
flip = true
condition = { kind = "instruct", path = "BEFORE" }
[data]
kind = "captioned"
path = "CAPTIONED"
size = 16
[codi]
intervals = 8
[optim]
batch = 4
lr = 1e-3
ema = { decay = 0.9 }
[run]
log_every = 1
checkpoint_every = 2
"#;

/// Learns a condition and few steps in latent space, is killed and resumed, and draws from images and texts.
#[test]
fn a_stable_diffusion_learns_to_edit_by_instruction() {
    let workspace = workspace();
    let before = workspace.path("before");
    std::fs::create_dir(&before).expect("made");
    for picture in 0..10 {
        let shape = ImageShape {
            channels: 3,
            height: 16,
            width: 16,
        };
        let place = before.join(format!("{picture}.png"));
        write_png(place, &Picture::filled(shape, 20 * picture)).expect("written");
    }
    let text = CODI.replace("BEFORE", &before.display().to_string());
    let recipe = recipe(&workspace, "codi.toml", &text, "sd1");
    workspace.succeed(&["distill", &recipe, "--out", "whole"]);
    let kills = workspace.run_with_kills(&["distill", &recipe, "--out", "killed"]);
    assert!(kills > 1, "the run ended before it could be killed");
    assert_same_run(
        &workspace.path("whole"),
        &workspace.path("killed"),
        &["codi"],
    );
    assert_eq!(caches(&workspace).len(), 2, "latents, and images to edit");
    assert!(workspace.path("whole/samples/codi.png").is_file());
    let model = workspace.path("whole/models/codi");
    let index = json(&model.join("model_index.json"));
    assert_eq!(index["_class_name"], "StableDiffusionControlNetPipeline");
    assert_eq!(index["controlnet"][1], "ControlNetModel");

    let draw = |out: &str, more: &[&str]| {
        let words = [
            "instruct",
            "--model",
            "whole",
            "--image",
            "before/3.png",
            "--steps",
            "2",
        ];
        workspace.succeed(&[&words[..], &["--out", out], more].concat());
        std::fs::read(workspace.path(out)).expect("written")
    };
    let cat = draw("cat.png", &["--prompt", "an orange cat"]);
    assert_eq!(cat, draw("again.png", &["--prompt", "an orange cat"]));
    let words = [
        "upscale",
        "--model",
        "whole",
        "--image",
        "before/3.png",
        "--out",
        "x.png",
    ];
    workspace.refuse(&words, &["instruct"]);
    let words = [
        "sample", "--model", "whole", "--prompt", "a cat", "--out", "x.png",
    ];
    workspace.refuse(&words, &["fewstep instruct"]);

    // The same as an adapter, which another fine-tune of its base takes.
    workspace.succeed(&[
        "distill",
        &recipe,
        "--set",
        "train=adapter",
        "--out",
        "adapter",
    ]);
    let base = model_path("sd1");
    let adapted = [
        "instruct",
        "--model",
        &base,
        "--adapter",
        "adapter/models/codi",
    ];
    let words = [
        "--image",
        "before/3.png",
        "--steps",
        "1",
        "--out",
        "adapted.png",
    ];
    workspace.succeed(&[&adapted[..], &words].concat());
    std::fs::remove_file(before.join("7.png")).expect("removed");
    workspace.refuse(
        &["distill", &recipe, "--out", "bad"],
        &["7.png needs", "no image named `7`"],
    );
}

fn model_path(name: &str) -> String {
    model(name).display().to_string()
}

/// A ResNet for CIFAR with a block a stage and arbitrary weights.
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

/// A golden model, for pictures of 32x32.
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
    for part in parts.map(|part| model(name).join(part)) {
        for entry in std::fs::read_dir(&part).into_iter().flatten().flatten() {
            if entry.path().is_file() {
                let target = folder.join(part.strip_prefix(model(name)).expect("inside"));
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
fn models_that_read_texts_are_measured() {
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
        let rest = ["resnet.safetensors", "--count", "4", "--json"];
        let output = workspace.run(&[&common[..], &rest, words].concat());
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

    // A model of classes is measured as one on pixels is, with any pictures.
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
