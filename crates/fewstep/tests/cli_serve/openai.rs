//! Clients of OpenAI's image API.

use crate::server::{Answer, Server, image_of};
use crate::workspace::golden_path;
use crate::{grey, start};
use fewstep_data::image::encode_png;
use serde_json::{Value, json};

/// A form with files and fields.
fn form(server: &Server, path: &str, parts: &[(&str, &[u8])]) -> Answer {
    let mut body = vec![];
    for (name, value) in parts {
        let file = match value.starts_with(b"\x89PNG") {
            true => "; filename=\"a.png\"\r\nContent-Type: image/png",
            false => "",
        };
        let head =
            format!("--cut\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend(head.as_bytes());
        body.extend(*value);
        body.extend(b"\r\n");
    }
    body.extend(b"--cut--\r\n");
    let kind = [("Content-Type", "multipart/form-data; boundary=cut")];
    server.request(&format!("POST {path}"), &kind, &body)
}

/// A PNG file whose upper half is transparent.
fn half_transparent() -> Vec<u8> {
    let mut image = image::RgbaImage::from_pixel(16, 16, image::Rgba([90, 90, 90, 255]));
    for pixel in image.pixels_mut().take(128) {
        pixel.0[3] = 0;
    }
    let mut bytes = std::io::Cursor::new(vec![]);
    let png = image::ImageFormat::Png;
    image.write_to(&mut bytes, png).expect("written");
    bytes.into_inner()
}

#[test]
fn openai_generates_and_its_images_are_those_of_the_own_api() {
    let (_folder, server) = start(&["--model", "builtin:fashion-mnist"]);
    let body = json!({
        "model": "fashion-mnist", "prompt": "a photo of a sneaker", "n": 2, "seed": 3, "steps": 4,
        "w": 2, "size": "auto", "quality": "high", "user": "me", "response_format": "b64_json",
    });
    let reply = server.post("/v1/images/generations", &body).ok();
    let own =
        server.generate(&json!({ "class": "sneaker", "seed": 3, "count": 2, "steps": 4, "w": 2 }));
    for n in 0..2 {
        assert_eq!(reply["data"][n]["b64_json"], own["images"][n]["data"]);
    }
    assert_eq!(
        (&reply["size"], &reply["background"]),
        (&json!("32x32"), &json!("opaque"))
    );
    assert!(reply["created"].as_u64() > Some(1_600_000_000));
    assert_eq!(reply["usage"]["total_tokens"], 0);
    let by_url = json!({
        "prompt": "sneaker", "seed": 3, "num_inference_steps": 4, "guidance_scale": 3,
        "response_format": "url", "output_format": "jpeg", "output_compression": 40,
    });
    let by_url = server.post("/v1/images/generations", &by_url).ok();
    let url = by_url["data"][0]["url"]
        .as_str()
        .expect("an address")
        .to_owned();
    let path = url
        .strip_prefix(&format!("http://{}", server.address))
        .expect("this server");
    let file = server.get(path);
    assert!(file.head.contains("image/jpeg") && file.body.starts_with(b"\xff\xd8\xff"));
    let models = server.get("/v1/models").ok();
    assert_eq!(models["data"][0]["id"], "fashion-mnist");
    assert_eq!(
        server.get("/v1/models/fashion-mnist").ok()["object"],
        "model"
    );
    assert_eq!(server.request("OPTIONS /v1/models", &[], &[]).status, 204);
}

#[test]
fn openai_refuses_in_its_form() {
    let (_folder, server) = start(&["--model", "builtin:fashion-mnist"]);
    let refused = |body: Value, status, field: &str, part: &str| {
        let answer = server.post("/v1/images/generations", &body);
        answer.refused(status, part);
        assert_eq!(answer.json()["error"]["param"], field, "{body}");
    };
    refused(
        json!({ "prompt": "bag", "model": "dall-e-3" }),
        404,
        "model",
        "no model `dall-e-3`",
    );
    refused(json!({ "prompt": "a nebula" }), 400, "prompt", "no class");
    refused(json!({}), 400, "prompt", "missing");
    let listed = server.post("/v1/images/generations", &json!(["a bag"]));
    listed.refused(400, "a JSON object");
    refused(json!({ "prompt": "bag", "n": 0 }), 400, "n", "1 to 64");
    refused(
        json!({ "prompt": "bag", "size": "1024x1024" }),
        400,
        "size",
        "do not fit",
    );
    refused(
        json!({ "prompt": "bag", "size": "big" }),
        400,
        "size",
        "auto",
    );
    refused(
        json!({ "prompt": "bag", "response_format": "png" }),
        400,
        "response_format",
        "url",
    );
    refused(
        json!({ "prompt": "bag", "background": "transparent" }),
        400,
        "background",
        "transparent",
    );
    refused(
        json!({ "prompt": "bag", "speed": 9 }),
        400,
        "speed",
        "no field `speed`",
    );
    refused(
        json!({ "prompt": "bag", "partial_images": 4 }),
        400,
        "partial_images",
        "0 to 3",
    );
    server
        .get("/v1/models/none")
        .refused(404, "no model `none`");
}

#[test]
fn openai_streams_partial_images() {
    let (_folder, server) = start(&["--model", "builtin:fashion-mnist-teacher"]);
    let body = json!({
        "prompt": "bag", "seed": 3, "steps": 200, "stream": true, "partial_images": 2,
    });
    let events = server.post("/v1/images/generations", &body).events();
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    let [partial, end] = [
        "image_generation.partial_image",
        "image_generation.completed",
    ];
    assert_eq!(names, [partial, partial, end]);
    for (n, (name, data)) in events.iter().enumerate() {
        assert_eq!(data["type"], *name);
        assert_eq!(image_of(&data["b64_json"], 1).shape.width, 32);
        assert_eq!(
            data["partial_image_index"].as_u64(),
            (n < 2).then_some(n as u64)
        );
    }
    assert!(events[2].1["usage"]["input_tokens_details"].is_object());
    let own = server.generate(&json!({ "class": "bag", "seed": 3, "steps": 200 }));
    assert_eq!(events[2].1["b64_json"], own["images"][0]["data"]);
}

#[test]
fn openai_edits_what_is_transparent() {
    let model = format!("fill={}", golden_path("inpaint"));
    let (_folder, server) = start(&["--model", &model, "--model", "builtin:fashion-mnist"]);
    let image = encode_png(&grey(3, 90)).expect("a file");
    let mask = half_transparent();
    let fields: [(&str, &[u8]); 4] = [
        ("prompt", b"a door"),
        ("steps", b"2"),
        ("seed", b"4"),
        ("size", b"16x16"),
    ];
    let by_mask = [&fields[..], &[("image", &image[..]), ("mask", &mask)]].concat();
    let by_mask = form(&server, "/v1/images/edits", &by_mask).ok();
    let filled = image_of(&by_mask["data"][0]["b64_json"], 3);
    assert!(
        filled.pixels[128..256].iter().all(|&value| value == 90),
        "the rest stays"
    );
    assert!(filled.pixels[..128].iter().any(|&value| value != 90));
    // The transparent part of the image itself, sent as a list.
    let by_image = [&fields[..], &[("image[]", &mask[..])]].concat();
    let by_image = form(&server, "/v1/images/edits", &by_image).ok();
    assert!(
        image_of(&by_image["data"][0]["b64_json"], 3).pixels[128..256]
            .iter()
            .all(|&v| v == 90)
    );
    let start = [
        ("model", &b"fashion-mnist"[..]),
        ("prompt", b"bag"),
        ("strength", b"0.5"),
        ("image", &image),
    ];
    let start = form(&server, "/v1/images/edits", &start).ok();
    assert_eq!(start["size"], "32x32");
    form(&server, "/v1/images/edits", &fields).refused(400, "`image` is missing");
    let wrong = [&fields[..2], &[("image", &image[..]), ("n", b"many")]].concat();
    form(&server, "/v1/images/edits", &wrong).refused(400, "many");
    let two = [
        ("prompt", &b"a"[..]),
        ("image[]", &image),
        ("image[]", &image),
    ];
    form(&server, "/v1/images/edits", &two).refused(400, "one at a time");
}
