//! `fewstep export` and `fewstep import` through the real program.

mod tiny;

use fewstep_data::picture::{self, Picture};
use fewstep_diffusion::StudentSampler;
use std::path::Path;
use tiny::{refuse, save, student, succeed};

const GOLDEN: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../formats/tests/golden/latent"
);

fn draw(folder: &Path, words: &[&str]) -> Picture {
    succeed(
        folder,
        &[&["sample", "--steps", "2", "--out", "drawn.png"], words].concat(),
    );
    picture::read(&folder.join("drawn.png"), None, 3).expect("a picture")
}

fn assert_alike(a: &Picture, b: &Picture) {
    assert_eq!(a.shape, b.shape);
    let differences = a.pixels.iter().zip(&b.pixels).map(|(a, b)| a.abs_diff(*b));
    let largest = differences.max();
    assert!(largest <= Some(1), "pixels differ by {largest:?}");
}

#[test]
fn a_folded_w_draws_what_the_input_draws() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    save(
        &student(StudentSampler::Deterministic, Some(2)),
        folder,
        "pixels",
    );
    let latent = format!("{GOLDEN}/tiny");
    for (model, words) in [("pixels", &[][..]), (&latent, &["--prompt", "a cat"])] {
        let export = [
            "export", "--model", model, "--bake-w", "3", "--out", "fixed",
        ];
        succeed(folder, &export);
        let fixed = draw(folder, &[&["--model", "fixed"], words].concat());
        let input = draw(folder, &[&["--model", model, "--w", "3"], words].concat());
        assert_alike(&fixed, &input);
        let other = draw(folder, &[&["--model", model, "--w", "4"], words].concat());
        assert_ne!(other, input);
        let words = [&["sample", "--model", "fixed", "--w", "4"], words].concat();
        refuse(folder, &words, &["w = 3 alone", "w = 4"]);
    }
}

#[test]
fn a_single_file_comes_back_as_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let model = format!("{GOLDEN}/sd1");
    let single = ["--form", "single-file", "--out", "model.safetensors"];
    succeed(
        folder,
        &[&["export", "--model", &model], &single[..]].concat(),
    );
    let import = [
        "import",
        "--file",
        "model.safetensors",
        "--like",
        &model,
        "--out",
        "back",
    ];
    succeed(folder, &import);
    let words = ["--prompt", "a cat"];
    assert_eq!(
        draw(folder, &[&["--model", "back"], &words[..]].concat()),
        draw(folder, &[&["--model", &model], &words[..]].concat())
    );
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    save(
        &student(StudentSampler::Deterministic, Some(2)),
        folder,
        "pixels",
    );
    let (sd1, tiny) = (format!("{GOLDEN}/sd1"), format!("{GOLDEN}/tiny"));
    let single = ["--form", "single-file"];
    for (model, words, said) in [
        ("pixels", &single[..], "no autoencoder"),
        (&tiny, &single[..], "--bake-w"),
        (&sd1, &["--bake-w", "3"], "nothing to fold in"),
    ] {
        let all = [&["export", "--model", model, "--out", "x"], words].concat();
        refuse(folder, &all, &[said]);
    }
    let import = [
        "import",
        "--file",
        "nowhere.safetensors",
        "--like",
        &sd1,
        "--out",
        "x",
    ];
    refuse(folder, &import, &["nowhere.safetensors"]);
}
