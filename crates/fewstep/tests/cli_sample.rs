//! `fewstep sample` through the real program.

mod tiny;
mod workspace;

use fewstep_diffusion::{DistilledFor, Guidance};
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;
use tiny::{read_image, save, student, teacher};
use workspace::{refuse, succeed};

/// A folder with a teacher and a student for 2 deterministic steps.
fn workspace() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    save(&teacher(), folder.path(), "teacher");
    save(
        &student(DistilledFor::Deterministic, Some(2)),
        folder.path(),
        "student",
    );
    folder
}

fn bytes(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).expect("a file")
}

/// Generates with extra words and returns the file.
fn generate(folder: &Path, model: &str, words: &[&str]) -> Vec<u8> {
    let all = [
        &["sample", "--model", model, "--out", "image.png"][..],
        words,
    ]
    .concat();
    succeed(folder, &all);
    bytes(folder, "image.png")
}

#[test]
fn a_grid_has_a_column_for_each_class() {
    let folder = workspace();
    let words = [
        "sample",
        "--model",
        "student",
        "--count",
        "6",
        "--out",
        "new/grid.png",
    ];
    let (out, err) = succeed(folder.path(), &words);
    for part in [
        "new/grid.png: 6 images of 3 classes",
        "deterministic sampler, 2 steps",
        "w = 1 (guidance scale 2)",
        "2 network calls",
    ] {
        assert!(out.contains(part), "{out}");
    }
    assert_eq!(err, "");
    let grid = read_image(&folder.path().join("new/grid.png")).shape;
    assert_eq!((grid.width, grid.height), (3 * 17 + 1, 2 * 17 + 1));
    let one = [&words[..5], &["--columns", "1", "--out", "column.png"]].concat();
    succeed(folder.path(), &one);
    assert_eq!(
        read_image(&folder.path().join("column.png")).shape.width,
        18
    );
    // One image has no frame.
    generate(folder.path(), "student", &["--count", "1"]);
    let single = read_image(&folder.path().join("image.png")).shape;
    assert_eq!((single.width, single.height), (16, 16));
}

#[test]
fn a_seed_gives_the_same_file_whatever_the_batch() {
    let folder = workspace();
    for model in ["student", "teacher"] {
        let steps = ["--steps", "2", "--count", "7"];
        let first = generate(folder.path(), model, &steps);
        let again = generate(
            folder.path(),
            model,
            &[&steps[..], &["--batch", "3"]].concat(),
        );
        let other = generate(
            folder.path(),
            model,
            &[&steps[..], &["--seed", "1"]].concat(),
        );
        assert!(first == again, "{model}: the batch size changes the images");
        assert!(first != other, "{model}: the seed makes no difference");
    }
}

#[test]
fn single_files_go_on_where_another_call_stopped() {
    let folder = workspace();
    let words = ["sample", "--model", "student", "--out-dir"];
    succeed(
        folder.path(),
        &[&words[..], &["whole", "--count", "4"]].concat(),
    );
    succeed(
        folder.path(),
        &[&words[..], &["rest", "--first", "2", "--count", "2"]].concat(),
    );
    for name in ["000002.png", "000003.png"] {
        let [whole, rest] = ["whole", "rest"].map(|part| bytes(&folder.path().join(part), name));
        assert!(whole == rest, "{name}");
    }
    assert!(!folder.path().join("rest/000000.png").exists());
    assert_eq!(
        read_image(&folder.path().join("whole/000000.png"))
            .shape
            .width,
        16
    );
}

#[test]
fn both_conventions_of_guidance_mean_the_same() {
    let folder = workspace();
    for model in ["student", "teacher"] {
        let generate = |words: &[&str]| {
            generate(
                folder.path(),
                model,
                &[&["--steps", "2"][..], words].concat(),
            )
        };
        assert!(generate(&["--w", "2.3"]) == generate(&["--guidance-scale", "3.3"]));
        assert!(
            generate(&["--w", "2.3"]) != generate(&["--w", "0"]),
            "{model}: w makes no difference"
        );
    }
}

#[test]
fn classes_are_generated_by_name_and_by_number() {
    let folder = workspace();
    let generate = |class| {
        generate(
            folder.path(),
            "student",
            &["--count", "2", "--class", class],
        )
    };
    assert!(generate("Square") == generate("1"));
    assert!(generate("square") != generate("star"));
}

#[test]
fn every_sampler_works_with_a_teacher() {
    let folder = workspace();
    for (sampler, calls) in [
        ("deterministic", 8),
        ("stochastic", 8),
        ("ddim", 8),
        ("ancestral", 8),
        ("dpm-solver++", 8),
        ("unipc", 8),
        ("heun", 14),
    ] {
        let words = [
            "sample", "--model", "teacher", "--steps", "4", "--w", "1", "--count", "1", "--json",
        ];
        let (out, _) = succeed(
            folder.path(),
            &[&words[..], &["--sampler", sampler]].concat(),
        );
        let summary: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(summary["sampler"], sampler);
        assert_eq!(summary["network_calls"], calls, "{sampler}");
        assert_eq!(summary["samples"], 1);
        assert_eq!(summary["out"], "samples.png");
        assert!(
            summary["seconds_per_image"]
                .as_f64()
                .is_some_and(|seconds| seconds > 0.0)
        );
    }
    let unguided = ["sample", "--model", "teacher", "--steps", "4", "--json"];
    let (out, _) = succeed(folder.path(), &unguided);
    let summary: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (&summary["w"], &summary["network_calls"]),
        (&0.0.into(), &4.into())
    );
    let spaced = |spacing| {
        let words = ["--steps", "4", "--sampler", "ddim", "--spacing", spacing];
        generate(folder.path(), "teacher", &words)
    };
    assert!(
        spaced("leading") != spaced("uniform"),
        "the spacing makes no difference"
    );
    // Names of earlier versions are still read.
    assert_eq!(spaced("leading-one"), spaced("leading-offset-1"));
    let sampled = |sampler: &[&str]| {
        let words = [&["--steps", "4", "--sampler"][..], sampler].concat();
        generate(folder.path(), "teacher", &words)
    };
    let ddim = sampled(&["ddim"]);
    assert_eq!(sampled(&["ddim", "--eta", "0"]), ddim);
    assert!(sampled(&["ddim", "--eta", "0.5"]) != ddim);
    assert_eq!(
        sampled(&["ddim", "--eta", "1"]),
        sampled(&["ancestral"]),
        "ancestral sampling is DDIM with eta 1"
    );
    assert!(sampled(&["heun", "--churn", "4"]) != sampled(&["heun"]));
    assert!(sampled(&["unipc-bh1"]) != sampled(&["unipc"]));
}

