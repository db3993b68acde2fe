//! Models in one file, and back.

use super::*;

#[test]
fn a_single_file_comes_back_as_a_folder() {
    for name in ["sd1", "sd2"] {
        comes_back(&golden_path(name));
    }
}

fn comes_back(model: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let single = ["--form", "single-file", "--out", "model.safetensors"];
    succeed(
        folder,
        &[&["export", "--model", model], &single[..]].concat(),
    );
    let import = [
        "import",
        "--file",
        "model.safetensors",
        "--like",
        model,
        "--out",
        "back",
    ];
    succeed(folder, &import);
    let words = ["--prompt", "a cat"];
    assert_eq!(
        generate(folder, &[&["--model", "back"], &words[..]].concat()),
        generate(folder, &[&["--model", model], &words[..]].concat())
    );
}

/// Pickled weights (tools/golden/pickles.py): only on request, and never anything but tensors.
#[test]
fn pickled_weights_are_read_on_request_and_run_no_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let model = golden_path("sd1");
    let pickle = |name: &str| golden_path("../pickles") + "/" + name;
    let words = ["--prompt", "a cat"];
    let expected = generate(folder, &[&["--model", &model], &words[..]].concat());

    let checkpoint = pickle("sd1.ckpt");
    let import = [
        "import",
        "--file",
        &checkpoint,
        "--like",
        &model,
        "--out",
        "single",
    ];
    refuse(folder, &import, &["sd1.ckpt", "--allow-pickle"]);
    succeed(folder, &[&import[..], &["--allow-pickle"]].concat());
    let image = generate(folder, &[&["--model", "single"], &words[..]].concat());
    assert!(image == expected);

    copy(Path::new(&model), &folder.join("pickled"));
    let encoder = folder.join("pickled/text_encoder");
    std::fs::remove_file(encoder.join("model.fp16.safetensors")).expect("removed");
    std::fs::copy(
        pickle("pytorch_model.bin"),
        encoder.join("pytorch_model.bin"),
    )
    .expect("copied");
    let sample = [
        "sample", "--model", "pickled", "--prompt", "x", "--out", "x.png",
    ];
    refuse(
        folder,
        &sample,
        &["text_encoder", "fewstep import --allow-pickle"],
    );
    let import = ["import", "--file", "pickled", "--out", "whole"];
    refuse(folder, &import, &["pickled is a folder", "--allow-pickle"]);
    succeed(folder, &[&import[..], &["--allow-pickle"]].concat());
    let image = generate(folder, &[&["--model", "whole"], &words[..]].concat());
    assert!(image == expected);

    for (name, part) in [
        ("system.pt", "`posix.system`"),
        ("eval.pt", "`builtins.eval`"),
    ] {
        let file = pickle(name);
        let import = [
            "import",
            "--allow-pickle",
            "--file",
            &file,
            "--like",
            &model,
            "--out",
            "bad",
        ];
        refuse(folder, &import, &[name, part, "nothing of it was run"]);
        std::fs::copy(&file, encoder.join("pytorch_model.bin")).expect("copied");
        let import = [
            "import",
            "--allow-pickle",
            "--file",
            "pickled",
            "--out",
            "bad",
        ];
        refuse(folder, &import, &[part]);
        assert!(!folder.join("executed").exists() && !folder.join("bad").exists());
    }
}
