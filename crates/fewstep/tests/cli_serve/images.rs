//! Images through the server's own API.

use crate::server::{base64_of, bytes_of, image_of};
use crate::start;
use crate::workspace::{golden_path, succeed};
use fewstep_data::image::{ImageKind, encode_png, parameters, read};
use serde_json::{Value, json};

#[test]
fn one_seed_is_one_image_alone_in_a_batch_and_on_the_command_line() {
    let (folder, server) = start(&["--model", "builtin:fashion-mnist"]);
    let sample = [
        "sample",
        "--model",
        "builtin:fashion-mnist",
        "--steps",
        "4",
        "--class",
        "bag",
        "--seed",
        "7",
        "--first",
        "2",
        "--count",
        "1",
        "--w",
        "1.5",
        "--out-dir",
        "cli",
    ];
    succeed(folder.path(), &sample);
    let expected = read(&folder.path().join("cli/000002.png"), None, 1).expect("an image");
    let alone = json!({ "steps": 4, "class": "Bag", "seed": 7, "first": 2, "w": 1.5 });
    let alone = server.generate(&alone);
    assert_eq!(image_of(&alone["images"][0]["data"], 1), expected);
    // In a call with other weights, seeds and classes.
    let mixed = json!({
        "steps": 4, "seed": 7, "first": 0, "w": [0, 4, 1.5, 3], "class": [1, "sneaker", "8", 9],
    });
    let mixed = server.generate(&mixed);
    assert_eq!(image_of(&mixed["images"][2]["data"], 1), expected);
    assert_ne!(image_of(&mixed["images"][3]["data"], 1), expected);
    assert_eq!(mixed["batch"], 4, "one network call");
    assert_eq!(mixed["images"][2]["guidance_scale"], 2.5);
    let png = bytes_of(&mixed["images"][2]["data"]);
    let text = parameters(&png).expect("parameters");
    assert!(
        text.starts_with("Bag\nSteps: 4, Sampler: deterministic, CFG scale: 2.5, Seed: 7"),
        "{text}"
    );
}

#[test]
fn a_text_model_gives_the_images_of_the_command_line() {
    let model = format!("text={}", golden_path("sd1"));
    let (folder, server) = start(&["--model", &model]);
    let sample = [
        "sample",
        "--model",
        &golden_path("sd1"),
        "--steps",
        "3",
        "--prompt",
        "a cat",
        "--seed",
        "5",
        "--negative-prompt",
        "rain",
        "--guidance-scale",
        "3",
        "--out-dir",
        "cli",
    ];
    succeed(folder.path(), &sample);
    let expected = read(&folder.path().join("cli/000000.png"), None, 3).expect("an image");
    let body = json!({
        "model": "text", "steps": 3, "prompt": ["a dog", "a cat"], "seed": [9, 5],
        "negative_prompt": "rain", "guidance_scale": 3,
    });
    let reply = server.generate(&body);
    assert_eq!(image_of(&reply["images"][1]["data"], 3), expected);
    let facts = &server.get("/api/v1/models").ok()["models"][0]["facts"];
    assert_eq!(
        (&facts["prompts"], &facts["role"]),
        (&json!(true), &json!("teacher"))
    );
    let class = server.post("/api/v1/generate", &json!({ "class": 1 }));
    class.refused(400, "generates from prompts");
    let long = server.post("/api/v1/generate", &json!({ "prompt": "a ".repeat(3000) }));
    long.refused(400, "at most 4096");
}

#[test]
fn images_start_from_images_and_come_in_every_format() {
    let (_folder, server) = start(&["--model", "builtin:fashion-mnist"]);
    let first = server.generate(&json!({ "steps": 4, "class": 0, "seed": 1 }));
    let image = &first["images"][0]["data"];
    for (format, kind) in [
        ("png", ImageKind::Png),
        ("jpeg", ImageKind::Jpeg),
        ("webp", ImageKind::WebP),
    ] {
        let changed = json!({
            "steps": 4, "class": 0, "seed": 1, "image": image, "strength": 0.1, "format": format,
        });
        let changed = server.generate(&changed);
        let bytes = bytes_of(&changed["images"][0]["data"]);
        let magic: &[u8] = match kind {
            ImageKind::Png => b"\x89PNG",
            ImageKind::Jpeg => b"\xff\xd8\xff",
            ImageKind::WebP => b"RIFF",
        };
        assert!(bytes.starts_with(magic), "{format}");
        let [a, b] = [image, &changed["images"][0]["data"]].map(|data| image_of(data, 1).pixels);
        let difference: u32 = a
            .iter()
            .zip(&b)
            .map(|(a, b)| u32::from(a.abs_diff(*b)))
            .sum();
        assert!(
            difference < 20 * a.len() as u32,
            "a little noise changes little: {difference}"
        );
    }
    let no = |body: Value, part: &str| server.post("/api/v1/generate", &body).refused(400, part);
    no(json!({ "image": image, "strength": 0 }), "strength");
    no(json!({ "image": image, "mask": image }), "takes no mask");
    no(json!({ "image": "bm90IGFuIGltYWdl" }), "`image`");
    no(json!({ "format": "tiff" }), "png, jpeg or webp");
    no(json!({ "format": "jpeg", "quality": 0 }), "1 to 100");
    no(json!({ "control": image }), "no control image");
}

#[test]
fn an_inpainting_model_fills_what_is_white() {
    let model = golden_path("inpaint");
    let (_folder, server) = start(&["--model", &model]);
    let shape = fewstep_data::ImageShape {
        channels: 3,
        height: 16,
        width: 16,
    };
    let image = fewstep_data::image::Image::filled(shape, 90);
    let mut mask = fewstep_data::image::Image::filled(
        fewstep_data::ImageShape {
            channels: 1,
            ..shape
        },
        0,
    );
    mask.pixels[..128].fill(255);
    let [image, mask] = [image, mask].map(|image| base64_of(&encode_png(&image).expect("a file")));
    let body = json!({ "prompt": "a door", "image": image, "mask": mask, "steps": 2, "width": 16, "height": 16 });
    let filled = server.generate(&body);
    let filled = image_of(&filled["images"][0]["data"], 3);
    assert!(
        filled.pixels[128..256].iter().all(|&value| value == 90),
        "the rest stays"
    );
    assert!(filled.pixels[..128].iter().any(|&value| value != 90));
    let empty = json!({ "prompt": "a door", "image": image, "mask": image, "steps": 2 });
    server
        .post("/api/v1/generate", &empty)
        .refused(400, "nothing in it is white");
    server
        .post("/api/v1/generate", &json!({ "prompt": "a door" }))
        .refused(400, "mask");
}
