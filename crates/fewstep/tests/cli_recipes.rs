//! `fewstep recipe`, and `fewstep info` of what is no model of ours.

mod tiny;
mod workspace;

use serde_json::Value;
use tiny::{save, teacher};
use workspace::{copy, golden, golden_path, refuse, succeed};

#[test]
fn recipes_are_listed_printed_and_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let (list, _) = succeed(folder.path(), &["recipe"]);
    assert!(list.contains("cifar10/small-distill  "), "{list}");
    assert!(list.lines().all(|line| line.len() < 140), "{list}");
    let (text, _) = succeed(folder.path(), &["recipe", "cifar10/small-distill"]);
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../recipes/cifar10/small-distill.toml"
    );
    assert_eq!(text, std::fs::read_to_string(file).expect("there"));
    let write = ["recipe", "sd15", "--out", "new/mine.toml"];
    let (_, said) = succeed(folder.path(), &write);
    assert!(said.contains("fewstep distill new/mine.toml"), "{said}");
    // What was edited is not lost.
    refuse(folder.path(), &write, &["mine.toml is there already"]);
    refuse(
        folder.path(),
        &["recipe", "smal-teacher"],
        &["Did you mean `cifar10/small-teacher`?"],
    );
    refuse(folder.path(), &["recipe", "--out", "x.toml"], &["<NAME>"]);
}

#[test]
fn builtin_models_are_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (out, _) = succeed(folder.path(), &["info"]);
    for part in [
        "builtin:fashion-mnist-teacher",
        "students in 1, 2, 4, 8 steps",
        "10 classes",
    ] {
        assert!(out.contains(part), "no `{part}` in:\n{out}");
    }
    let (out, _) = succeed(folder.path(), &["info", "--json"]);
    let all: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(all[0]["steps"], serde_json::json!([1, 2, 4, 8]));
}

#[test]
fn stock_folders_say_what_is_in_them() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, parts) in [
        (
            "sd1",
            [
                "generates from prompts",
                "text_encoder: CLIPTextModel of ",
                "vae: AutoencoderKL of ",
                "eps, the noise",
            ],
        ),
        (
            "sd2",
            ["v, the velocity", "Schedule", "16x16 pixels", "U-Net of "],
        ),
        (
            "inpaint",
            [
                "for `fewstep inpaint`",
                "inpaint --model",
                "Parts",
                "parameters",
            ],
        ),
    ] {
        let (out, _) = succeed(folder.path(), &["info", &golden_path(name)]);
        for part in parts {
            assert!(out.contains(part), "no `{part}` in:\n{out}");
        }
    }
}

#[test]
fn files_of_other_tools_are_described_by_their_headers() {
    let folder = tempfile::tempdir().expect("a folder");
    let sd1 = golden_path("sd1");
    for (form, name) in [("single-file", "whole.safetensors"), ("gguf", "unet.gguf")] {
        let words = ["export", "--model", &sd1, "--form", form, "--out", name];
        let (_, said) = succeed(folder.path(), &words);
        assert!(
            said.contains(&format!("Next: fewstep info {name}")),
            "{said}"
        );
    }
    let (out, _) = succeed(folder.path(), &["info", "whole.safetensors"]);
    for part in [
        "a whole latent diffusion model",
        "autoencoder: ",
        "text encoder: ",
        "import --file whole.safetensors --like",
    ] {
        assert!(out.contains(part), "no `{part}` in:\n{out}");
    }
    let (out, _) = succeed(folder.path(), &["info", "whole.safetensors", "--json"]);
    let whole: Value = serde_json::from_str(&out).expect("JSON");
    let (out, _) = succeed(folder.path(), &["info", "unet.gguf", "--json"]);
    let gguf: Value = serde_json::from_str(&out).expect("JSON");
    let (out, _) = succeed(folder.path(), &["info", &sd1, "--json"]);
    let stock: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(gguf["parameters"], stock["parameters"]);
    assert_eq!(whole["unet"]["input_channels"], 4);
    assert_eq!(gguf["format"], "GGUF version 3");
    let sum: u64 = ["unet", "vae", "text_encoder"]
        .map(|part| match part {
            "unet" => stock["parameters"].as_u64(),
            _ => stock["components"]["parameters"][part].as_u64(),
        })
        .into_iter()
        .map(|count| count.expect("a number"))
        .sum();
    assert_eq!(whole["parameters"], sum);

    // Without our metadata, as other tools write it.
    let part = golden("sd1").join("vae/diffusion_pytorch_model.fp16.safetensors");
    let (out, _) = succeed(folder.path(), &["info", &part.display().to_string()]);
    assert!(
        out.contains("one part of a model") && out.contains("autoencoder: "),
        "{out}"
    );

    let folder_of_part = golden_path("sd1") + "/text_encoder";
    let (out, _) = succeed(folder.path(), &["info", &folder_of_part]);
    assert!(out.contains("text encoder: "), "{out}");
    std::fs::write(folder.path().join("old.ckpt"), b"PK\x03\x04 and so on").expect("written");
    let (out, _) = succeed(folder.path(), &["info", "old.ckpt"]);
    assert!(
        out.contains("import --allow-pickle --file old.ckpt"),
        "{out}"
    );
    let part = part.display().to_string();
    for (model, part) in [
        ("whole.safetensors", "fewstep import"),
        ("unet.gguf", "only a U-Net"),
        (&*part, "fewstep info"),
    ] {
        refuse(folder.path(), &["sample", "--model", model], &[model, part]);
    }

    for (name, keep) in [("whole.safetensors", 3), ("unet.gguf", 40)] {
        let bytes = std::fs::read(folder.path().join(name)).expect("there");
        for (cut, length) in [("end", bytes.len() / 2), ("start", keep)] {
            let length = if cut == "end" && name.ends_with("gguf") {
                400
            } else {
                length
            };
            let file = format!("{cut}-{name}");
            std::fs::write(folder.path().join(&file), &bytes[..length]).expect("written");
            refuse(folder.path(), &["info", &file], &[&file, "not a whole"]);
        }
    }
}

#[test]
fn a_recipe_is_described() {
    let folder = tempfile::tempdir().expect("a folder");
    let recipes = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../recipes"));
    copy(recipes, &folder.path().join("recipes"));
    for (name, parts) in [
        (
            "cifar10/small-teacher",
            ["train a teacher", "10,000 updates", "fewstep train"],
        ),
        (
            "cifar10/small-distill",
            ["distil the teacher", "steps-1", "fewstep distill"],
        ),
        (
            "conditional/codi",
            ["adapt the teacher", "codi", "fewstep distill"],
        ),
        (
            "text-to-image/emoji-teacher",
            ["prompts", "9,000", "fewstep train"],
        ),
    ] {
        let (out, _) = succeed(folder.path(), &["info", &format!("recipes/{name}.toml")]);
        for part in parts {
            assert!(out.contains(part), "no `{part}` in:\n{out}");
        }
    }
    std::fs::write(folder.path().join("x.toml"), "seed = 1").expect("written");
    refuse(
        folder.path(),
        &["info", "x.toml"],
        &["x.toml", "is missing"],
    );
}

/// A model in one file is a model, not only a file.
#[test]
fn our_own_file_is_described_as_a_model() {
    let folder = tempfile::tempdir().expect("a folder");
    save(&teacher(), folder.path(), "teacher");
    let file = "teacher/unet/diffusion_pytorch_model.safetensors";
    let (out, _) = succeed(folder.path(), &["info", file]);
    assert!(out.contains("teacher: any sampler"), "{out}");
}
