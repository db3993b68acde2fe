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
        encoder.join("pytorch_model.fp16.bin"),
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

/// Tensors of a safetensors file, each under the name that `rename` gives it, if any.
fn renamed(from: &Path, to: &Path, rename: &dyn Fn(&str) -> Option<String>) {
    let bytes = std::fs::read(from).expect("there");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("whole");
    let tensors = file.tensors().into_iter();
    let tensors: Vec<_> = tensors
        .filter_map(|(name, view)| Some((rename(&name)?, view)))
        .collect();
    safetensors::serialize_to_file(tensors, None, to).expect("written");
}

/// Files of other tools, which lack parts or have other names for them, give the model whose other
/// parts they are imported with.
#[test]
fn a_single_file_may_lack_parts_and_have_other_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let model = golden_path("sd1");
    let single = ["--form", "single-file", "--out", "whole.safetensors"];
    let export = ["export", "--model", &model];
    succeed(folder, &[&export[..], &single].concat());
    let words = ["--prompt", "a cat"];
    let images = |model: &str| generate(folder, &[&["--model", model], &words[..]].concat());
    let expected = images(&model);
    let file = |name: &str| folder.join(format!("{name}.safetensors"));
    let whole = file("whole");
    let unet = "model.diffusion_model.";
    let keep = |name: &str, wanted: bool| wanted.then(|| name.to_string());
    renamed(&whole, &file("no-vae"), &|name| {
        keep(name, !name.starts_with("first_stage_model."))
    });
    renamed(&whole, &file("unet"), &|name| {
        keep(name, name.starts_with(unet))
    });
    renamed(&whole, &file("bare"), &|name| {
        name.strip_prefix(unet).map(String::from)
    });
    renamed(&whole, &file("conditioner"), &|name| {
        Some(name.replace("cond_stage_model.", "conditioner.embedders.0."))
    });
    renamed(&whole, &file("old"), &|name| {
        Some(name.replace("transformer.text_model.", "transformer."))
    });
    let own = Path::new(&model).join("unet/diffusion_pytorch_model.fp16.safetensors");
    std::fs::copy(own, file("diffusers")).expect("copied");
    for (name, absent) in [
        ("no-vae", "no vae: that of"),
        ("unet", "no vae and no text_encoder: those of"),
        ("bare", "no vae and no text_encoder"),
        ("diffusers", "no vae and no text_encoder"),
        ("conditioner", ""),
        ("old", ""),
    ] {
        let file = format!("{name}.safetensors");
        let import = ["import", "--file", &file, "--like", &model, "--out", name];
        let (_, said) = succeed(folder, &import);
        assert!(said.contains(absent), "{name}: {said}");
        assert_eq!(said.contains(" no "), !absent.is_empty(), "{said}");
        assert!(images(name) == expected, "{name}");
    }
    // A part that is there, and not whole or under other names, is no absent part.
    renamed(&whole, &file("half"), &|name| {
        keep(name, !name.starts_with("first_stage_model.decoder."))
    });
    renamed(&whole, &file("other"), &|name| {
        Some(name.replace("transformer.text_model.", "bert."))
    });
    renamed(&whole, &file("vae"), &|name| {
        keep(name, name.starts_with("first_stage_model."))
    });
    for (name, part) in [
        ("half", "`first_stage_model.decoder"),
        ("other", "`cond_stage_model."),
        ("vae", "no U-Net"),
    ] {
        let file = format!("{name}.safetensors");
        let import = ["import", "--file", &file, "--like", &model, "--out", name];
        refuse(folder, &import, &[part]);
        assert!(!folder.join(name).exists());
    }
}

#[test]
fn floats_of_8_bits_are_refused_by_their_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let model = golden_path("sd1");
    let kinds = [Dtype::F8_E4M3, Dtype::F8_E5M2];
    let write = |kind: Dtype, name: &str, file: &Path| {
        let view = TensorView::new(kind, vec![4], &[0; 4]).expect("a view");
        safetensors::serialize_to_file([(name, view)], None, file).expect("written");
    };
    copy(Path::new(&model), &folder.join("sd"));
    let unet = folder.join("sd/unet/diffusion_pytorch_model.fp16.safetensors");
    for kind in kinds {
        let said = kind.to_string();
        let said = ["has weights in", &said, "f16"];
        let file = folder.join("x.safetensors");
        write(kind, "model.diffusion_model.out.2.bias", &file);
        let import = ["import", "--file", "x.safetensors", "--out", "out"];
        refuse(folder, &[&import[..], &["--like", &model]].concat(), &said);
        refuse(folder, &import, &said);
        let sample = ["sample", "--prompt", "x", "--out", "x.png", "--model"];
        let lora = [&model, "--lora", "x.safetensors"];
        refuse(folder, &[&sample[..], &lora].concat(), &said);
        write(kind, "conv_out.bias", &unet);
        refuse(folder, &[&sample[..], &["sd"]].concat(), &said);
    }
}
