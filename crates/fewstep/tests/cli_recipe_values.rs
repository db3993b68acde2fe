//! Keys of recipes that have a choice of names, or of forms: whatever else is given, the message names
//! the key, what it is and what it may be.

mod workspace;

use workspace::{TRAIN, Workspace, assert_refused, stderr};

const DISTILL: &str = r#"
seed = 2
teacher = "builtin:fashion-mnist-teacher"
[data]
kind = "idx"
path = "DATA"
[condition]
kind = "inpaint"
[guided]
updates = 4
optim = { batch = 4, lr = 1e-3 }
[progressive]
start_steps = 4
end_steps = 1
updates = 2
optim = { batch = 4, lr = 1e-3 }
"#;

const CODI: &str = r#"
method = "codi"
seed = 2
teacher = "builtin:fashion-mnist-teacher"
updates = 4
[data]
kind = "idx"
path = "DATA"
[condition]
kind = "inpaint"
[optim]
batch = 4
lr = 1e-3
"#;

const WEIGHTING: &str = "\"uniform\", \"snr\"";
const MIN_SNR: &str = "or { min-snr = NUMBER }";
const RANGE: [&str; 2] = ["a number, or a range", "[min, max]"];
const PRECISION: [&str; 2] = ["\"f32\"", "\"bf16\""];
const DISTANCE: [&str; 2] = ["{ pseudo-huber = NUMBER }", "{ lpips = TEXT }"];
const SECTION: [&str; 2] = ["a section with keys"; 2];
const EMA: [&str; 2] = ["{ decay = NUMBER }", "{ half-life = NUMBER }"];
const OPTIMIZER: [&str; 2] = ["\"adam\"", "\"adamw\""];
const ANNEAL: [&str; 2] = ["\"constant\"", "\"linear\""];

/// Values of wrong kinds, in TOML.
const WRONG: [&str; 6] = [
    "7",
    "nan",
    "true",
    "\"nosuch\"",
    "[true, 7]",
    "{ kind = \"nosuch\", gamma = nan }",
];

fn refused(command: &str, text: &str, keys: &[(&str, [&str; 2])]) {
    let workspace = Workspace::new();
    let recipe = workspace.recipe("recipe.toml", text);
    for (key, parts) in keys {
        for wrong in WRONG {
            // Some of these are not wrong for it.
            let section = parts == &SECTION && wrong.starts_with('{');
            if section || parts[0].starts_with("a number") && ["7", "nan"].contains(&wrong) {
                continue;
            }
            let set = format!("{key}={wrong}");
            let output = workspace.run(&[command, &recipe, "--dry-run", "--set", &set]);
            let place = format!("recipe.toml: `{key} = ");
            assert_refused(&output, &[&place, "expected ", parts[0], parts[1]]);
            let message = stderr(&output);
            for internal in [
                "TOML", "wanted", "variant", "element", "table", "enum", "serde",
            ] {
                assert!(!message.contains(internal), "`{internal}` is in: {message}");
            }
        }
    }
}

#[test]
fn choices_of_a_teacher() {
    let keys = [
        ("weighting", [WEIGHTING, MIN_SNR]),
        ("prediction", ["\"eps\"", "\"v\""]),
        ("data", SECTION),
        ("data.kind", ["\"fashion-mnist\"", "or \"captioned\""]),
        ("data.split", ["\"train\"", "or \"test\""]),
        ("data.fit", ["\"crop\"", "\"pad\""]),
        ("network", SECTION),
        ("network.resampling", ["\"", "or \""]),
        ("schedule", SECTION),
        ("optim", SECTION),
        ("optim.ema", EMA),
        ("optim.optimizer", OPTIMIZER),
        ("optim.anneal", ANNEAL),
        ("run", SECTION),
        ("run.precision", PRECISION),
        ("text", SECTION),
    ];
    refused("train", TRAIN, &keys);
}

#[test]
fn choices_of_a_guided_distillation() {
    let keys = [
        ("w", RANGE),
        ("w_embedding", SECTION),
        ("lora", SECTION),
        ("teacher_precision", PRECISION),
        ("student_prediction", ["\"auto\"", "\"teacher\""]),
        ("condition", SECTION),
        ("condition.kind", ["\"bicubic\"", "\"instruct\""]),
        ("condition.mask", ["\"box\"", "\"free-form\""]),
        ("guided", SECTION),
        ("guided.optim.ema", EMA),
        ("progressive", SECTION),
        (
            "progressive.updates",
            ["a number of updates", "a list with one for each halving"],
        ),
        (
            "progressive.halving",
            ["\"deterministic\"", "\"stochastic\""],
        ),
        ("progressive.optim", SECTION),
    ];
    refused("distill", DISTILL, &keys);
}

