//! The methods and their options.

use super::*;

/// Every method and option runs, and its models say how they are sampled.
#[test]
fn methods_and_options_run() {
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
        (
            "mix",
            vec!["controlnet.fusion=mix", "controlnet.initial=random"],
        ),
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
    // Few steps first, then the condition: the student keeps its input for w and its few steps.
    let teacher = "teacher=lcm-first/models/consistency";
    let text = CODI.replace("[condition]\nkind = \"bicubic\"\nfactor = 2\n", "");
    let plain = workspace.recipe("plain.toml", &text);
    let lcm = [
        "--set",
        few,
        "--set",
        "method=consistency",
        "--set",
        "w=[0.0, 2.0]",
    ];
    workspace.succeed(&[&["distill", &plain, "--out", "lcm-first"], &lcm[..]].concat());
    distil(
        &workspace,
        "first",
        &[few, teacher, "method=denoising", "train=controlnet"],
    );
    let (info, _) = workspace.succeed(&["info", "first/models/conditioned"]);
    assert!(
        info.contains("1 to 4 steps") && info.contains("fewstep upscale"),
        "{info}"
    );
    let recipe = workspace.recipe("codi.toml", CODI);
    let codi = ["distill", &recipe, "--out", "x", "--set", teacher];
    workspace.refuse(&codi, &["takes w as an input", "before guidance"]);
    // The condition first, then few steps: the teacher of the second run has learnt the condition.
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
                "distill", &recipe, "--out", "other", "--set", teacher, "--set", set,
            ],
            &words,
        );
    }
}

#[test]
fn recipes_that_cannot_work_are_refused() {
    let workspace = taught();
    let recipe = workspace.recipe("codi.toml", CODI);
    for (set, words) in [
        ("method=cody", ["method", "Did you mean \"codi\"?"]),
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
            "train=controlnet",
            "--set",
            "teacher_precision=bf16",
        ],
        &["teacher_precision", "train = \"controlnet\""],
    );
    let text = CODI.replace("[condition]\nkind = \"bicubic\"\nfactor = 2\n", "");
    let plain = workspace.recipe("plain.toml", &text.replace("\"full\"", "\"controlnet\""));
    workspace.refuse(
        &["distill", &plain, "--out", "y"],
        &["train = \"controlnet\"", "[condition]"],
    );
}
