//! Numbers that no machine can work with: refused with a message, by every command.

mod tiny;
mod workspace;

use fewstep_diffusion::DistilledFor;
use std::path::Path;
use std::process::{Command, Output};
use tiny::{save, student, write_image};
use workspace::{TRAIN, Workspace, assert_refused, golden_path, run, succeed};

const DISTIL: &str = r#"
seed = 4
teacher = "builtin:fashion-mnist-teacher"
w = [0, 4]
[data]
kind = "idx"
path = "builtin:fashion-mnist-sample"
size = 32
[guided]
updates = 2
optim = { batch = 8, lr = 1e-4 }
"#;

const CODI: &str = r#"
method = "codi"
seed = 4
teacher = "builtin:fashion-mnist-teacher"
updates = 2
[data]
kind = "idx"
path = "builtin:fashion-mnist-sample"
size = 32
limit = 20
[condition]
kind = "bicubic"
factor = 4
[optim]
batch = 8
lr = 1e-4
"#;

/// The largest number of a recipe, and that of a flag.
const LARGEST: &str = "9223372036854775807";
const MAX: &str = "18446744073709551615";

/// Each recipe with each of these settings; the message names the key.
fn refused(recipe: &str, text: &str, settings: &[(&str, &str)]) {
    let workspace = Workspace::new();
    let recipe = workspace.recipe(recipe, text);
    for (setting, part) in settings {
        workspace.refuse(&["plan", &recipe, "--set", setting], &[part]);
    }
}

#[test]
fn numbers_of_a_teachers_recipe_have_ranges() {
    refused(
        "train.toml",
        TRAIN,
        &[
            ("updates=0", "`updates` is 0, it must be at least 1"),
            (&format!("updates={LARGEST}"), "`updates`"),
            ("label_dropout=nan", "`label_dropout` is NaN"),
            ("weighting={min-snr=-1.0}", "`weighting.min-snr` is -1"),
            ("optim.lr=inf", "`lr` is inf"),
            ("optim.weight_decay=-1", "`weight_decay` is -1"),
            ("optim.weight_decay=nan", "`weight_decay` is NaN"),
            ("optim.clip=inf", "`clip` is inf"),
            ("optim.ema.decay=1", "`ema.decay` is 1"),
            (&format!("optim.warmup={LARGEST}"), "`warmup`"),
            (&format!("optim.batch={LARGEST}"), "`batch`"),
            (&format!("network.widths=[8,{LARGEST}]"), "`widths`"),
            (&format!("network.blocks={LARGEST}"), "`blocks`"),
            (&format!("network.patch={LARGEST}"), "`patch`"),
            (&format!("network.head={LARGEST}"), "`head`"),
            (&format!("network.groups={LARGEST}"), "`groups`"),
            ("network.dropout=nan", "`dropout` is NaN"),
            (&format!("data.size={LARGEST}"), "at most 16384"),
            (
                &format!("run.checkpoint_every={LARGEST}"),
                "`run.checkpoint_every`",
            ),
            (
                "schedule={kind=\"cosine\",log_snr_min=-1e300}",
                "log_snr_min is -1e300",
            ),
            (
                &format!(
                    "schedule={{kind=\"discrete\",betas=\"linear\",beta_start=0.1,beta_end=0.2,steps={LARGEST}}}"
                ),
                "at most 1048576",
            ),
        ],
    );
}

