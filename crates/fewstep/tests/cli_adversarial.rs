//! Adversarial fine-tuning, and the GAN term of distribution matching, through the real binary.

mod workspace;

use workspace::{Workspace, assert_same_run, log, weights};

const ADVERSARIAL: &str = r#"
method = "adversarial"
seed = 6
teacher = "TEACHER"
updates = 25
[adversarial]
student = "students"
steps = 2
critic_updates = 2
head_start = 5
discriminator = { lr = 2e-3, warmup = 2 }
[data]
kind = "idx"
path = "DATA"
[optim]
batch = 8
micro_batch = 4
lr = 1e-3
optimizer = "adamw"
ema = { decay = 0.9 }
[run]
log_every = 4
checkpoint_every = 4
"#;

const GAN: &str = r#"
method = "matching"
seed = 6
teacher = "TEACHER"
updates = 13
[matching]
student = "students"
steps = 2
critic_updates = 3
gan = { weight = 0.01, heads = { width = 16 } }
[data]
kind = "idx"
path = "DATA"
[optim]
batch = 8
lr = 1e-3
ema = { decay = 0.9 }
[run]
log_every = 4
checkpoint_every = 4
"#;

/// A workspace with a teacher and its students, and the path of a recipe for them.
fn prepared(text: &str) -> (Workspace, String) {
    let workspace = Workspace::with_students();
    let recipe = workspace.recipe("recipe.toml", text);
    (workspace, recipe)
}

fn lora(text: &str) -> String {
    text.replace("[data]", "[lora]\nrank = 2\nalpha = 2.0\n[data]")
        .replace("[optim]", "[optim]\ngradient_checkpointing = true")
}

/// Whether a weight is that of a convolution in a block.
fn of_convolution(name: &str) -> bool {
    let ends = ["conv1.weight", "conv2.weight", ".conv.weight"];
    name.contains("_block") && ends.iter().any(|end| name.ends_with(end))
}

/// A run that is killed again and again is bit for bit the run that never was, with all weights, with
/// LoRA, which are all of the student that moves then, and with all but the convolutions, which stay
/// to the bit.
#[test]
fn killed_and_resumed_runs_equal_uninterrupted_ones() {
    for (text, phase, player) in [
        (ADVERSARIAL, "adversarial", "\"discriminator\""),
        (GAN, "matched", "\"fake-score\""),
    ] {
        let (workspace, recipe) = prepared(text);
        let with_lora = workspace.recipe("lora.toml", &lora(text));
        let part = "train = \"all-but-convolutions\"\nmethod =";
        let in_part = workspace.recipe("part.toml", &text.replace("method =", part));
        let start = weights(&workspace.path("students"), "steps-2");
        let recipes = [(&recipe, "all"), (&with_lora, "lora"), (&in_part, "part")];
        for (recipe, name) in recipes {
            let killed = format!("{name}-killed");
            workspace.succeed(&["distill", recipe, "--out", name]);
            let kills = workspace.run_with_kills(&["distill", recipe, "--out", &killed]);
            assert!(kills > 1, "the run ended before it could be killed");
            let whole = workspace.path(name);
            assert_same_run(&whole, &workspace.path(&killed), &[phase]);
            let lines = log(&whole);
            assert!(lines.iter().all(|line| line.contains(player)), "{lines:?}");
            let end = weights(&whole, phase);
            let both = start.iter().zip(&end);
            let moved = both.filter(|(before, after)| before != after);
            let moved: Vec<&str> = moved.map(|((name, _), _)| &**name).collect();
            assert!(!moved.is_empty(), "the student never moved");
            let of_lora = |name: &str| name.contains("attentions") || name.contains("cond_proj");
            match name {
                "all" => assert!(moved.iter().any(|name| of_convolution(name))),
                "lora" => assert!(moved.iter().all(|name| of_lora(name))),
                _ => {
                    let names = start.iter().map(|(name, _)| &**name);
                    let still: Vec<&str> = names.filter(|name| !moved.contains(name)).collect();
                    // What is added to all keys of a query alike has no gradient but rounding.
                    let frozen = still.iter().filter(|name| !name.ends_with("to_k.bias"));
                    assert!(still.len() > 9 && frozen.clone().all(|name| of_convolution(name)));
                    assert!(!moved.iter().any(|name| of_convolution(name)), "{moved:?}");
                }
            }
        }
        let (info, _) = workspace.succeed(&["info", &format!("all/models/{phase}")]);
        for part in ["2 steps", "deterministic"] {
            assert!(info.contains(part), "no `{part}` in {info}");
        }
    }
}

