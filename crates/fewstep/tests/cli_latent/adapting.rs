//! Students of latent models that learn what their teacher learns anew.

use super::*;

const ADAPT: &str = r#"
seed = 7
teacher = "MODEL"
student = "students"
steps = 1
flip = true
prompts = ["a cat"]
[data]
kind = "captioned"
path = "CAPTIONED"
size = 16
[fine_tune]
updates = 5
optim = { batch = 4, lr = 1e-3 }
[adapt]
updates = 5
teacher_steps = 2
optim = { batch = 4, lr = 1e-3, ema = { decay = 0.9 } }
[run]
log_every = 1
checkpoint_every = 2
"#;

const LORA: &str = "[lora]\nrank = 2\nalpha = 2.0\n";

const MASKS: &str = "[condition]\nkind = \"inpaint\"\nmask = \"mixed\"\nmasks = 3\n";

/// With all weights, as LoRA on a teacher in 16 bits, and with masked images: the run that is
/// killed again and again is the run that never was, and teacher and student have both moved.
#[test]
fn a_latent_student_is_adapted_killed_and_resumed() {
    for (model, more) in [("sd1", ""), ("sdxl", LORA), ("inpaint", MASKS)] {
        let workspace = workspace();
        let (text, _) = DISTILL.split_once("[progressive]").expect("stage two");
        let condition = if more == MASKS { MASKS } else { "" };
        let students = format!("{text}{condition}");
        let students = recipe(&workspace, "students.toml", &students, model);
        workspace.succeed(&["distill", &students, "--out", "students"]);
        let text = match more {
            LORA => format!("teacher_precision = \"f16\"\n{ADAPT}{more}"),
            _ => format!("{ADAPT}{more}"),
        };
        let adapt = recipe(&workspace, "adapt.toml", &text, model);
        workspace.succeed(&["adapt", &adapt, "--out", "whole"]);
        let kills = workspace.run_with_kills(&["adapt", &adapt, "--out", "killed"]);
        assert!(kills > 1, "the run ended before it could be killed");
        let (whole, killed) = (workspace.path("whole"), workspace.path("killed"));
        assert_same_run(&whole, &killed, &["teacher", "steps-1"]);
        assert_eq!(caches(&workspace).len(), 1, "one cache for all runs");

        let said = json(&whole.join("models/steps-1/fewstep.json"));
        assert_eq!(said["role"]["steps"], 1);
        assert_eq!(said["guidance"]["w_max"], 14.0);
        let teacher = json(&whole.join("models/teacher/fewstep.json"));
        assert_eq!(teacher["guidance"]["kind"], "classifier-free");
        let moved = weights(&workspace.path("students"), "guided");
        assert_ne!(moved, weights(&whole, "steps-1"), "{model}");
        assert!(whole.join("samples/steps-1.png").is_file());
        // What a LoRA file of the teacher's is for other tools.
        assert_eq!(whole.join("models/teacher/lora").is_dir(), more == LORA);
        if more != MASKS {
            let sample = ["sample", "--model", "whole", "--steps", "1", "--w", "3"];
            workspace.succeed(&[&sample[..], &["--prompt", "a cat"]].concat());
        }
    }
}

/// What does not fit is named before anything is trained.
#[test]
fn a_latent_student_that_does_not_fit_is_refused() {
    let workspace = workspace();
    let (text, _) = DISTILL.split_once("[progressive]").expect("stage two");
    let text = text.replace("updates = 6", "updates = 1");
    let students = recipe(&workspace, "students.toml", &text, "sd1");
    workspace.succeed(&["distill", &students, "--out", "students"]);
    let of_other = recipe(&workspace, "other.toml", ADAPT, "sd2");
    let adapt = ["adapt", &of_other, "--out", "none"];
    workspace.refuse(&adapt, &["the student to start from", "this teacher"]);
    let adapt = recipe(&workspace, "adapt.toml", ADAPT, "sd1");
    for (set, said) in [
        ("data.size=24", "images of another size"),
        ("clip_skip=1", "CLIP skip"),
        ("condition={kind=\"edges\"}", "control images"),
    ] {
        workspace.refuse(&["adapt", &adapt, "--out", "none", "--set", set], &[said]);
        assert!(!workspace.path("none/models").exists(), "{set}");
    }
}
