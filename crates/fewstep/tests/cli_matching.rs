//! Distribution matching through the real binary.

mod workspace;

use workspace::{STUDENTS, TRAIN, Workspace, assert_same_run, copy, log, weights};

const MATCHING: &str = r#"
method = "matching"
seed = 6
teacher = "TEACHER"
updates = 25
[matching]
student = "students"
steps = 2
critic_updates = 3
fake_score = { lr = 2e-3, warmup = 2 }
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

/// A workspace with a teacher and its students, and the path of the recipe.
fn prepared() -> (Workspace, String) {
    let workspace = Workspace::with_students();
    let recipe = workspace.recipe("matching.toml", MATCHING);
    (workspace, recipe)
}

/// A run that is killed again and again is bit for bit the run that never was, and its model is a
/// student for the steps and the w of the one that it started from.
#[test]
fn killed_and_resumed_runs_equal_uninterrupted_ones() {
    let (workspace, recipe) = prepared();
    workspace.succeed(&["distill", &recipe, "--out", "whole"]);
    let kills = workspace.run_with_kills(&["distill", &recipe, "--out", "killed"]);
    assert!(kills > 1, "the run ended before it could be killed");
    let (whole, killed) = (workspace.path("whole"), workspace.path("killed"));
    assert_same_run(&whole, &killed, &["matched"]);

    let start = weights(&workspace.path("students"), "steps-2");
    assert!(
        weights(&whole, "matched") != start,
        "the student never moved"
    );
    let lines = log(&whole);
    assert!(
        lines.iter().all(|line| line.contains("\"fake-score\"")),
        "{lines:?}"
    );
    let (info, _) = workspace.succeed(&["info", "whole/models/matched"]);
    for part in ["matching", "2 steps", "deterministic"] {
        assert!(info.contains(part), "no `{part}` in {info}");
    }
    // The range of the student that it started from.
    let sample = ["sample", "--model", "whole", "--steps", "2", "--w", "2.5"];
    let (_, said) = workspace.succeed(
        &[
            &sample[..],
            &["--class", "0", "--count", "1", "--out-dir", "images"],
        ]
        .concat(),
    );
    assert!(said.contains("w = 0 to 2"), "{said}");
}

/// The plan counts the calls of both players: a simulated step, the fake score and both branches of
/// the teacher for the student, and two steps of the student for the fake score.
#[test]
fn the_plan_has_the_calls_of_all_networks() {
    let (workspace, recipe) = prepared();
    let (plan, _) = workspace.succeed(&["distill", &recipe, "--dry-run"]);
    assert!(plan.contains("6 + 2 trained"), "{plan}");
    let (plan, _) =
        workspace.succeed(&["distill", &recipe, "--dry-run", "--set", "matching.steps=1"]);
    assert!(plan.contains("4 + 2 trained"), "{plan}");
    workspace.succeed(&["plan", &recipe]);
    let (info, _) = workspace.succeed(&["info", &recipe]);
    for part in [
        "match the student students with the teacher",
        "matched  25 updates of 8 samples",
    ] {
        assert!(info.contains(part), "no `{part}` in {info}");
    }
}

/// With LoRA, student and fake score move only these: the run resumes exactly, and its folder has the
/// LoRA on its own. Other methods of one phase train none.
#[test]
fn a_lora_is_trained_in_place_of_all_weights() {
    let (workspace, recipe) = prepared();
    let text = MATCHING
        .replace("[data]", "[lora]\nrank = 2\nalpha = 2.0\n[data]")
        .replace("[optim]", "[optim]\ngradient_checkpointing = true");
    let lora = workspace.recipe("lora.toml", &text);
    workspace.succeed(&["distill", &lora, "--out", "whole"]);
    workspace.run_with_kills(&["distill", &lora, "--out", "killed"]);
    let (whole, killed) = (workspace.path("whole"), workspace.path("killed"));
    assert_same_run(&whole, &killed, &["matched"]);
    assert!(whole.join("models/matched/lora").is_dir());
    let (start, end) = (
        weights(&workspace.path("students"), "steps-2"),
        weights(&whole, "matched"),
    );
    let moved = start
        .iter()
        .zip(&end)
        .filter(|(before, after)| before != after);
    let moved: Vec<&str> = moved.map(|((name, _), _)| &**name).collect();
    assert!(!moved.is_empty());
    assert!(
        moved
            .iter()
            .all(|name| name.contains("attentions") || name.contains("cond_proj")),
        "{moved:?}"
    );
    let refused = ["distill", &recipe, "--set", "method=consistency"];
    let refused = [
        &refused[..],
        &["--set", "lora.rank=2", "--set", "lora.alpha=2.0"],
    ]
    .concat();
    workspace.refuse(&refused, &["trains no LoRA"]);
    workspace.refuse(&["distill", &lora, "--set", "lora.rank=0"], &["rank"]);
}