#[test]
fn numbers_of_a_distillation_have_ranges() {
    let halving = |steps: &str| {
        format!(
            "progressive={{start_steps={steps},end_steps=1,updates=1,optim={{batch=1,lr=1e-4}}}}"
        )
    };
    refused(
        "distil.toml",
        DISTIL,
        &[
            ("w=[0,1e308]", "`w` is 1e308"),
            ("w_embedding={dim=64,scale=0.0}", "`w_embedding.scale` is 0"),
            (
                "w_embedding={dim=64,scale=nan}",
                "`w_embedding.scale` is NaN",
            ),
            (
                &format!("w_embedding={{dim={LARGEST},scale=1.0}}"),
                "`w_embedding.dim`",
            ),
            ("lora={rank=100000,alpha=1.0}", "`lora.rank` is 100000"),
            ("lora={rank=4,alpha=nan}", "`lora.alpha` is NaN"),
            ("guided.updates=0", "`guided.updates` is 0"),
            (&halving("4611686018427387904"), "`progressive.start_steps`"),
            (
                "condition={kind=\"edges\",factor=3}",
                "unknown key `factor`",
            ),
            (
                "condition={kind=\"degraded\",factor=2,degradation={final_sinc=nan}}",
                "`condition.degradation.final_sinc` is NaN",
            ),
        ],
    );
    refused(
        "codi.toml",
        CODI,
        &[
            (&format!("codi.intervals={LARGEST}"), "`intervals`"),
            ("codi.consistency_weight=inf", "`consistency_weight` is inf"),
            ("codi.distance={pseudo-huber=inf}", "`pseudo-huber` is inf"),
            (&format!("condition.factor={LARGEST}"), "condition.factor"),
        ],
    );
}

