//! What is written of a model: folders of their own, images of the kind that was asked for.

use super::*;

#[test]
fn a_model_is_edited_by_itself() {
    let home = folder();
    let folder = home.path();
    golden(folder, "latent/tiny", "model");
    succeed(folder, &["export", "--model", "model", "--out", "copy"]);
    let file = "vae/diffusion_pytorch_model.safetensors";
    let [ours, theirs] = ["copy", "model"].map(|name| folder.join(name).join(file));
    let before = std::fs::read(&ours).expect("there");
    let mut edited = std::fs::OpenOptions::new()
        .write(true)
        .open(theirs)
        .expect("open");
    std::io::Write::write_all(&mut edited, b"edited").expect("written in place");
    assert!(std::fs::read(&ours).expect("there") == before);
}

#[test]
fn exports_write_over_nothing() {
    let home = folder();
    let folder = home.path();
    golden(folder, "latent/sd1", "latent");
    save(
        &student(DistilledFor::Deterministic, Some(2)),
        folder,
        "pixels",
    );
    std::fs::create_dir(folder.join("mine")).expect("made");
    std::fs::write(folder.join("mine/notes.txt"), "kept").expect("written");
    let all = |name: &str| {
        let mut files = vec![];
        let mut folders = vec![folder.join(name)];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).expect("listed").flatten() {
                match entry.path().is_dir() {
                    true => folders.push(entry.path()),
                    false => files.push((entry.path(), std::fs::read(entry.path()).expect("read"))),
                }
            }
        }
        files.sort();
        files
    };
    let before = ["latent", "pixels", "mine"].map(all);
    for (model, out) in [
        ("latent", "latent"),
        ("latent", "./latent/"),
        ("pixels", "pixels"),
        ("latent", "pixels"),
        ("latent", "mine"),
        ("pixels", "mine"),
        ("latent", "."),
    ] {
        refuse(
            folder,
            &["export", "--model", model, "--out", out],
            &["is there already"],
        );
    }
    for form in ["single-file", "gguf"] {
        let out = "latent/unet/diffusion_pytorch_model.fp16.safetensors";
        let words = ["export", "--model", "latent", "--form", form, "--out", out];
        refuse(folder, &words, &["is there already", "in latent"]);
        let out = "latent/unet/new.safetensors";
        let words = ["export", "--model", "latent", "--form", form, "--out", out];
        refuse(folder, &words, &["own folder", "--out"]);
    }
    let single = ["export", "--model", "latent", "--form", "single-file"];
    succeed(
        folder,
        &[&single[..], &["--out", "single.safetensors"]].concat(),
    );
    let import = [
        "import",
        "--file",
        "single.safetensors",
        "--like",
        "latent",
        "--out",
    ];
    for out in ["latent", "mine"] {
        refuse(
            folder,
            &[&import[..], &[out]].concat(),
            &["is there already"],
        );
    }
    assert!(["latent", "pixels", "mine"].map(all) == before);
    std::fs::create_dir(folder.join("empty")).expect("made");
    succeed(folder, &["export", "--model", "pixels", "--out", "empty"]);
    succeed(folder, &["info", "empty"]);
}

#[test]
fn an_image_file_is_what_its_name_says() {
    let home = folder();
    let folder = home.path();
    save(&teacher(), folder, "model");
    for (name, start) in [
        ("x.png", &b"\x89PNG"[..]),
        ("x.jpg", b"\xff\xd8\xff"),
        ("x.JPEG", b"\xff\xd8\xff"),
        ("x.webp", b"RIFF"),
        ("x", b"\x89PNG"),
    ] {
        succeed(folder, &sample(&["--out", name]));
        let bytes = std::fs::read(folder.join(name)).expect("written");
        assert!(bytes.starts_with(start), "{name}");
    }
    for name in ["x.gif", "x.bmp", "x.safetensors"] {
        refuse(
            folder,
            &sample(&["--out", name]),
            &[name, ".png, .jpg or .webp"],
        );
        assert!(!folder.join(name).exists());
    }
}

#[test]
fn a_models_name_is_quoted_where_it_would_be_read_as_more() {
    let home = folder();
    let folder = home.path();
    let name = "mine, Seed: 7";
    golden(folder, "latent/sd1", name);
    let words = [
        "sample", "--model", name, "--prompt", "x", "--steps", "1", "--out", "x.png",
    ];
    succeed(folder, &words);
    let png = std::fs::read(folder.join("x.png")).expect("generated");
    let text = fewstep_data::image::parameters(&png).expect("told");
    assert!(text.contains("Model: \"mine, Seed: 7\", "), "{text}");
}
