//! What is wrong with the fields of a request is said in plain words, with the name of the field.

use crate::server::{base64_of, image_of};
use crate::workspace::{golden_path, succeed};
use crate::{grey, start};
use fewstep_data::image::{encode_png, read};
use serde_json::{Value, json};

#[test]
fn every_refusal_names_its_field() {
    let text = format!("text={}", golden_path("sd1"));
    let fill = format!("fill={}", golden_path("inpaint"));
    let edits = format!("edits={}", golden_path("instruct"));
    let words = [
        "--model",
        "builtin:fashion-mnist",
        "--model",
        &text,
        "--model",
        &fill,
        "--model",
        &edits,
    ];
    let (_folder, server) = start(&words);
    let image = base64_of(&encode_png(&grey(3, 90)).expect("a file"));
    let mut mask = grey(1, 0);
    mask.pixels[..128].fill(255);
    let mask = base64_of(&encode_png(&mask).expect("a file"));
    let native = [
        (
            json!({ "steps": "four" }),
            "steps",
            "`steps` must be a whole number of at least 0, not \"four\"",
        ),
        (
            json!({ "steps": -4 }),
            "steps",
            "a whole number of at least 0, not -4",
        ),
        (
            json!({ "seed": 1.5 }),
            "seed",
            "a whole number of at least -1",
        ),
        (
            json!({ "seed": [-2] }),
            "seed",
            "a whole number of at least -1 or a list",
        ),
        (json!({ "w": "high" }), "w", "a number or a list"),
        (json!({ "w": 1e9 }), "w", "w"),
        (
            json!({ "prompt": 5, "model": "text" }),
            "prompt",
            "a text or a list",
        ),
        (
            json!({ "prompt": "a cat", "model": "edits" }),
            "control",
            "edits images by instruction",
        ),
        (
            json!({ "prompt": "a cat", "model": "edits", "image": &image }),
            "image",
            "give the image as `control`",
        ),
        (json!({ "stepz": 1 }), "stepz", "did you mean `steps`?"),
        (json!({ "class": 10 }), "class", "no class `10`"),
        (
            json!({ "class": {} }),
            "class",
            "a whole number of at least 0 or a text",
        ),
        (json!({ "sampler": "heun" }), "sampler", "distilled"),
        (json!({ "sampler": "euler" }), "sampler", "euler"),
        (
            json!({ "negative_prompt": "rain" }),
            "negative_prompt",
            "negative prompt",
        ),
        (
            json!({ "width": 33, "height": 33 }),
            "width",
            "multiples of",
        ),
        (
            json!({ "image": image, "strength": 2 }),
            "strength",
            "at most 1",
        ),
        (
            json!({ "image": image, "mask": mask }),
            "mask",
            "takes no mask",
        ),
        (
            json!({ "control": image }),
            "control",
            "takes no control image",
        ),
        (
            json!({ "control": image, "model": "fill" }),
            "control",
            "an `image` and a `mask`",
        ),
        (
            json!({ "model": "fill" }),
            "image",
            "needs an image and a mask",
        ),
        (json!({ "format": 4 }), "format", "must be a text, not 4"),
        (
            json!({ "previews": "yes" }),
            "previews",
            "true or false, not \"yes\"",
        ),
    ];
    for (body, field, part) in native {
        let answer = server.post("/api/v1/generate", &body);
        answer.refused(400, part);
        assert_eq!(answer.json()["error"]["param"], field, "{body}");
        assert!(
            !answer.text().contains("expected"),
            "words of the parser: {}",
            answer.text()
        );
    }
    let missing = server.post("/api/v1/models/load", &json!({ "steps": 4 }));
    missing.refused(400, "the field `model` is missing");
    let openai = [
        (json!({ "prompt": "bag", "n": 65 }), "n"),
        (json!({ "prompt": "bag", "n": "two" }), "n"),
        (json!({ "prompt": ["bag"] }), "prompt"),
        (json!({ "prompt": "bag", "sampler": "heun" }), "sampler"),
        (
            json!({ "prompt": "bag", "steps": 4, "num_inference_steps": 4 }),
            "num_inference_steps",
        ),
        (
            json!({ "prompt": "bag", "output_compression": 101 }),
            "output_compression",
        ),
        (
            json!({ "prompt": "bag", "partial_images": -1 }),
            "partial_images",
        ),
    ];
    let a1111 = [
        (json!({ "prompt": "bag", "cfg_scale": 1e9 }), "cfg_scale"),
        (json!({ "prompt": "bag", "steps": 9000 }), "steps"),
        (json!({ "prompt": "a nebula" }), "prompt"),
    ];
    let openai = openai.map(|case| ("/v1/images/generations", case));
    let a1111 = a1111.map(|case| ("/sdapi/v1/txt2img", case));
    for (path, (body, field)) in openai.into_iter().chain(a1111) {
        let answer = server.post(path, &body);
        assert_eq!(
            (answer.status, &answer.json()["error"]["param"]),
            (400, &json!(field)),
            "{body}"
        );
    }
    let still = json!({ "prompt": "bag", "init_images": [image], "denoising_strength": 0 });
    let answer = server.post("/sdapi/v1/img2img", &still);
    assert_eq!(answer.json()["error"]["param"], "denoising_strength");
}

