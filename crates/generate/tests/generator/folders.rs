//! Models by the names that users give: embedded ones, folders, files and runs, and what is added to
//! them.

use crate::{builtin, generate, golden, golden_path};
use burn::tensor::{Device, Tensor};
use fewstep_diffusion::{Denoiser, DistilledFor, Inputs, PromptEmbeds, Role, TextEmbeds};
use fewstep_formats::{CONTROLNET_FILE, FormatError, Model, RepositoryKind};
use fewstep_generate::{
    Candidate, EmbeddingChoice, GenerateError, Generator, ImageRequest, LoadOptions, LoraChoice,
    ModelSource, RegistryError, Request, Subject, builtin_models, find_part, run_models,
};
use fewstep_nn::{Precision, WeightFormat};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

fn find(path: &Path, steps: Option<usize>) -> Result<ModelSource, RegistryError> {
    ModelSource::find(path.to_str().expect("a name"), steps)
}

#[test]
fn embedded_models_are_listed_with_their_steps() {
    let listed = builtin_models().into_iter();
    let listed: Vec<(String, Vec<usize>)> = listed.map(|m| (m.name, m.steps)).collect();
    let listed: Vec<_> = listed
        .iter()
        .map(|(name, steps)| (&**name, &**steps))
        .collect();
    let expected: [(&str, &[usize]); 4] = [
        ("builtin:fashion-mnist", &[1, 2, 4, 8]),
        ("builtin:fashion-mnist-encoder", &[4]),
        ("builtin:fashion-mnist-matched", &[1, 4]),
        ("builtin:fashion-mnist-teacher", &[]),
    ];
    assert_eq!(listed, expected);
    let error = ModelSource::find("builtin:mnist", None).expect_err("there is none");
    for (name, _) in expected {
        let name = name.trim_start_matches("builtin:");
        assert!(error.to_string().contains(&format!(" {name}")), "{error}");
    }
}

/// A folder with all parts of a latent diffusion model, or one with a network; each says what it is
/// and loads as that.
#[test]
fn a_folder_says_what_it_holds() {
    let device = Device::flex();
    let latent = PathBuf::from(golden_path("sd1"));
    let source = find(&latent, None).expect("a folder");
    assert_eq!(source.path(), Some(&*latent));
    assert!(source.is_latent() && !source.has_controlnet());
    let components = source.components().expect("its parts").expect("latents");
    assert_eq!(components.folder(), latent);
    let generator = source.generator(&LoadOptions::default(), &device);
    assert!(generator.expect("a model").takes_prompts());
    let embedded = ModelSource::find("builtin:fashion-mnist", None).expect("embedded");
    assert_eq!(embedded.path(), None);
    assert!(!embedded.is_latent() && !embedded.has_controlnet());
    assert!(embedded.components().expect("none").is_none());
    let folder = tempfile::tempdir().expect("a folder");
    let model = embedded.model(&device).expect("a model");
    model.save(folder.path()).expect("saved");
    let source = find(folder.path(), None).expect("a folder");
    assert_eq!(source, ModelSource::Network(folder.path().into()));
    assert!(!source.is_latent() && !source.has_controlnet());
    assert!(source.components().expect("none").is_none());
    let read = source.model(&device).expect("a model");
    assert_eq!(read.weights_hash(), model.weights_hash());
    let controlnet = folder.path().join(CONTROLNET_FILE);
    std::fs::create_dir_all(controlnet.parent().expect("a folder")).expect("made");
    std::fs::write(controlnet, "").expect("written");
    assert!(source.has_controlnet());
    // A part of a model is in its folder.
    let part = find_part(&latent, RepositoryKind::Autoencoder);
    assert_eq!(part.expect("a path"), latent);
}

