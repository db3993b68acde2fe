//! Models that generate from control images, and their sizes.

use crate::server::{Server, base64_of, image_of};
use crate::tiny::{controlled, read_image, save, write_image};
use crate::workspace::{golden_path, succeed, write_pattern};
use fewstep_data::image::read;
use fewstep_diffusion::Task;
use serde_json::{Value, json};
use std::path::Path;

/// The file as base64.
fn file(path: &Path) -> String {
    base64_of(&std::fs::read(path).expect("a file"))
}

/// Height and width of the first image.
fn size(reply: &Value) -> [usize; 2] {
    let shape = image_of(&reply["images"][0]["data"], 1).shape;
    [shape.height, shape.width]
}

#[test]
fn control_images_of_other_sizes_are_those_of_the_command_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    save(&controlled(Task::Upscale, [1, 8, 8]), path, "up");
    write_image(&path.join("small.png"), 8, 1);
    write_image(&path.join("larger.png"), 16, 2);
    write_image(&path.join("huge.png"), 64, 3);
    let server = Server::start(path, &["--model", "up"]);
    let generate = |name: &str, more: Value| {
        let mut body =
            json!({ "steps": 2, "seed": 3, "class": "star", "control": file(&path.join(name)) });
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        server.post("/api/v1/generate", &body)
    };
    for (name, expected) in [("small.png", 16), ("larger.png", 32)] {
        let upscale = [
            "upscale", "--model", "up", "--image", name, "--steps", "2", "--seed", "3", "--class",
            "star", "--out", "cli.png",
        ];
        succeed(path, &upscale);
        let reply = generate(name, json!({})).ok();
        let made = image_of(&reply["images"][0]["data"], 1);
        assert_eq!(made, read_image(&path.join("cli.png")), "{name}");
        assert_eq!(made.shape.width, expected);
        assert_eq!(reply["warnings"], json!([]));
    }
    // Too large: scaled, and said.
    let reply = generate("huge.png", json!({})).ok();
    assert_eq!(size(&reply), [16, 16]);
    let warning = reply["warnings"][0].as_str().expect("a warning");
    assert!(
        warning.contains("64x64 is scaled and cropped to 8x8"),
        "{warning}"
    );
    // A size is obeyed or refused, never ignored.
    let wide = generate("huge.png", json!({ "width": 32, "height": 16 })).ok();
    assert_eq!(size(&wide), [16, 32]);
    for (width, height) in [(30, 31), (512, 512), (0, 16)] {
        let answer = generate("huge.png", json!({ "width": width, "height": height }));
        answer.refused(400, &format!("images of {width}x{height} do not fit"));
        assert_eq!(answer.json()["error"]["param"], "width");
    }
    // Clients of A1111 send a size always.
    let body = json!({
        "prompt": "star", "init_images": [file(&path.join("small.png"))], "width": 512, "height": 512,
        "steps": 2,
    });
    let reply = server.post("/sdapi/v1/img2img", &body).ok();
    assert_eq!(image_of(&reply["images"][0], 1).shape.width, 16);
    let info = reply["info"].as_str().expect("a text");
    assert!(info.contains("16x16 instead of 512x512"), "{info}");
}

#[test]
fn a_depth_map_is_read_as_the_command_line_reads_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    save(&controlled(Task::Depth, [1, 16, 16]), path, "depths");
    // Of 16 bits and few of their levels.
    let map = image::ImageBuffer::from_fn(16, 16, |x, y| image::Luma([(1000 + 3 * x + y) as u16]));
    map.save(path.join("map.png")).expect("written");
    let depth = [
        "depth", "--model", "depths", "--image", "map.png", "--steps", "2", "--class", "star",
        "--out", "cli.png",
    ];
    succeed(path, &depth);
    let server = Server::start(path, &["--model", "depths"]);
    let body =
        json!({ "steps": 2, "seed": 0, "class": "star", "control": file(&path.join("map.png")) });
    let reply = server.generate(&body);
    let made = image_of(&reply["images"][0]["data"], 1);
    let flat = map
        .pixels()
        .map(|p| (p.0[0] >> 8) as u8)
        .collect::<Vec<_>>();
    assert_eq!(
        flat.iter().max(),
        Some(&4),
        "hardly any level without being spread"
    );
    assert_eq!(made, read_image(&path.join("cli.png")));
}

/// A model whose network sees the image to edit takes it as a control image: over our API and, as
/// the image to edit, over those of others.
#[test]
fn an_edit_by_instruction_is_that_of_the_command_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    write_pattern(&path.join("before.png"), 5, [16, 16]);
    let model = golden_path("instruct");
    let instruct = [
        "instruct",
        "--model",
        &model,
        "--image",
        "before.png",
        "--steps",
        "2",
        "--seed",
        "3",
        "--prompt",
        "a cat",
        "--w",
        "3",
        "--negative-prompt",
        "dogs",
        "--out",
        "cli.png",
    ];
    succeed(path, &instruct);
    let expected = read(&path.join("cli.png"), None, 3).expect("an image");
    let named = format!("edits={model}");
    let server = Server::start(path, &["--model", &named]);
    let body = json!({
        "steps": 2, "seed": 3, "prompt": "a cat", "w": 3, "negative_prompt": "dogs",
        "control": file(&path.join("before.png")),
    });
    let reply = server.post("/api/v1/generate", &body).ok();
    assert_eq!(image_of(&reply["images"][0]["data"], 3), expected);
    let facts = server
        .post("/api/v1/models/load", &json!({ "model": "edits" }))
        .ok();
    assert_eq!(
        (&facts["control"], &facts["image"]),
        (&json!("instruct"), &json!(false))
    );
    let body = json!({
        "prompt": "a cat", "negative_prompt": "dogs", "init_images": [file(&path.join("before.png"))],
        "steps": 2, "seed": 3, "cfg_scale": 4, "width": 16, "height": 16, "sampler_name": "",
    });
    let reply = server.post("/sdapi/v1/img2img", &body).ok();
    assert_eq!(image_of(&reply["images"][0], 3), expected);
}
