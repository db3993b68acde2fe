//! `fewstep serve` as clients of other servers use it: OpenAI's image API, the API of A1111, the page.

mod server;
mod workspace;

use fewstep_data::ImageShape;
use fewstep_data::image::{Image, encode_png, parameters};
use serde_json::{Value, json};
use server::{Answer, Server, base64_of, bytes_of, image_of};
use workspace::golden_path;

fn start(words: &[&str]) -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), words);
    (folder, server)
}

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

fn grey(channels: usize, value: u8) -> Image {
    let shape = ImageShape {
        channels,
        height: 16,
        width: 16,
    };
    Image::filled(shape, value)
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
        "unknown field `speed`",
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
        "prompt": "bag", "seed": 3, "steps": 60, "stream": true, "partial_images": 2,
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
    let own = server.generate(&json!({ "class": "bag", "seed": 3, "steps": 60 }));
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

#[test]
fn a1111_adapts_what_its_clients_always_send_and_says_so() {
    let (_folder, server) = start(&["--model", "builtin:fashion-mnist"]);
    let body = json!({
        "prompt": "bag", "negative_prompt": "blurry", "seed": 5, "steps": 20, "cfg_scale": 7,
        "width": 512, "height": 512, "batch_size": 2, "n_iter": 1, "sampler_name": "Euler a",
        "scheduler": "automatic", "enable_hr": true, "tiling": false, "alwayson_scripts": {},
        "override_settings": { "sd_model_checkpoint": "fashion-mnist" },
    });
    let reply = server.post("/sdapi/v1/txt2img", &body).ok();
    let info: Value = serde_json::from_str(reply["info"].as_str().expect("a text")).expect("JSON");
    assert_eq!(
        (&info["steps"], &info["cfg_scale"], &info["width"]),
        (&json!(8), &json!(5.0), &json!(32))
    );
    assert_eq!(info["all_seeds"], json!([5, 6]));
    assert_eq!(info["ignored"], json!(["enable_hr"]));
    assert_eq!(
        info["notes"].as_array().expect("notes").len(),
        5,
        "{}",
        info["notes"]
    );
    let own = server.generate(&json!({ "class": "bag", "seed": [5, 6], "steps": 8, "w": 4 }));
    for n in 0..2 {
        assert_eq!(reply["images"][n], own["images"][n]["data"]);
    }
    let png = bytes_of(&reply["images"][0]);
    let told = server
        .post(
            "/sdapi/v1/png-info",
            &json!({ "image": reply["images"][0] }),
        )
        .ok();
    assert_eq!(told["info"].as_str(), parameters(&png).as_deref());
    let changed = json!({
        "prompt": "bag", "seed": 5, "steps": 4, "init_images": [reply["images"][0]], "denoising_strength": 0.3,
    });
    let changed = server.post("/sdapi/v1/img2img", &changed).ok();
    assert_eq!(changed["parameters"]["init_images"], Value::Null);
    assert_ne!(changed["images"][0], reply["images"][0]);
    server
        .post("/sdapi/v1/img2img", &json!({ "prompt": "bag" }))
        .refused(400, "no image");
    let other = json!({ "prompt": "bag", "override_settings": { "sd_model_checkpoint": "v1-5" } });
    server
        .post("/sdapi/v1/txt2img", &other)
        .refused(404, "no model `v1-5`");
    server
        .post("/sdapi/v1/txt2img", &json!({ "batch_size": 900 }))
        .refused(400, "1 to 64");
    server
        .post("/sdapi/v1/txt2img", &json!({ "steps": "ten" }))
        .refused(400, "must be a number");
}

#[test]
fn a1111_inpaints_what_is_white() {
    let model = golden_path("inpaint");
    let (_folder, server) = start(&["--model", &model]);
    let image = base64_of(&encode_png(&grey(3, 90)).expect("a file"));
    let mut mask = grey(1, 0);
    mask.pixels[..128].fill(255);
    let mask = base64_of(&encode_png(&mask).expect("a file"));
    for inverted in [0, 1] {
        let body = json!({
            "prompt": "a door", "steps": 2, "width": 16, "height": 16, "init_images": [image],
            "mask": mask, "inpainting_mask_invert": inverted,
        });
        let reply = server.post("/sdapi/v1/img2img", &body).ok();
        let pixels = image_of(&reply["images"][0], 3).pixels;
        let kept = [&pixels[128..256], &pixels[..128]][inverted];
        assert!(kept.iter().all(|&value| value == 90), "{inverted}");
    }
}

#[test]
fn a1111_lists_options_progress_and_interrupt() {
    let (_folder, server) = start(&[]);
    for path in [
        "options",
        "cmd-flags",
        "progress",
        "memory",
        "samplers",
        "schedulers",
        "upscalers",
        "latent-upscale-modes",
        "sd-models",
        "sd-vae",
        "loras",
        "hypernetworks",
        "embeddings",
        "face-restorers",
        "realesrgan-models",
        "prompt-styles",
        "scripts",
        "script-info",
        "extensions",
    ] {
        server.get(&format!("/sdapi/v1/{path}")).ok();
    }
    for path in [
        "refresh-checkpoints",
        "unload-checkpoint",
        "reload-checkpoint",
        "skip",
    ] {
        server.post(&format!("/sdapi/v1/{path}"), &json!({})).ok();
    }
    server
        .post("/sdapi/v1/interrogate", &json!({}))
        .refused(422, "describes images");
    // The whole object goes back with another model.
    let mut options = server.get("/sdapi/v1/options").ok();
    assert_eq!(options["sd_model_checkpoint"], "fashion-mnist");
    options["sd_model_checkpoint"] = json!("fashion-mnist-teacher");
    server.post("/sdapi/v1/options", &options).ok();
    assert_eq!(server.get("/sdapi/v1/options").ok(), options);
    let unknown = json!({ "sd_model_checkpoint": "other" });
    server
        .post("/sdapi/v1/options", &unknown)
        .refused(404, "no model `other`");
    let body = json!({ "prompt": "bag", "steps": 240, "batch_size": 8 });
    let running = server.send_json("/sdapi/v1/txt2img", &body);
    server.wait_for("fewstep_queue_jobs", 1.0);
    let progress = (0..400).map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        server.get("/sdapi/v1/progress").ok()
    });
    let shown = progress
        .skip_while(|progress| progress["current_image"].is_null())
        .next();
    let shown = shown.expect("a preview");
    assert_eq!(
        (
            &shown["state"]["job_count"],
            &shown["state"]["sampling_steps"]
        ),
        (&json!(1), &json!(240))
    );
    assert_eq!(image_of(&shown["current_image"], 1).shape.width, 32);
    server.post("/sdapi/v1/interrupt", &json!({})).ok();
    let reply = Answer::read(running).ok();
    assert_eq!(reply["images"], json!([]));
    let idle = server
        .get("/sdapi/v1/progress?skip_current_image=true")
        .ok();
    assert_eq!(
        (&idle["progress"], &idle["state"]["job_count"]),
        (&json!(0.0), &json!(0))
    );
    let image = base64_of(&encode_png(&grey(3, 7)).expect("a file"));
    let large = json!({ "image": image, "upscaling_resize": 3, "upscaler_1": "Lanczos" });
    let large = server.post("/sdapi/v1/extra-single-image", &large).ok();
    assert_eq!(image_of(&large["image"], 3).shape.height, 48);
    let huge = json!({ "image": image, "upscaling_resize": 1e6 });
    server
        .post("/sdapi/v1/extra-single-image", &huge)
        .refused(400, "at most");
    let list = json!({ "imageList": [{ "data": image, "name": "a" }] });
    let list = server.post("/sdapi/v1/extra-batch-images", &list).ok();
    assert_eq!(list["images"].as_array().expect("images").len(), 1);
}

#[test]
fn the_page_is_whole_and_loads_nothing_from_elsewhere() {
    let (_folder, server) = start(&[]);
    let page = server.get("/");
    assert!(
        page.head
            .contains("content-security-policy: default-src 'none'"),
        "{}",
        page.head
    );
    let mut unread: Vec<String> = vec!["/".into()];
    let mut read = std::collections::BTreeSet::new();
    while let Some(path) = unread.pop() {
        if !read.insert(path.clone()) {
            continue;
        }
        let file = server.get(&path);
        assert_eq!(file.status, 200, "{path}");
        let text = file.text();
        for place in text.split(['"', '\'']) {
            assert!(
                !place.starts_with("http") || place.contains("w3.org"),
                "{path} names {place}"
            );
            if place.starts_with("/page/") {
                unread.push(place.into());
            } else if let Some(module) = place.strip_prefix("./").filter(|m| m.ends_with(".js")) {
                unread.push(format!("/page/{module}"));
            }
        }
    }
    assert_eq!(read.len(), 12, "{read:?}");
}