/// A plan of a network that no machine holds takes no memory itself: it prints the table, and then
/// says that it is too much.
#[test]
fn more_memory_than_the_machine_has_is_refused() {
    let workspace = Workspace::new();
    let recipe = workspace.recipe("train.toml", TRAIN);
    let huge = ["--set", "network.widths=[32768,65536]"];
    let plan = [&["plan", &recipe], &huge[..]].concat();
    let output = workspace.run(&plan);
    assert_refused(&output, &["of memory, and this machine", "--force"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("TiB"));
    let (table, _) = workspace.succeed(&[&plan[..], &["--force"]].concat());
    assert!(table.contains("TiB"), "{table}");
    for command in [&["--dry-run"][..], &["--out", "run"]] {
        let words = [&["train", &recipe], &huge[..], command].concat();
        workspace.refuse(&words, &["of memory"]);
    }
    assert!(!workspace.path("run").exists());
    // So are images.
    let words = ["plan", &recipe, "--set", "data.size=16384", "--set"];
    let many = "data.path=builtin:fashion-mnist-sample";
    workspace.refuse(
        &[&words[..], &[many]].concat(),
        &["of memory, and there are at most", "`limit`"],
    );
}

/// The program with at most so many kibibytes of address space.
#[cfg(unix)]
fn limited(folder: &Path, kibibytes: u64, words: &[&str]) -> Output {
    let script = format!("ulimit -v {kibibytes} && exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.current_dir(folder).env("XDG_CACHE_HOME", folder);
    command.args(["-c", &script, env!("CARGO_BIN_EXE_fewstep")]);
    command.args(words).output().expect("the program starts")
}

/// A run and a request that fit into a machine are refused where the process may use less of it.
#[cfg(unix)]
#[test]
fn the_limits_of_the_process_count() {
    const KIBIBYTES: u64 = 600_000;
    let workspace = Workspace::new();
    let folder = workspace.folder.path();
    let recipe = workspace.recipe("train.toml", TRAIN);
    let wide = ["plan", &recipe, "--set", "network.widths=[512,1024]"];
    workspace.succeed(&wide);
    assert_refused(&limited(folder, KIBIBYTES, &wide), &["at most 586 MiB"]);
    let forced = limited(folder, KIBIBYTES, &[&wide[..], &["--force"]].concat());
    assert_eq!(forced.status.code(), Some(0));
    save(&student(DistilledFor::Any, None), folder, "student");
    let sample = ["sample", "--model", "student", "--steps", "1", "--count"];
    let many = [&sample[..], &["9000000"]].concat();
    assert_refused(
        &limited(folder, KIBIBYTES, &many),
        &["generating 9000000 images of 16x16", "--count"],
    );
}

#[test]
fn requests_that_no_machine_can_fulfil_are_refused() {
    let workspace = Workspace::new();
    let folder = workspace.folder.path();
    save(&student(DistilledFor::Any, None), folder, "student");
    write_image(&folder.join("image.png"), 16, 0);
    let latent = golden_path("sd1");
    let sample = ["sample", "--model", "student"];
    let prompt = ["sample", "--model", &latent, "--prompt", "a cat", "--size"];
    let eval = ["eval", "--model", "builtin:fashion-mnist", "--steps", "1"];
    let bench = ["bench", "tiny"];
    let sides = format!("{MAX}x{MAX}");
    let cases: [(&[&str], &[&str], &str); 15] = [
        (&sample, &["--count", MAX], "at most 1099511627776"),
        (&sample, &["--count", "1099511627776"], "of memory"),
        (&sample, &["--steps", MAX], "at most 16384"),
        (&sample, &["--first", MAX], "the numbers end there"),
        (&sample, &["--w", "1e308"], "-1000000 to 1000000"),
        (
            &sample,
            &["--guidance-scale", "1e308"],
            "-1000000 to 1000000",
        ),
        (&prompt, &["65536x65536"], "of memory"),
        (&prompt, &[&sides], "at most 65536"),
        (&eval, &["--count", "1099511627776"], "of memory"),
        (&eval, &["--count", "1"], "at least 2"),
        (&eval, &["--w", "nan"], "-1000000 to 1000000"),
        (&bench, &["--batch", MAX], "at most 262144"),
        (&bench, &["--rounds", MAX], "at most 16384"),
        (&bench, &["--warm-up", MAX], "at most 16384"),
        (&["quickstart"], &["--samples", MAX], "2..=1000000"),
    ];
    for (command, words, part) in cases {
        workspace.refuse(&[command, words].concat(), &[part]);
    }
    // What is only larger than there is to do is no more than there is to do.
    let words = [
        "--count",
        "2",
        "--batch",
        "262144",
        "--columns",
        "1099511627776",
        "--seed",
        MAX,
    ];
    workspace.succeed(&[&sample[..], &words].concat());
}

/// Image files may have as many pixels as the flag says.
#[test]
fn pixels_of_image_files_have_a_limit_that_can_be_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    save(&tiny::teacher(), folder, "teacher");
    write_image(&folder.join("image.png"), 16, 0);
    let restyle = [
        "restyle",
        "--teacher",
        "teacher",
        "--teacher-steps",
        "1",
        "--image",
        "image.png",
        "--from",
        "star",
        "--to",
        "circle",
        "--max-pixels",
    ];
    succeed(folder, &[&restyle[..], &["256"]].concat());
    let output = run(folder, &[&restyle[..], &["255"]].concat());
    assert_refused(&output, &["16x16 pixels", "at most 255", "--max-pixels"]);
}

/// The recipe next to the weights decides which model of a run is taken, and is not trusted either.
#[test]
fn the_recipe_of_a_runs_model_is_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    for (name, steps) in [("steps-4", 4), ("steps-1", 1)] {
        let model = student(DistilledFor::Deterministic, Some(steps));
        save(&model, &folder.join("run/models"), name);
    }
    let sample = ["sample", "--model", "run", "--count", "1"];
    let said = |words: &[&str]| succeed(folder, &[&sample[..], words].concat()).1;
    assert!(!said(&["--steps", "4"]).contains("several models"));
    let note = said(&["--steps", "3"]);
    assert!(
        note.contains("steps-4 is taken") && note.contains("also steps-1"),
        "{note}"
    );
    let note = said(&[]);
    assert!(
        note.contains("steps-1 is taken") && note.contains("also steps-4"),
        "{note}"
    );

    let file = folder.join("run/models/steps-4/fewstep.json");
    let text = std::fs::read_to_string(&file).expect("a recipe");
    for (from, to, part) in [
        (
            "\"steps\": 4",
            "\"steps\": 18446744073709551615",
            "`role.steps`",
        ),
        ("\"version\": 1", "\"version\": 9", "version 9"),
        ("\"w_max\": 4.0", "\"w_max\": 1e300", "`guidance.w_max`"),
    ] {
        assert!(text.contains(from), "no {from} in {text}");
        std::fs::write(&file, text.replace(from, to)).expect("written");
        let output = run(folder, &[&sample[..], &["--steps", "1"]].concat());
        assert_refused(&output, &["fewstep.json", part]);
    }
    std::fs::remove_file(&file).expect("removed");
    std::os::unix::fs::symlink("/dev/zero", &file).expect("a link");
    let output = run(folder, &[&sample[..], &["--steps", "1"]].concat());
    assert_refused(&output, &["it is a device"]);
}