/// The plan counts the calls of both players. For the student: a simulated step and three branches of the
/// teacher, then itself and the discriminator with a backward pass; for the discriminator two steps of
/// the student and three passes through the frozen encoder.
#[test]
fn the_plan_has_the_calls_of_all_networks() {
    let (workspace, recipe) = prepared(ADVERSARIAL);
    let (plan, _) = workspace.succeed(&["distill", &recipe, "--dry-run"]);
    assert!(plan.contains("9 + 2 trained"), "{plan}");
    workspace.succeed(&["plan", &recipe]);
    let (info, _) = workspace.succeed(&["info", &recipe]);
    let purpose = "train against a discriminator the student students with the teacher";
    assert!(info.contains(purpose), "{info}");
}

/// Settings that cannot work are named, with what to do.
#[test]
fn what_does_not_fit_is_refused() {
    let (workspace, recipe) = prepared(ADVERSARIAL);
    let steps_1 = "adversarial.student=students/models/steps-1";
    let guided = "teacher=students/models/guided";
    for (set, said) in [
        ("adversarial.student=", "`adversarial.student` is missing"),
        ("adversarial.student=nowhere", "nowhere"),
        (
            steps_1,
            "has 1 as its number of steps, and `adversarial.steps` is 2",
        ),
        ("adversarial.student=teacher", "give a student of stage two"),
        (guided, "one with two branches for guidance"),
        ("w=1.0", "takes w as an input"),
        ("train=controlnet", "trains \"full\" or"),
        (
            "method=consistency train=all-but-convolutions",
            "for a student that goes on",
        ),
        (
            "train=all-but-convolutions lora.rank=2 lora.alpha=2.0",
            "only LoRA are trained",
        ),
        ("label_dropout=0.1", "`label_dropout` has no meaning"),
        ("weighting=snr", "`weighting` has no meaning"),
        ("adversarial.critic_updates=0", "critic_updates"),
        ("adversarial.head_start=25", "it must be more"),
        ("adversarial.times=[0.5,0.5]", "`times` is [0.5, 0.5]"),
        ("adversarial.heads.width=12", "must be a multiple of 8"),
        ("adversarial.heads.penalty.noise=0", "penalty.noise"),
        ("adversarial.discriminator.lr=-1", "[discriminator] `lr`"),
        ("run.log_every=1", "it must be at least 2"),
    ] {
        let sets = set.split(' ').flat_map(|set| ["--set", set]);
        let words: Vec<&str> = ["distill", &recipe, "--out", "none"]
            .into_iter()
            .chain(sets)
            .collect();
        workspace.refuse(&words, &[said]);
    }
    let gan = workspace.recipe("gan.toml", GAN);
    for (set, said) in [
        (guided, "one with two branches for guidance"),
        ("matching.gan.weight=-1", "[gan] `weight`"),
        ("matching.gan.fake_score_weight=0", "fake_score_weight"),
        ("matching.gan.heads.width=0", "width"),
    ] {
        workspace.refuse(&["distill", &gan, "--out", "none", "--set", set], &[said]);
    }
    // Without a GAN term such a teacher will do.
    let without = ["--set", guided, "--set", "matching.gan.weight=0"];
    workspace.succeed(&[&["distill", &gan, "--out", "plain"][..], &without].concat());
}