#[test]
fn a_run_folder_gives_the_student_for_the_steps() {
    let folder = workspace();
    let one = student(DistilledFor::Deterministic, Some(1));
    save(&one, folder.path(), "run/models/steps-1");
    save(
        &student(DistilledFor::Deterministic, Some(2)),
        folder.path(),
        "run/models/steps-2",
    );
    for steps in ["1", "2"] {
        let words = ["sample", "--model", "run", "--count", "1", "--steps", steps];
        let (_, err) = succeed(folder.path(), &words);
        assert_eq!(err, "", "steps {steps}");
    }
}

#[test]
fn what_a_student_was_not_trained_for_is_warned_about() {
    let folder = workspace();
    let warned = |words: &[&str]| {
        let all = [&["sample", "--model", "student", "--count", "1"][..], words].concat();
        succeed(folder.path(), &all).1
    };
    let outside = warned(&["--w", "9"]);
    assert!(outside.contains("w = 9 (guidance scale 10)"), "{outside}");
    assert!(outside.contains("w = 0 to 4"), "{outside}");
    let steps = warned(&["--steps", "3"]);
    assert!(
        steps.contains("distilled for 2 steps and is sampled with 3"),
        "{steps}"
    );
}

#[test]
fn what_contradicts_the_model_is_refused() {
    let folder = workspace();
    let encoder = student(DistilledFor::Encoder, Some(2));
    save(&encoder, folder.path(), "encoder");
    let mut fixed = student(DistilledFor::Deterministic, Some(2));
    fixed.recipe.guidance = Guidance::Fixed { w: 2.0 };
    save(&fixed, folder.path(), "fixed");
    let mut plain = tiny::remade(&teacher(), 2, [1, 16, 16], &[]);
    plain.recipe.guidance = Guidance::None;
    save(&plain, folder.path(), "plain");
    for (model, words, parts) in [
        (
            "student",
            ["--class", "stra"],
            ["no class `stra`", "Did you mean `star`?"],
        ),
        (
            "student",
            ["--class", "3"],
            ["no class `3`", "circle, square, star"],
        ),
        (
            "student",
            ["--sampler", "stochastic"],
            ["deterministic sampler", "stochastic one"],
        ),
        (
            "student",
            ["--sampler", "unipc"],
            ["for the deterministic sampler and cannot", "unipc"],
        ),
        (
            "student",
            ["--spacing", "trailing"],
            ["--spacing", "deterministic"],
        ),
        ("teacher", ["--eta", "2"], ["--eta 2", "between 0"]),
        ("teacher", ["--churn", "1"], ["--churn 1", "ddim sampler"]),
        ("student", ["--eta", "1"], ["--eta 1", "only ddim has one"]),
        (
            "encoder",
            ["--steps", "2"],
            ["encoder", "generate images from noise"],
        ),
        ("fixed", ["--w", "1"], ["only for w = 2", "w = 1"]),
        ("plain", ["--w", "1"], ["without guidance", "w = 1"]),
        ("plain", ["--class", "star"], ["without classes", "`star`"]),
        ("nowhere", ["--steps", "2"], ["nowhere", "No such file"]),
        (
            "builtin:nothing",
            ["--steps", "2"],
            ["builtin model `nothing`", "there are"],
        ),
    ] {
        let all = [&["sample", "--model", model][..], &words].concat();
        refuse(folder.path(), &all, &parts);
    }
    assert!(!folder.path().join("samples.png").exists());
}

#[test]
fn impossible_flags_are_refused() {
    let folder = workspace();
    for (words, part) in [
        (["--w", "1", "--guidance-scale", "2"], "cannot be used with"),
        (["--out", "a.png", "--out-dir", "b"], "cannot be used with"),
        (["--steps", "0", "--count", "1"], "at least 1"),
        (["--w", "nan", "--count", "1"], "expected a number"),
        (["--sampler", "euler", "--count", "1"], "dpm-solver++"),
    ] {
        refuse(
            folder.path(),
            &[&["sample", "--model", "student"][..], &words[..]].concat(),
            &[part],
        );
    }
}

#[test]
fn a_place_that_cannot_be_written_is_refused() {
    let folder = workspace();
    std::fs::write(folder.path().join("file"), "in the way").expect("written");
    let words = ["sample", "--model", "student", "--count", "1"];
    for place in [["--out", "file/grid.png"], ["--out-dir", "file/images"]] {
        refuse(
            folder.path(),
            &[&words[..], &place].concat(),
            &["file", "choose another place"],
        );
    }
    std::fs::create_dir(folder.path().join("folder.png")).expect("a folder");
    let words = [&words[..], &["--out", "folder.png"]].concat();
    refuse(
        folder.path(),
        &words,
        &["cannot write folder.png", "choose another place"],
    );
}
