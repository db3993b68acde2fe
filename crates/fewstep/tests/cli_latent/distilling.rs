//! Students of models that take prompts, and teachers for them.

use super::*;

const ENCODER: &str = r#"
seed = 5
teacher = "students/models/guided"
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

const MATCHING: &str = r#"
method = "matching"
seed = 6
teacher = "MODEL"
updates = 7
[matching]
student = "students"
steps = 2
critic_updates = 2
[data]
kind = "captioned"
path = "CAPTIONED"
size = 16
[optim]
batch = 4
lr = 1e-3
ema = { decay = 0.9 }
[run]
log_every = 2
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

    // The students predict noise, as the teacher does, and take the usual range of w.
    let student = json(&whole.join("models/steps-1/fewstep.json"));
    assert_eq!(student["prediction"], "eps");
    assert_eq!(student["guidance"]["w_min"], 2.0);
    assert_eq!(student["guidance"]["w_max"], 14.0);
    assert_eq!(student["clip"], false);
    let scheduler = json(&whole.join("models/steps-1/scheduler/scheduler_config.json"));
    assert_eq!(scheduler["prediction_type"], "epsilon");
    // Stable Diffusion's is false, and a student's last step ends at its image.
    assert_eq!(scheduler["set_alpha_to_one"], true);
    workspace.succeed(&[
        "sample", "--model", "students", "--steps", "2", "--prompt", "a cat", "--w", "3", "--out",
        "cat.png",
    ]);
    assert!(workspace.path("students/samples/steps-1.png").is_file());
    // Halvings go on from the student of stage one.
    assert_ne!(weights(&whole, "guided"), weights(&whole, "steps-2"));
}

/// A student of two steps goes on by distribution matching, whole and as LoRA with weights in 16
/// bits.
#[test]
fn a_latent_student_is_matched_killed_and_resumed() {
    let workspace = workspace();
    let students = recipe(&workspace, "distill.toml", DISTILL, "sd1");
    workspace.succeed(&["distill", &students, "--out", "students"]);
    let lora = MATCHING.replace(
        "[optim]",
        "[lora]\nrank = 2\nalpha = 2.0\n[optim]\ngradient_checkpointing = true",
    );
    let lora = lora.replace("updates = 7", "updates = 7\nteacher_precision = \"bf16\"");
    for (name, text) in [("all", MATCHING), ("lora", &lora)] {
        let matching = recipe(&workspace, &format!("{name}.toml"), text, "sd1");
        let killed = format!("{name}-killed");
        workspace.succeed(&["distill", &matching, "--out", name]);
        workspace.run_with_kills(&["distill", &matching, "--out", &killed]);
        let (whole, killed) = (workspace.path(name), workspace.path(&killed));
        assert_same_run(&whole, &killed, &["matched"]);
        let student = json(&whole.join("models/matched/fewstep.json"));
        assert_eq!(student["prediction"], "eps");
        assert_eq!(student["guidance"]["w_max"], 14.0);
        assert_ne!(
            weights(&whole, "matched"),
            weights(&workspace.path("students"), "steps-2")
        );
        let sample = ["sample", "--model", name, "--steps", "2", "--prompt"];
        workspace.succeed(&[&sample[..], &["a cat", "--w", "3", "--out", "cat.png"]].concat());
    }
}

/// An encoder is distilled from the student of stage one, and restyles images with a decoder.
#[test]
fn a_latent_encoder_is_distilled_and_restyles() {
    let workspace = workspace();
    let text = DISTILL.replace("updates = 6", "updates = 2");
    let text = text.replace("flip = true", "flip = true\nw = [1, 9]");
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
    // For its teacher's weights, as its recipe sets none.
    assert_eq!(model["guidance"]["w_max"], 9.0);
    // An encoder generates nothing, not even during training.
    assert!(!workspace.path("encoder/samples").exists());
    let sample = ["sample", "--model", "encoder", "--prompt", "a cat"];
    workspace.refuse(&sample, &["cannot generate images"]);

    let image = workspace.path("captioned/0.png");
    let image = image.to_str().expect("a path in UTF-8");
    let restyle = |words: &[&str]| {
        let task = [
            "restyle", "--image", image, "--from", "a cat", "--to", "two dogs",
        ];
        workspace.run(&[&task[..], words].concat())
    };
    let pair = ["--encoder", "encoder", "--decoder", "students"];
    let output = restyle(&[&pair[..], &["--steps", "2", "--w", "2,9"]].concat());
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
    workspace::assert_refused(&output, &["--encoder students", "cannot encode an image"]);
}

