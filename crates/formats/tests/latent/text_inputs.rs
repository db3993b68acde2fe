//! What changes how texts become states, against diffusers (tools/golden/text_inputs.py).

use crate::golden::Golden;
use burn::tensor::Device;
use fewstep_formats::{Embedding, Embeddings, TextEncoder};
use std::path::{Path, PathBuf};

/// States, and pooled embeddings, of the first prompts of a model.
fn without_layers(model: &str, skipped: usize) {
    let (golden, model_golden) = (Golden::new("text"), Golden::new(model));
    let prompts = model_golden.texts()["prompts"].clone();
    let prompts: Vec<String> = serde_json::from_value(prompts).expect("texts");
    let encoder = model_golden.pipeline().text_encoder;
    let (embeds, _) = encoder.encode(&prompts[..3], skipped);
    let name = format!("{model}-skip-{skipped}");
    golden.assert_equal(&format!("{name}.states"), embeds.states);
    if let Some(pooled) = embeds.pooled {
        golden.assert_equal(&format!("{name}.pooled"), pooled);
    }
    assert_eq!(encoder.check_clip_skip(skipped), Ok(()));
    assert!(encoder.check_clip_skip(3).is_err());
}

/// The last norm still comes after the layers that are left; down to the embeddings of the tokens.
#[test]
fn layers_of_stable_diffusion_1_are_skipped_as_in_diffusers() {
    without_layers("sd1", 1);
    without_layers("sd1", 2);
}

/// Counted from the states before the last layer; the pooled embedding stays.
#[test]
fn layers_of_sdxl_are_skipped_as_in_diffusers() {
    without_layers("sdxl", 1);
}

fn prompts(golden: &Golden) -> Vec<String> {
    serde_json::from_value(golden.texts()["prompts"].clone()).expect("texts")
}

/// Files of several tools, with what is to stand for each.
fn with_embeddings(model: &str, files: &[(&str, Option<&str>)]) -> TextEncoder {
    let folder = Golden::new("text").folder().to_path_buf();
    let read = files.iter().map(|(file, token)| {
        let embedding = Embedding::read(&folder.join(file), *token);
        embedding.expect("an embedding")
    });
    let embeddings = Embeddings::new(read.collect());
    let encoder = embeddings.add_to(Golden::new(model).pipeline().text_encoder);
    encoder.expect("made for it")
}

/// From every kind of file; tokens of one vector and of several, anywhere in a text.
#[test]
fn textual_inversions_of_stable_diffusion_1_follow_diffusers() {
    let golden = Golden::new("text");
    for files in [
        // The token comes from the file, or from its name.
        [
            ("learned_embeds.safetensors", None),
            ("style-x.safetensors", None),
        ],
        [("learned_embeds.bin", None), ("style-x.pt", None)],
        // The folder has one of diffusers.
        [("", None), ("style-x.pt", None)],
        [
            ("learned_embeds.bin", Some("<cat-toy>")),
            ("style-x.pt", Some("style-x")),
        ],
    ] {
        let encoder = with_embeddings("sd1", &files);
        let (embeds, cut) = encoder.encode(&prompts(&golden), 0);
        golden.assert_equal("sd1-inverted.states", embeds.states);
        assert!(
            cut[4].is_some() && cut[..4].iter().all(Option::is_none),
            "{cut:?}"
        );
    }
}

#[test]
fn textual_inversions_of_sdxl_follow_diffusers() {
    let golden = Golden::new("text");
    let encoder = with_embeddings("sdxl", &[("both.safetensors", None)]);
    let texts = ["both of a dog", "no such token"].map(String::from);
    let (embeds, _) = encoder.encode(&texts, 0);
    golden.assert_equal("sdxl-inverted.states", embeds.states);
    golden.assert_equal("sdxl-inverted.pooled", embeds.pooled.expect("an embedding"));
}

/// Another token than the file says, in capitals too.
#[test]
fn a_token_can_be_chosen() {
    let words = |file, token| {
        let encoder = with_embeddings("sd1", &[(file, Some(token))]);
        let text = format!("a {}, b", token.to_uppercase());
        encoder.tokens(&text).numbers
    };
    let known = 587;
    assert_eq!(
        words("style-x.pt", "Own Word")[2..5],
        [known, known + 1, known + 2]
    );
    assert_eq!(words("learned_embeds.bin", "x_y")[2], known);
}

#[test]
fn embeddings_that_do_not_fit_are_refused() {
    let folder = Golden::new("text").folder().to_path_buf();
    let place = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        let path = place.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    let model = |name: &str| Golden::new(name).pipeline().text_encoder;
    for (file, token, of, said) in [
        (folder.join("style-x.pt"), None, "sdxl", "2"),
        (folder.join("both.safetensors"), None, "sd1", "another kind"),
        (folder.join("style-x.pt"), None, "bert", "no CLIP"),
        (
            folder.join("style-x.pt"),
            Some("<|endoftext|>"),
            "sd1",
            "already",
        ),
        (folder.join("style-x.pt"), None, "sd2", ""),
    ] {
        let embedding = Embedding::read(&file, token).expect("an embedding");
        let added = Embeddings::new(vec![embedding]).add_to(model(of));
        match said {
            "" => drop(added.expect("as wide")),
            _ => {
                let error = added.expect_err(of).to_string();
                assert!(error.contains(said), "{error}");
            }
        }
    }
    let twice = Embedding::read(&folder.join("style-x.pt"), None).expect("an embedding");
    let twice = Embeddings::new(vec![twice.clone(), twice]).add_to(model("sd1"));
    let error = twice.expect_err("known").to_string();
    assert!(error.contains("style-x"), "{error}");
    let whole = std::fs::read(folder.join("style-x.pt")).expect("there");
    for (path, said) in [
        (write("empty.pt", b""), "pt"),
        (write("cut.pt", &whole[..whole.len() / 2]), "cut.pt"),
        (write("text.safetensors", b"hello"), "safetensors"),
        (place.path().join("none.pt"), "none.pt"),
        (golden_of_pickles("system.pt"), "posix.system"),
    ] {
        let error = Embedding::read(&path, None).expect_err(said).to_string();
        assert!(error.contains(said), "{error}");
    }
}

fn golden_of_pickles(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pickles");
    Path::new(folder).join(name)
}

/// A tokenizer and an encoder with tokens of their own, as older and newer programs write them.
#[test]
fn tokens_that_a_folder_adds_are_known() {
    let golden = Golden::new("text");
    let encoder = golden.folder().join("added/text_encoder");
    for tokenizer in ["added", "added-older"] {
        let tokenizer = golden.folder().join(tokenizer).join("tokenizer");
        let read = TextEncoder::load(&encoder, &tokenizer, None, &Device::flex());
        let read = read.expect("a text encoder");
        for (prompt, theirs) in prompts(&golden).iter().zip(golden.tokens()) {
            assert_eq!(read.tokens(prompt).numbers, theirs, "{prompt:?}");
        }
        let (embeds, _) = read.encode(&prompts(&golden), 0);
        golden.assert_equal("added.states", embeds.states);
        // The other encoder has no vectors for them.
        let plain = Golden::new("sd1").folder().join("text_encoder");
        let error = TextEncoder::load(&plain, &tokenizer, None, &Device::flex());
        let error = error.expect_err("more tokens").to_string();
        assert!(error.contains("591") && error.contains("587"), "{error}");
    }
}
