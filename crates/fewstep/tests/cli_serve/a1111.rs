//! Clients of A1111.

use crate::server::{Answer, base64_of, bytes_of, image_of};
use crate::workspace::golden_path;
use crate::{grey, start};
use fewstep_data::image::{encode_png, parameters};
use serde_json::{Value, json};

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
    let mut progress = (0..400).map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        server.get("/sdapi/v1/progress").ok()
    });
    let shown = progress.find(|progress| !progress["current_image"].is_null());
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

/// `CLIP_stop_at_last_layers` counts from 1, and fields of our own from 0.
#[test]
fn layers_of_the_text_encoder_are_skipped() {
    let model = golden_path("sd1");
    let (_folder, server) = start(&["--model", &model]);
    let of_a1111 = |layer: Value| {
        let overrides = json!({ "CLIP_stop_at_last_layers": layer });
        let body = json!({
            "prompt": "a cat", "steps": 2, "seed": 1, "cfg_scale": 4, "override_settings": overrides,
        });
        let reply = server.post("/sdapi/v1/txt2img", &body).ok();
        let info = serde_json::from_str(reply["info"].as_str().expect("a text"));
        let info: Value = info.expect("JSON");
        (reply["images"][0].clone(), info)
    };
    let (plain, info) = of_a1111(json!(1));
    assert_eq!(info["clip_skip"], 1);
    let (skipping, info) = of_a1111(json!(2));
    assert_ne!(plain, skipping);
    assert_eq!(
        (&info["clip_skip"], &info["ignored"]),
        (&json!(2), &json!([]))
    );
    let text = info["infotexts"][0].as_str().expect("a text");
    assert!(text.contains("Clip skip: 2"), "{text}");
    let body = json!({ "prompt": "a cat", "steps": 2, "seed": 1, "w": 3, "clip_skip": 1 });
    assert_eq!(server.generate(&body)["images"][0]["data"], skipping);
    // Its clients always send it.
    let (most, info) = of_a1111(json!(12));
    assert_eq!(most, plain);
    assert!(info["notes"].to_string().contains("CLIP skip is ignored"));
    let body = json!({ "prompt": "a cat", "clip_skip": 12 });
    server
        .post("/api/v1/generate", &body)
        .refused(400, "at most 2 layers");
    let body = json!({ "override_settings": { "CLIP_stop_at_last_layers": 0 } });
    server
        .post("/sdapi/v1/txt2img", &body)
        .refused(400, "CLIP_stop_at_last_layers");
}
