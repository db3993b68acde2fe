//! LoRA at load and per request.

use crate::server::{Server, bytes_of};
use crate::workspace::{copy, golden_path, refuse};
use fewstep_data::image::parameters;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use std::path::Path;

/// A LoRA of rank 1 under kohya's names, for a layer with so many outputs and inputs.
fn write_lora(file: &Path, layer: &str, [outputs, inputs]: [usize; 2]) {
    let values = |number: usize| -> Vec<u8> {
        let values = (0..number).map(|n| (n as f32).cos());
        values.flat_map(f32::to_le_bytes).collect()
    };
    let (down, up) = (values(inputs), values(outputs));
    let view =
        |shape: Vec<usize>, bytes| TensorView::new(Dtype::F32, shape, bytes).expect("a view");
    let tensors = [
        (
            format!("{layer}.lora_down.weight"),
            view(vec![1, inputs], &down),
        ),
        (
            format!("{layer}.lora_up.weight"),
            view(vec![outputs, 1], &up),
        ),
    ];
    safetensors::serialize_to_file(tensors, None, file).expect("written");
}

/// Outputs and inputs of a layer of a model.
fn shape_of(file: &Path, layer: &str) -> [usize; 2] {
    let bytes = std::fs::read(file).expect("a file");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("tensors");
    let weight = tensors.tensor(&format!("{layer}.weight")).expect("a layer");
    [weight.shape()[0], weight.shape()[1]]
}

#[test]
fn lora_are_named_in_prompts_or_in_a_field_or_at_the_start() {
    const LAYER: &str = "encoder.layers.0.mlp.fc1";
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    copy(Path::new(&golden_path("sd1")), &path.join("sd"));
    std::fs::create_dir(path.join("styles")).expect("a folder");
    let encoder = path.join("sd/text_encoder/model.fp16.safetensors");
    let ink = path.join("styles/ink.safetensors");
    write_lora(
        &ink,
        &format!("lora_te_text_model_{}", LAYER.replace('.', "_")),
        shape_of(&encoder, LAYER),
    );
    write_lora(
        &path.join("styles/other.safetensors"),
        "lora_unet_nowhere",
        [4, 4],
    );
    write_lora(
        &path.join("secret.safetensors"),
        "lora_unet_nowhere",
        [4, 4],
    );
    let server = Server::start(path, &["--model", "sd", "--lora-dir", "styles"]);
    let body = |prompt: &str| json!({ "prompt": prompt, "steps": 2, "seed": 3 });
    let image = |body: &Value| server.generate(body)["images"][0]["data"].clone();
    let plain = image(&body("a cat"));
    let by_prompt = image(&body("a cat <lora:ink:0.8>"));
    let mut by_field = body("a cat");
    by_field["loras"] = json!([{ "name": "ink", "weight": 0.8 }]);
    assert_eq!(by_prompt, image(&by_field));
    assert_ne!(pixels(&by_prompt), pixels(&plain));
    assert_ne!(by_prompt, image(&body("a cat <lora:ink:0.4>")));
    assert_eq!(pixels(&image(&body("a cat <lora:ink:0>"))), pixels(&plain));
    assert_eq!(
        image(&body("a cat")),
        plain,
        "the model itself is as before"
    );
    let text = parameters(&bytes_of(&by_prompt)).expect("parameters");
    assert!(text.starts_with("a cat <lora:ink:0.8>\nSteps: 2"), "{text}");
    let a1111 = json!({ "prompt": "a cat <lora:ink:0.8>", "steps": 2, "seed": 3, "cfg_scale": 1 });
    let a1111 = server.post("/sdapi/v1/txt2img", &a1111).ok();
    let mut same = body("a cat <lora:ink:0.8>");
    same["w"] = json!(0);
    assert_eq!(pixels(&a1111["images"][0]), pixels(&image(&same)));
    assert_eq!(server.get("/sdapi/v1/loras").ok()[0]["name"], "ink");
    assert_eq!(
        server.get("/api/v1/models").ok()["loras"],
        json!(["ink", "other"])
    );
    let refused = |prompt: &str, status, part: &str| {
        let answer = server.post("/api/v1/generate", &body(prompt));
        answer.refused(status, part);
        assert!(
            !answer.text().contains(&*path.to_string_lossy()),
            "no path: {}",
            answer.text()
        );
    };
    refused("a <lora:pen:1>", 404, "no LoRA `pen`; it has: ink, other");
    refused("a <lora:../secret:1>", 404, "no LoRA `../secret`");
    refused(
        "a <lora:other:1>",
        400,
        "not in the model, such as `nowhere`",
    );
    refused("a <lora:ink:99>", 400, "from -10 to 10");
    drop(server);
    let always = ["--model", "sd", "--lora", "styles/ink.safetensors:0.8"];
    let server = Server::start(path, &always);
    let at_start = server.generate(&body("a cat"))["images"][0]["data"].clone();
    assert_eq!(pixels(&at_start), pixels(&by_prompt));
    server
        .post("/api/v1/generate", &body("a <lora:ink:1>"))
        .refused(404, "without a folder of LoRA");
    refuse(path, &["serve", "--lora-dir", "none"], &["--lora-dir"]);
    let wrong = [
        "serve",
        "--address",
        "127.0.0.1:0",
        "--model",
        "sd",
        "--lora",
        "secret.safetensors",
    ];
    refuse(path, &wrong, &["secret.safetensors", "not in the model"]);
}

fn pixels(data: &Value) -> Vec<u8> {
    crate::server::image_of(data, 3).pixels
}