/// A run has the models of its phases, of which the one for the number of steps is taken; without any
/// yet it is refused.
#[test]
fn a_run_stands_for_its_models() {
    let run = tempfile::tempdir().expect("a folder");
    let models = run.path().join("models");
    std::fs::create_dir(&models).expect("made");
    match find(run.path(), None) {
        Err(RegistryError::NoModelYet { folder }) => assert_eq!(folder, models),
        other => panic!("{other:?}"),
    }
    let student = builtin("fashion-mnist", Some(4)).model().clone();
    for (name, role) in [
        ("teacher", Role::Teacher),
        ("steps-4", student.recipe.role.clone()),
        (
            "steps-2",
            Role::Student {
                sampler: DistilledFor::Deterministic,
                steps: Some(2),
            },
        ),
    ] {
        let mut model = student.clone();
        model.recipe.role = role;
        model.save(&models.join(name)).expect("saved");
    }
    std::fs::create_dir(models.join("unfinished")).expect("made");
    let names = ["steps-2", "steps-4", "teacher"];
    let folders = names.map(|name| models.join(name));
    assert_eq!(run_models(&models).expect("a folder"), folders);
    let reference = run.path().to_str().expect("a name");
    for (steps, taken) in [(None, 0), (Some(2), 0), (Some(4), 1), (Some(16), 2)] {
        let (source, choice) = ModelSource::choose(reference, steps).expect("a model");
        assert_eq!(source, ModelSource::Network(folders[taken].clone()));
        let candidates = names.iter().zip([Some(2), Some(4), None]);
        let candidates = candidates.map(|(name, steps)| Candidate {
            name: (*name).into(),
            steps,
        });
        let mut others: Vec<Candidate> = candidates.collect();
        assert_eq!(choice.taken, others.remove(taken));
        assert_eq!(choice.others, others);
    }
    assert!(run_models(&models.join("none")).is_err());
}

/// What is missing, where, and what is there instead.
#[test]
fn a_path_that_leads_nowhere_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    std::fs::create_dir(folder.join("students")).expect("made");
    for (given, lacking, part, near) in [
        ("studens", "", "studens", Some("students")),
        ("students/steps-4", "students", "steps-4", None),
        ("zebra/steps-4/model", "", "zebra", None),
    ] {
        match find(&folder.join(given), None) {
            Err(RegistryError::NoPath {
                path,
                missing,
                folder: lacks,
                nearest,
            }) => {
                assert_eq!(path, folder.join(given));
                assert_eq!((missing.as_str(), nearest.as_deref()), (part, near));
                assert_eq!(lacks, folder.join(lacking));
            }
            other => panic!("{given}: {other:?}"),
        }
    }
    match ModelSource::find("no-such-model-here", None) {
        Err(RegistryError::NoPath { folder, .. }) => assert_eq!(folder, Path::new(".")),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        ModelSource::find("", None),
        Err(RegistryError::NoName)
    ));
    // What is below a file is refused when it is read, and standard input is no file of this folder.
    std::fs::write(folder.join("file"), "").expect("written");
    let refused = find(&folder.join("file/model"), None).map(drop);
    assert!(!matches!(refused, Err(RegistryError::NoPath { .. })));
    let refused = ModelSource::find("-", None).map(drop);
    assert!(!matches!(refused, Err(RegistryError::NoPath { .. })));
}

/// Files of other tools are no models by themselves; a file of ours is one.
#[test]
fn files_that_are_no_models_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let recipe = folder.path().join("recipe.toml");
    std::fs::write(&recipe, "").expect("written");
    assert!(matches!(
        find(&recipe, None),
        Err(RegistryError::Recipe(path)) if path == recipe
    ));
    for (file, holds) in [
        ("lora/sd1-kohya.safetensors", "a LoRA"),
        ("text/learned_embeds.safetensors", "a textual inversion"),
    ] {
        let file = golden_path(file);
        match find(file.as_ref(), None) {
            Err(RegistryError::OtherFile { path, what }) => {
                assert_eq!(path, Path::new(&file));
                assert!(what.contains(holds), "{what}");
            }
            other => panic!("{other:?}"),
        }
    }
    let model = builtin("fashion-mnist", Some(1)).model().clone();
    let file = folder.path().join("model.safetensors");
    model.save_file(&file).expect("saved");
    let source = find(&file, None).expect("a model");
    assert_eq!(source, ModelSource::Network(file));
    // A checkpoint of ours has a LoRA next to its base: what is wrong with it is said when it is read.
    let file = folder.path().join("checkpoint.safetensors");
    let number = TensorView::new(Dtype::F32, vec![1], &[0; 4]).expect("one number");
    let ours = HashMap::from([("fewstep".to_string(), "{}".to_string())]);
    let bytes = safetensors::serialize([("student.lora.down", number)], Some(ours));
    std::fs::write(&file, bytes.expect("a file")).expect("written");
    assert!(find(&file, None).is_ok());
}

fn cat(generator: &Generator, prompt: &str) -> fewstep_data::image::Image {
    let image = ImageRequest {
        subject: Subject::Prompt(prompt.into()),
        w: Some(4.0),
        ..ImageRequest::new(1, 0)
    };
    let request = Request {
        steps: 2,
        ..generator.request(vec![image])
    };
    generate(generator, &request).0.remove(0)
}

