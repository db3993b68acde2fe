//! Where things are written to and read from: files, links, pipes and devices.

use super::*;
use std::os::unix::fs::{FileTypeExt, symlink};

#[test]
fn images_go_through_pipes_and_links_and_to_standard_output() {
    let home = folder();
    let folder = home.path();
    save(&teacher(), folder, "model");
    succeed(folder, &sample(&["--out", "plain.png"]));
    let expected = std::fs::read(folder.join("plain.png")).expect("generated");

    std::fs::create_dir(folder.join("elsewhere")).expect("made");
    symlink("elsewhere/image.png", folder.join("link.png")).expect("linked");
    succeed(folder, &sample(&["--out", "link.png"]));
    assert!(folder.join("link.png").is_symlink(), "the link is gone");
    let generated = std::fs::read(folder.join("elsewhere/image.png"));
    assert!(generated.expect("generated") == expected);

    let pipe = folder.join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read(pipe).expect("read")
    });
    succeed(folder, &sample(&["--out", "pipe"]));
    assert!(reader.join().expect("ended") == expected);
    let kind = std::fs::metadata(&pipe).expect("there").file_type();
    assert!(kind.is_fifo(), "the pipe is gone");

    // Nothing but the image is on standard output then.
    let output = run(folder, &sample(&["--out", "-"]));
    assert!(output.status.success() && output.stdout == expected);
    assert!(!output.stderr.is_empty());
    assert!(!folder.join("-").exists());
}

#[test]
fn models_are_read_from_standard_input_and_never_from_what_has_no_end() {
    let home = folder();
    let folder = home.path();
    save(&teacher(), folder, "model");
    let file = std::fs::File::open(folder.join("model").join(WEIGHTS_FILE)).expect("there");
    let info = Command::new(env!("CARGO_BIN_EXE_fewstep"))
        .args(["info", "-"])
        .stdin(file)
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&info.stdout);
    assert!(said.contains("circle, square, star"), "{said}");
    refuse(folder, &["info", "/dev/zero"], &["/dev/zero", "device"]);
}

#[test]
fn links_out_of_a_model_are_refused() {
    let home = folder();
    let folder = home.path();
    golden(folder, "latent/sd1", "model");
    let config = folder.join("model/vae/config.json");
    std::fs::rename(&config, folder.join("secret.json")).expect("moved");
    symlink("../../secret.json", &config).expect("linked");
    for words in [
        sample(&["--prompt", "x", "--out", "x.png"]),
        vec!["info", "model"],
        vec!["export", "--model", "model", "--out", "copy"],
    ] {
        refuse(
            folder,
            &words,
            &["vae/config.json", "out of the model's folder"],
        );
    }
    assert!(!folder.join("copy").exists());
}