/// Other captions and another autoencoder are refused before anything is encoded.
#[test]
fn a_latent_run_resumes_on_the_captions_that_it_was_started_on() {
    let workspace = workspace();
    let text = DISTILL.replace("updates = 6", "updates = 2");
    let distill = recipe(&workspace, "distill.toml", &text, "sd1");
    let words = ["distill", &distill, "--out", "students"];
    workspace.succeed(&words);
    let cached = caches(&workspace).len();
    let resume = [&words[..], &["--resume"]].concat();
    let caption = workspace.path("captioned/1.txt");
    std::fs::write(&caption, "a grey cat").expect("written");
    workspace.refuse(&resume, &["the data has changed"]);
    std::fs::write(&caption, CAPTIONS[1]).expect("written");
    workspace::copy(&golden("sd1"), &workspace.path("model"));
    let moved = [&resume[..], &["--set", "teacher=model"]].concat();
    workspace.succeed(&moved);
    let vae = workspace.path("model/vae/config.json");
    let changed = std::fs::read_to_string(&vae).expect("there") + "\n";
    std::fs::write(&vae, changed).expect("written");
    workspace.refuse(&moved, &["the data has changed", "latents"]);
    assert_eq!(caches(&workspace).len(), cached);
}

#[test]
fn a_latent_teacher_is_trained_and_distilled() {
    let workspace = workspace();
    copy_text_encoder(&golden("bert"), &workspace.path("encoder"));
    let train = recipe(&workspace, "train.toml", TRAIN, "bert");
    workspace.refuse(
        &["train", &train, "--set", "data.size=18", "--out", "odd"],
        &["latents of [4, 9, 9]", "multiples of 2"],
    );
    assert!(
        !workspace.path("cache/fewstep").exists(),
        "images were encoded"
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
    let sample = [
        "sample",
        "--model",
        "teacher",
        "--prompt",
        "an orange cat",
        "--steps",
        "2",
    ];
    workspace.succeed(&[&sample[..], &["--w", "2", "--out", "cat.png"]].concat());

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

#[test]
fn a_damaged_cache_is_refused_and_made_again() {
    let workspace = workspace();
    let recipe = recipe(&workspace, "distill.toml", DISTILL, "sd1");
    let run = ["distill", &recipe, "--dry-run"];
    // What a program leaves that is killed while it encodes.
    let folder = workspace.path("cache/fewstep");
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::write(folder.join("latents-0-0-0.1.tmp"), "begun").expect("written");
    workspace.succeed(&run);
    assert_eq!(caches(&workspace).len(), 1, "only the cache");
    let cache = caches(&workspace).remove(0);
    let mut bytes = std::fs::read(&cache).expect("there");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&cache, &bytes).expect("written");
    workspace.refuse(&run, &["cache", "not what was written", "remove it"]);
    std::fs::remove_file(&cache).expect("removed");
    workspace.succeed(&run);
}

#[test]
fn mistakes_are_refused() {
    let workspace = workspace();
    let recipe = recipe(&workspace, "distill.toml", DISTILL, "sd1");
    let refuse = |set: &str, words: &[&str]| {
        workspace.refuse(
            &["distill", &recipe, "--set", set, "--out", "students"],
            words,
        );
    };
    refuse("data.size=17", &["multiples of 2", "17"]);
    assert!(
        !workspace.path("cache/fewstep").exists(),
        "images were encoded"
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

/// The losses of a run, line by line of its log.
fn losses(workspace: &Workspace, run: &str) -> Vec<f64> {
    let loss = |line: String| {
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        line["loss"].as_f64().expect("a loss")
    };
    let lines = workspace::log(&workspace.path(run)).into_iter();
    lines.map(loss).collect()
}

fn assert_nearly_the_same(wide: &[f64], half: &[f64]) {
    assert_ne!(wide, half);
    assert_eq!(wide.len(), half.len());
    for (wide, half) in wide.iter().zip(half) {
        assert!((wide - half).abs() < 0.02 * wide, "{half} for {wide}");
    }
}

/// A teacher in 16 bits teaches nearly the same.
#[test]
fn a_teacher_may_be_stored_in_16_bits() {
    let workspace = workspace();
    let recipe = recipe(&workspace, "distill.toml", DISTILL, "sd1");
    let losses = |precision: &str| {
        // A student of v is not its teacher at the start: there is something to learn.
        let sets = ["--set", "student_prediction=v", "--set"];
        let set = format!("teacher_precision={precision}");
        let words = [set.as_str(), "--out", precision];
        workspace.succeed(&[&["distill", &recipe][..], &sets, &words].concat());
        losses(&workspace, precision)
    };
    let (wide, half) = (losses("f32"), losses("bf16"));
    assert_nearly_the_same(&wide[..6], &half[..6]);
}

/// With LoRA, teacher and student have the weights in 16 bits in common: in both stages, with gradient
/// checkpointing and without.
#[test]
fn teacher_and_lora_student_may_share_weights_in_16_bits() {
    let workspace = workspace();
    for model in ["sd1", "sdxl"] {
        let recipe = recipe(&workspace, &format!("{model}.toml"), DISTILL, model);
        let run = |out: &str, more: &[&str]| -> Vec<f64> {
            let lora = ["distill", &recipe, "--set", "lora={rank=2,alpha=4}"];
            workspace.succeed(&[&lora[..], more, &["--out", out]].concat());
            losses(&workspace, out)
        };
        let half = ["--set", "teacher_precision=bf16"];
        let out = |name: &str| format!("{model}-{name}");
        let wide = run(&out("f32"), &[]);
        let shared = run(&out("bf16"), &half);
        assert_nearly_the_same(&wide, &shared);
        let checkpointed = ["guided", "progressive"]
            .map(|phase| format!("{phase}.optim.gradient_checkpointing=true"));
        let checkpointed = checkpointed.iter().flat_map(|set| ["--set", set]);
        let more: Vec<&str> = half.into_iter().chain(checkpointed).collect();
        assert_nearly_the_same(&shared, &run(&out("checkpointed"), &more));
        // The folders of students are in 32 bits, as those of others.
        let weights = |name: &str| {
            let file = format!("{}/models/guided/unet", out(name));
            let file = workspace
                .path(&file)
                .join("diffusion_pytorch_model.safetensors");
            std::fs::metadata(file).expect("there").len()
        };
        assert_eq!(weights("f32"), weights("bf16"));
    }
}

/// diffusers knows one scale of w.
#[test]
fn w_enters_as_in_diffusers_where_the_recipe_does_not_say() {
    let workspace = workspace();
    let text = DISTILL.replace("w_embedding = { dim = 16, scale = 100.0 }\n", "");
    let text = text.split("[progressive]").next().expect("stage one");
    let recipe = recipe(&workspace, "plain.toml", text, "sd1");
    workspace.succeed(&["distill", &recipe, "--out", "students"]);
    let config = json(&workspace.path("students/models/guided/unet/config.json"));
    assert_eq!(config["time_cond_proj_scale"], 1000.0);
    // Once it is in a run, it stays.
    let stored = std::fs::read_to_string(workspace.path("students/recipe.toml")).expect("there");
    assert!(stored.contains("scale = 1000.0"), "{stored}");
}