#[test]
fn the_seed_minus_one_is_random_in_every_api() {
    let (_folder, server) = start(&["--model", "builtin:fashion-mnist"]);
    let body = json!({ "prompt": "bag", "seed": -1, "steps": 1 });
    let native = json!({ "class": "bag", "seed": -1, "steps": 1 });
    let openai = || server.post("/v1/images/generations", &body).ok()["data"][0]["seed"].clone();
    let own = || server.generate(&native)["images"][0]["seed"].clone();
    for seed in [&openai as &dyn Fn() -> Value, &own] {
        let [one, two] = [seed(), seed()];
        assert!(one.is_u64() && two.is_u64());
        assert_ne!(one, two);
    }
}

#[test]
fn an_empty_prompt_is_no_prompt_for_clients_of_openai() {
    let text = format!("text={}", golden_path("sd1"));
    let (_folder, server) = start(&["--model", "builtin:fashion-mnist", "--model", &text]);
    for prompt in ["", " \n"] {
        let body = json!({ "prompt": prompt, "model": "text" });
        let answer = server.post("/v1/images/generations", &body);
        answer.refused(400, "say what the image is to show");
        let answer = server.post("/v1/images/generations", &json!({ "prompt": prompt }));
        answer.refused(400, "name one of T-shirt/top, Trouser");
        assert_eq!(answer.json()["error"]["param"], "prompt");
    }
    let by_class = json!({ "prompt": "", "class": "bag", "steps": 1 });
    server.post("/v1/images/generations", &by_class).ok();
}

/// Green is bright and far from white in red and blue.
#[test]
fn a_mask_means_the_same_as_on_the_command_line() {
    let model = golden_path("inpaint");
    let (folder, server) = start(&["--model", &model]);
    let mut mask = grey(3, 0);
    mask.pixels[256..384].fill(255);
    let [image, mask] = [grey(3, 90), mask].map(|image| encode_png(&image).expect("a file"));
    std::fs::write(folder.path().join("image.png"), &image).expect("written");
    std::fs::write(folder.path().join("mask.png"), &mask).expect("written");
    let inpaint = [
        "inpaint",
        "--model",
        &model,
        "--image",
        "image.png",
        "--mask",
        "mask.png",
        "--prompt",
        "a door",
        "--steps",
        "2",
        "--size",
        "16x16",
        "--seed",
        "4",
        "--out",
        "cli.png",
    ];
    succeed(folder.path(), &inpaint);
    let body = json!({
        "prompt": "a door", "image": base64_of(&image), "mask": base64_of(&mask), "steps": 2, "seed": 4,
        "width": 16, "height": 16,
    });
    let reply = server.generate(&body);
    let made = image_of(&reply["images"][0]["data"], 3);
    let expected = read(&folder.path().join("cli.png"), None, 3).expect("an image");
    assert_eq!(made, expected);
    assert!(
        made.pixels[128..256].iter().all(|&value| value == 90),
        "the rest stays"
    );
    let white = base64_of(&encode_png(&grey(3, 255)).expect("a file"));
    let mut body = body;
    body["mask"] = json!(white);
    server
        .post("/api/v1/generate", &body)
        .refused(400, "all of it is white");
}