fn lora(file: &str, weight: f64) -> LoraChoice {
    LoraChoice {
        file: golden_path(&format!("lora/{file}.safetensors")).into(),
        weight,
    }
}

/// LoRA change what a model makes, as often as they are added; textual inversions change the prompts
/// that name them.
#[test]
fn what_is_added_changes_the_images() {
    let device = Device::flex();
    let source = find(golden_path("sd1").as_ref(), None).expect("a folder");
    let of = |options: &LoadOptions| source.generator(options, &device).expect("a model");
    let with_lora = |weight| {
        of(&LoadOptions {
            loras: vec![lora("sd1-kohya", weight)],
            ..LoadOptions::default()
        })
    };
    let plain = cat(&golden("sd1"), "a cat");
    let [none, once, twice] = [0.0, 1.0, 2.0].map(|weight| cat(&with_lora(weight), "a cat"));
    assert!(plain == none && none != once && once != twice);
    let embedding = EmbeddingChoice {
        file: golden_path("text/learned_embeds.safetensors").into(),
        token: None,
    };
    let with_embedding = of(&LoadOptions {
        embeddings: vec![embedding],
        ..LoadOptions::default()
    });
    let named = "a <cat-toy>";
    assert!(cat(&golden("sd1"), named) != cat(&with_embedding, named));
    assert!(plain == cat(&with_embedding, "a cat"));
}

/// A LoRA is added in 32 bits to weights that are then stored in fewer.
#[test]
fn additions_come_before_weights_are_rounded() {
    let device = Device::flex();
    let source = find(golden_path("sd1").as_ref(), None).expect("a folder");
    let loaded = |weights, loras: &[LoraChoice]| {
        let options = LoadOptions {
            weights,
            loras: loras.to_vec(),
            ..LoadOptions::default()
        };
        source.network(&options, &device).expect("a model")
    };
    let text = TextEmbeds {
        states: Tensor::ones([1, 77, 12], &device) * 0.3,
        pooled: None,
    };
    let inputs = Inputs {
        prompt: Some(PromptEmbeds {
            cond: text.clone(),
            uncond: text,
        }),
        ..Inputs::default()
    };
    let output = |model: &Model| {
        let denoiser = model.denoiser().expect("a schedule");
        let z = Tensor::ones([1, 4, 8, 8], &device) * 0.5;
        let v = denoiser.predict(z, &[0.5], &inputs).v();
        v.into_data().try_to_vec::<f32>().expect("f32 data")
    };
    let lora = [lora("sd1-kohya", 1.0)];
    for precision in [Precision::F16, Precision::Bf16] {
        let format = WeightFormat::Floats(precision);
        let stored = loaded(format, &lora);
        for loras in [&lora[..], &[]] {
            let mut whole = loaded(WeightFormat::default(), loras);
            whole.network = whole.network.generating_in(format, &device);
            let equal = output(&stored) == output(&whole);
            assert_eq!(equal, !loras.is_empty(), "{precision}");
            let bytes = stored.network.stored_bytes();
            assert_eq!(bytes, whole.network.stored_bytes());
        }
    }
}

#[test]
fn a_lora_is_named_by_its_file() {
    let choice = LoraChoice {
        file: "styles/ink wash.v2.safetensors".into(),
        weight: 0.75,
    };
    assert_eq!(choice.name(), "ink wash.v2");
    assert_eq!(choice.tag(), "<lora:ink wash.v2:0.75>");
}

/// Whether a LoRA is to blame, and what is wrong with it, wherever it is found.
#[test]
fn what_is_wrong_with_a_lora_is_known() {
    let device = Device::flex();
    let sd1 = find(golden_path("sd1").as_ref(), None).expect("a folder");
    let options = LoadOptions {
        loras: vec![lora("sdxl-kohya", 1.0)],
        ..LoadOptions::default()
    };
    let Err(refused) = sd1.generator(&options, &device) else {
        panic!("it was made for SDXL");
    };
    let reason = refused.of_lora().expect("a LoRA");
    assert!(!reason.is_empty());
    assert!(refused.to_string().contains("sdxl-kohya"), "{refused}");
    let of_text = |reason: &str| {
        RegistryError::Generate(GenerateError::Format(FormatError::Lora {
            origin: "ink.safetensors".into(),
            reason: reason.into(),
        }))
    };
    assert_eq!(of_text("too wide").of_lora(), Some("too wide"));
    assert_eq!(RegistryError::NoName.of_lora(), None);
}