/// A student of stage one has no number of steps: the recipe says it.
#[test]
fn a_student_of_stage_one_can_start_too() {
    let (workspace, recipe) = prepared();
    let guided = [
        "--set",
        "matching.student=students/models/guided",
        "--set",
        "updates=4",
    ];
    let run = ["distill", recipe.as_str(), "--out", "from-guided"];
    workspace.succeed(&[&run[..], &guided, &["--set", "matching.steps=1"]].concat());
    let sample = [
        "sample",
        "--model",
        "from-guided",
        "--steps",
        "1",
        "--class",
        "1",
    ];
    workspace.succeed(&[&sample[..], &["--count", "1", "--out-dir", "images"]].concat());
}

/// A run goes on from the student that it was started from, wherever that is now.
#[test]
fn a_run_resumes_with_the_student_that_it_started_from() {
    let (workspace, recipe) = prepared();
    let run = ["distill", recipe.as_str(), "--out", "run", "--set"];
    workspace.succeed(&[&run[..], &["updates=4"]].concat());
    let resumed = [&run[..], &["updates=8", "--resume", "--set"]].concat();
    let steps_2 = workspace.path("students/models/steps-2");
    copy(&steps_2, &workspace.path("elsewhere"));
    let guided = "matching.student=students/models/guided";
    workspace.refuse(
        &[&resumed[..], &[guided]].concat(),
        &[
            "run was started on something else",
            "its student starts from",
        ],
    );
    workspace.succeed(&[&resumed[..], &["matching.student=elsewhere"]].concat());
}

/// Settings that cannot work are named, with what to do.
#[test]
fn what_does_not_fit_is_refused() {
    let (workspace, recipe) = prepared();
    let steps_1 = "matching.student=students/models/steps-1";
    for (set, said) in [
        ("matching.student=", "`matching.student` is missing"),
        ("matching.student=nowhere", "nowhere"),
        (
            steps_1,
            "has 1 as its number of steps, and `matching.steps` is 2",
        ),
        ("matching.student=teacher", "is a teacher"),
        (
            "teacher=students/models/steps-2",
            "the teacher is a student of few steps",
        ),
        ("w=1.0", "takes w as an input"),
        ("train=controlnet", "trains \"full\" or"),
        ("label_dropout=0.1", "`label_dropout` has no meaning"),
        (
            "student_prediction=v",
            "`student_prediction` has no meaning",
        ),
        ("matching.critic_updates=0", "critic_updates"),
        ("matching.w_factor=0", "`w_factor` is 0"),
        ("matching.times=[0.5, 0.5]", "`times` is [0.5, 0.5]"),
        ("matching.fake_score.lr=-1", "[fake_score] `lr`"),
        ("matching.steps=0", "steps"),
        ("run.log_every=2", "it must be at least 3"),
        ("matching.criticupdates=3", "Did you mean `critic_updates`?"),
    ] {
        workspace.refuse(
            &["distill", &recipe, "--out", "none", "--set", set],
            &[said],
        );
    }
    // Of a student of stage one nothing says how many steps it is for.
    let text = MATCHING
        .replace("steps = 2\n", "")
        .replace("\"students\"", "\"students/models/guided\"");
    let without = workspace.recipe("without.toml", &text);
    workspace.refuse(&["distill", &without], &["set `matching.steps`"]);
}

/// Without guidance there is nothing to multiply.
#[test]
fn a_factor_of_w_needs_a_guided_teacher() {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", TRAIN);
    let train = ["train", &train, "--out", "teacher", "--set", "updates=4"];
    workspace.succeed(&[&train[..], &["--set", "label_dropout=0"]].concat());
    let (both, second) = (STUDENTS.find("[guided]"), STUDENTS.find("[progressive]"));
    let (first, second) = (both.expect("stage one"), second.expect("stage two"));
    let students = format!("{}{}", &STUDENTS[..first], &STUDENTS[second..]);
    let students = workspace.recipe("distill.toml", &students.replace("w = [0.0, 2.0]\n", ""));
    workspace.succeed(&["distill", &students, "--out", "students"]);
    let recipe = workspace.recipe("matching.toml", MATCHING);
    let run = ["distill", recipe.as_str(), "--out", "run", "--set"];
    workspace.refuse(
        &[&run[..], &["matching.w_factor=0.7"]].concat(),
        &["`matching.w_factor` is for teachers that are guided by any w"],
    );
    workspace.succeed(&[&run[..], &["matching.w_factor=1"]].concat());
}
