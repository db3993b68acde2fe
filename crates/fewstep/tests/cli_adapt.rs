//! `fewstep adapt` through the real binary.

mod workspace;

use workspace::{Workspace, assert_same_run, copy, weights};

const ADAPT: &str = r#"
seed = 7
teacher = "TEACHER"
student = "students"
steps = 2
[lora]
rank = 2
alpha = 2.0
[data]
kind = "idx"
path = "DATA"
limit = 16
[fine_tune]
updates = 12
optim = { batch = 8, lr = 1e-3 }
[adapt]
updates = 12
teacher_steps = 4
optim = { batch = 8, micro_batch = 4, lr = 2e-2, ema = { decay = 0.9 } }
[run]
log_every = 4
checkpoint_every = 4
"#;

/// A workspace with a teacher and its students, and the path of the recipe.
fn prepared() -> (Workspace, String) {
    let workspace = Workspace::with_students();
    let recipe = workspace.recipe("adapt.toml", ADAPT);
    (workspace, recipe)
}

/// The names of weights that differ.
fn moved(before: &[(String, Vec<u8>)], after: &[(String, Vec<u8>)]) -> Vec<String> {
    assert_eq!(before.len(), after.len());
    let pairs = before.iter().zip(after);
    let moved = pairs.filter(|(before, after)| before != after);
    moved.map(|((name, _), _)| name.clone()).collect()
}

/// A run that is killed again and again is bit for bit the run that never was. Teacher and student
/// have moved by their LoRA only, and the student is what it was: its steps, its sampler, its w.
#[test]
fn a_student_learns_with_its_teacher_and_keeps_its_steps() {
    let (workspace, recipe) = prepared();
    workspace.succeed(&["adapt", &recipe, "--out", "whole"]);
    let kills = workspace.run_with_kills(&["adapt", &recipe, "--out", "killed"]);
    assert!(kills > 1, "the run ended before it could be killed");
    let (whole, killed) = (workspace.path("whole"), workspace.path("killed"));
    assert_same_run(&whole, &killed, &["teacher", "steps-2"]);

    let teacher = moved(
        &weights(&workspace.path("teacher"), "teacher"),
        &weights(&whole, "teacher"),
    );
    let student = moved(
        &weights(&workspace.path("students"), "steps-2"),
        &weights(&whole, "steps-2"),
    );
    let is_lora = |name: &String| name.contains("attentions");
    assert!(
        !teacher.is_empty() && teacher.iter().all(is_lora),
        "{teacher:?}"
    );
    // The input for w learns too.
    let is_w = |name: &String| name.contains("cond_proj");
    assert!(
        student.iter().any(is_lora) && student.iter().any(is_w),
        "{student:?}"
    );
    assert!(
        student.iter().all(|name| is_lora(name) || is_w(name)),
        "{student:?}"
    );
    for model in ["teacher", "steps-2"] {
        assert!(whole.join("models").join(model).join("lora").is_dir());
    }

    let (info, _) = workspace.succeed(&["info", "whole/models/steps-2"]);
    for part in ["adapted", "2 steps", "deterministic"] {
        assert!(info.contains(part), "no `{part}` in {info}");
    }
    let sample = ["sample", "--model", "whole", "--steps", "2", "--class", "0"];
    for (w, warns) in [("1.5", false), ("2.5", true)] {
        let one = ["--count", "1", "--w", w, "--out-dir", "images"];
        let (_, said) = workspace.succeed(&[&sample[..], &one].concat());
        assert_eq!(said.contains("w = 0 to 2"), warns, "{said}");
    }
}

/// A recipe without LoRA, for all weights.
fn whole(text: &str) -> String {
    let (head, rest) = text.split_once("[lora]").expect("LoRA");
    let (_, rest) = rest.split_once("[data]").expect("data");
    format!("{head}[data]{rest}")
}

/// A recipe for a teacher that stays as it is.
fn following(text: &str) -> String {
    let (head, rest) = text.split_once("[fine_tune]").expect("a section");
    let (_, adapt) = rest.split_once("[adapt]").expect("a section");
    format!("{head}[adapt]{adapt}")
}

