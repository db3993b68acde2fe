//! Students with a ControlNet that learn what their teacher learns anew.

use super::*;

const CONDITION: &str = "[condition]\nkind = \"bicubic\"\nfactor = 2\n";

const STUDENTS: &str = r#"
seed = 4
teacher = "taught"
w = [0.0, 2.0]
[data]
kind = "idx"
path = "DATA"
[guided]
updates = 2
optim = { batch = 8, lr = 1e-3 }
"#;

const ADAPT: &str = r#"
seed = 7
teacher = "taught"
student = "students"
steps = 2
[data]
kind = "idx"
path = "DATA"
[fine_tune]
updates = 6
optim = { batch = 8, lr = 1e-3 }
[adapt]
updates = 6
teacher_steps = 4
optim = { batch = 8, micro_batch = 4, lr = 1e-3 }
[run]
log_every = 2
checkpoint_every = 4
"#;

/// All weights move, those of the ControlNets too; as LoRA only the layers of the base do.
#[test]
fn a_student_with_a_controlnet_is_adapted() {
    let workspace = taught();
    distil(&workspace, "taught", &["method=denoising", "updates=4"]);
    let students = workspace.recipe("students.toml", &format!("{STUDENTS}{CONDITION}"));
    workspace.succeed(&["distill", &students, "--out", "students"]);
    let before = workspace.path("students");
    for (name, lora) in [("all", ""), ("lora", "[lora]\nrank = 2\nalpha = 2.0\n")] {
        let text = format!("{ADAPT}{CONDITION}{lora}");
        let adapt = workspace.recipe("adapt.toml", &text);
        workspace.succeed(&["adapt", &adapt, "--out", name]);
        let kills = workspace.run_with_kills(&["adapt", &adapt, "--out", "killed"]);
        assert!(kills > 1, "the run ended before it could be killed");
        let (whole, killed) = (workspace.path(name), workspace.path("killed"));
        assert_same_run(&whole, &killed, &["teacher", "steps-2"]);
        std::fs::remove_dir_all(killed).expect("removed");
        let moved = |model: &str, was: &Path, of: &str| {
            let base = weights(was, of) != weights(&whole, model);
            [base, controlnet(was, of) != controlnet(&whole, model)]
        };
        let all = [true, lora.is_empty()];
        let teacher = workspace.path("taught");
        assert_eq!(moved("teacher", &teacher, "conditioned"), all, "{name}");
        assert_eq!(moved("steps-2", &before, "guided"), all, "{name}");
        write_image(&workspace.path("small.png"), 4, 1);
        let upscale = ["upscale", "--model", name, "--steps", "2", "--w", "1"];
        let more = ["--image", "small.png", "--out", "large.png"];
        workspace.succeed(&[&upscale[..], &more].concat());
        let large = read_image(&workspace.path("large.png"));
        assert_eq!(large.shape.width, 8);
    }
    let without = workspace.recipe("without.toml", ADAPT);
    workspace.refuse(&["adapt", &without, "--out", "x"], &["[condition]"]);
    let other = ["--set", "condition.factor=4"];
    let adapt = workspace.recipe("adapt.toml", &format!("{ADAPT}{CONDITION}"));
    workspace.refuse(
        &[&["adapt", &adapt, "--out", "x"][..], &other].concat(),
        &["[1, 4, 4]", "[1, 2, 2]"],
    );
}