#[test]
fn choices_of_one_phase() {
    let keys = [
        ("train", ["\"", "\"controlnet\""]),
        ("controlnet", SECTION),
        ("controlnet.fusion", ["\"", "or \""]),
        ("controlnet.initial", ["\"", "or \""]),
        ("codi", SECTION),
        ("codi.consistency", ["\"noise\"", "\"image\""]),
        ("codi.boundary", ["\"plain\"", "\"lcm\""]),
        ("codi.ode_model", ["\"online\"", "\"base\""]),
        ("codi.ode_noise", ["\"true\"", "\"predicted\""]),
        ("codi.times", ["\"", "or \""]),
        ("codi.distance", DISTANCE),
        ("codi.guidance_distance", DISTANCE),
        ("codi.error_weight", [WEIGHTING, MIN_SNR]),
        ("consistency.solver", ["\"", "or \""]),
        ("consistency.boundary", ["\"plain\"", "\"lcm\""]),
        ("consistency.distance", DISTANCE),
    ];
    refused("distill", CODI, &keys);
}

/// The value of a name is refused by itself, inside of what has a `kind` as well.
#[test]
fn values_of_a_name_are_named() {
    let workspace = Workspace::new();
    let recipe = workspace.recipe("recipe.toml", DISTILL);
    for (set, parts) in [
        (
            "weighting={ min-snr = \"x\" }",
            ["`weighting.min-snr = \"x\"`: expected a number", "\"x\""],
        ),
        (
            "weighting={ min-snr = nan }",
            ["`weighting.min-snr` is NaN", "above 0"],
        ),
        ("weighting=min-snr", [WEIGHTING, MIN_SNR]),
        ("weighting={ snr = 4 }", [WEIGHTING, MIN_SNR]),
        (
            "condition={ kind = \"bicubic\", factor = \"x\" }",
            ["`condition.factor = \"x\"`", "a whole number"],
        ),
        (
            "condition={ kind = \"depth\", path = 5 }",
            ["`condition.path = 5`", "a text in quotes"],
        ),
        (
            "condition={ kind = \"degraded\", factor = 4, degradation = { first = 5 } }",
            ["`condition.degradation.first = 5`", "a section with keys"],
        ),
        (
            "condition={ kind = \"bicubic\" }",
            ["`[condition]`", "the key `factor` is missing"],
        ),
        (
            "weighting=truncated_snr",
            [WEIGHTING, "Did you mean `truncated-snr`?"],
        ),
    ] {
        let output = workspace.run(&["distill", &recipe, "--dry-run", "--set", set]);
        assert_refused(&output, &parts);
    }
    // The same in a file, with its line.
    let wrong = format!("weighting = 7\n{DISTILL}");
    let recipe = workspace.recipe("wrong.toml", &wrong);
    let parts = ["wrong.toml, line 1: `weighting = 7`: expected", MIN_SNR];
    workspace.refuse(&["distill", &recipe], &parts);
    let recipe = workspace.recipe("broken.toml", "seed = 1\nteacher = \n");
    let parts = ["broken.toml, line 2: ", "2 | teacher = \n"];
    workspace.refuse(&["distill", &recipe], &parts);
}

/// A key that other recipes have, where the nearest name of this one would lead astray.
#[test]
fn keys_of_other_recipes_are_said_to_be_theirs() {
    let workspace = Workspace::new();
    let phase = workspace.recipe("codi.toml", CODI);
    let guided = workspace.recipe("guided.toml", DISTILL);
    let train = workspace.recipe("train.toml", TRAIN);
    for (command, recipe, set, said) in [
        (
            "distill",
            &phase,
            "balance_w=true",
            "`balance_w = true`: only distillation recipes without `method` can have it",
        ),
        (
            "distill",
            &guided,
            "updates=5",
            "`updates = 5`: only recipes that train a teacher and recipes with a `method` can have it",
        ),
        (
            "train",
            &train,
            "teacher=\"x\"",
            "only distillation recipes without `method` and recipes with a `method` can have it",
        ),
    ] {
        let output = workspace.run(&[command, recipe, "--set", set]);
        assert_refused(&output, &[said]);
    }
}