/// All weights of a model but those of the input for w, which only students have.
fn numbers(workspace: &Workspace, run: &str, model: &str) -> Vec<f32> {
    let all = weights(&workspace.path(run), model).into_iter();
    let all = all.filter(|(name, _)| !name.contains("cond_proj"));
    let numbers = |bytes: Vec<u8>| -> Vec<f32> {
        let numbers = bytes.as_chunks().0.iter();
        numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    all.flat_map(|(_, bytes)| numbers(bytes)).collect()
}

fn largest(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(0.0, |most, value| most.max(value.abs()))
}

/// The student starts with what its teacher has learnt, as LoRA, with all weights, or elsewhere: with
/// no updates of its own to speak of, it differs from the one before as its teacher does.
#[test]
fn the_student_starts_with_what_its_teacher_has_learnt() {
    let (workspace, lora) = prepared();
    let all = workspace.recipe("all.toml", &whole(ADAPT));
    let tuned = following(&whole(ADAPT)).replace("\"TEACHER\"", "\"all/models/teacher\"");
    let tuned = format!("teacher_before = \"teacher\"\n{tuned}");
    let tuned = workspace.recipe("tuned.toml", &tuned);
    let with_lora = tuned.replace("tuned.toml", "tuned-lora.toml");
    let text = std::fs::read_to_string(&tuned).expect("there");
    std::fs::write(&with_lora, format!("{text}[lora]\nrank = 2\nalpha = 2.0\n")).expect("written");
    let learns = ["--set", "fine_tune.optim.lr=0.05"];
    for (recipe, run, taught, learns) in [
        (lora, "lora", "lora", &learns[..]),
        (all, "all", "all", &learns),
        (tuned, "tuned", "all", &[]),
        (with_lora, "tuned-lora", "all", &[]),
    ] {
        let still = ["--set", "adapt.updates=1", "--set", "adapt.optim.lr=1e-12"];
        let adapt = ["adapt", &recipe, "--out", run];
        workspace.succeed(&[&adapt[..], &still, learns].concat());
        let change = |before: [&str; 2], after: [&str; 2]| -> Vec<f32> {
            let [before, after] =
                [before, after].map(|[run, model]| numbers(&workspace, run, model));
            assert_eq!(before.len(), after.len());
            let pairs = before.iter().zip(&after);
            pairs.map(|(before, after)| after - before).collect()
        };
        let taught = change(["teacher", "teacher"], [taught, "teacher"]);
        let learnt = change(["students", "steps-2"], [run, "steps-2"]);
        assert!(
            largest(taught.iter().copied()) > 0.01,
            "{run}: the teacher never moved"
        );
        let differences = taught.iter().zip(&learnt).map(|(a, b)| a - b);
        let most = largest(differences);
        assert!(most < 1e-5, "{run}: {most}");
    }
}

/// Without [fine_tune] the student follows a teacher with a LoRA of other tools, with all weights
/// too, and a run goes on from the student that it was started with, wherever that is now.
#[test]
fn a_lora_of_other_tools_is_merged_and_followed() {
    let (workspace, recipe) = prepared();
    workspace.succeed(&["adapt", &recipe, "--out", "first"]);
    let follows = following(&whole(ADAPT));
    let file = "first/models/teacher/lora/kohya.safetensors";
    let text = format!("teacher_lora = [{{ path = \"{file}\", weight = 0.5 }}]\n{follows}");
    let merging = workspace.recipe("merging.toml", &text);
    let run = ["adapt", merging.as_str(), "--out", "merged", "--set"];
    workspace.succeed(&[&run[..], &["adapt.updates=4"]].concat());
    assert!(!workspace.path("merged/models/teacher").exists());
    let (info, _) = workspace.succeed(&["info", "merged/models/steps-2"]);
    assert!(info.contains("kohya:0.5"), "{info}");
    let resumed = [&run[..], &["adapt.updates=8", "--resume", "--set"]].concat();
    copy(
        &workspace.path("students/models/steps-2"),
        &workspace.path("elsewhere"),
    );
    workspace.refuse(
        &[&resumed[..], &["student=first/models/steps-2"]].concat(),
        &["was started on something else", "its student starts from"],
    );
    workspace.succeed(&[&resumed[..], &["student=elsewhere"]].concat());
    let (info, _) = workspace.succeed(&["info", &merging]);
    assert!(info.contains("let the student students follow"), "{info}");
}

/// What the run would do: the teacher's updates, then the student's, with both branches of the
/// teacher at two times for each of them.
#[test]
fn the_plan_has_both_phases() {
    let (workspace, recipe) = prepared();
    let (plan, _) = workspace.succeed(&["adapt", &recipe, "--dry-run"]);
    for part in ["teacher ", "steps-2 ", "4 + 1 trained"] {
        assert!(plan.contains(part), "no `{part}` in {plan}");
    }
    let (plan, _) = workspace.succeed(&["plan", &recipe]);
    assert!(plan.contains("LoRA"), "{plan}");
    let (info, _) = workspace.succeed(&["info", &recipe]);
    for part in ["teach the student students", "12 updates of 8 samples"] {
        assert!(info.contains(part), "no `{part}` in {info}");
    }
    workspace.refuse(&["distill", &recipe], &["run `fewstep adapt "]);
}

/// Settings that cannot work are named, with what to do, before anything is trained.
#[test]
fn what_does_not_fit_is_refused() {
    let (workspace, recipe) = prepared();
    let train = workspace.path("train.toml").display().to_string();
    let wide = ["--set", "updates=1", "--set", "network.widths=[8, 32]"];
    workspace.succeed(&[&["train", &train, "--out", "wide"], &wide[..]].concat());
    for (set, said) in [
        ("student=teacher", "is a teacher"),
        ("student=nowhere", "nowhere"),
        ("student=students/models/steps-1", "`steps` is 2"),
        ("teacher=students/models/steps-2", "guidance folded in"),
        ("teacher=wide", "the student's layer"),
        ("teacher_before=wide", "other layers than the student"),
        ("teacher_before=nowhere", "nowhere"),
        ("adapt.teacher_steps=5", "such as 6"),
        ("adapt.updates=0", "adapt.updates"),
        ("fine_tune.label_dropout=2", "label_dropout"),
        ("steps=0", "steps"),
        ("w=1.0", "takes w as an input"),
        ("lora.targets=[\"nothing\"]", "nothing"),
        ("data.path=nowhere", "nowhere"),
        ("teachers=a", "Did you mean `teacher`?"),
        (
            "teacher_lora=[{ path = \"teacher/models/teacher/unet/diffusion_pytorch_model.safetensors\" }]",
            "LoRA",
        ),
    ] {
        workspace.refuse(&["adapt", &recipe, "--out", "none", "--set", set], &[said]);
        assert!(!workspace.path("none/models").exists(), "{set}");
    }
}
