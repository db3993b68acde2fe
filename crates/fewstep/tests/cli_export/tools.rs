//! What other tools get.

use super::gguf::Gguf;
use super::*;

/// What stands next to a file says what the tool must be told, and nothing where it knows.
#[test]
fn a_tool_gets_its_file_and_what_to_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let scaled = [
        ("beta_start", json!(0.00085)),
        ("beta_end", json!(0.012)),
        ("beta_schedule", json!("scaled_linear")),
    ];
    with_scheduler(folder, "eps", &scaled);
    let of_v = [&scaled[..], &[("prediction_type", json!("v_prediction"))]].concat();
    with_scheduler(folder, "v", &of_v);
    let export = |model: &str, tool: &str| {
        let out = format!("{model}-{tool}");
        let (_, said) = succeed(
            folder,
            &["export", "--model", model, "--for", tool, "--out", &out],
        );
        assert!(!said.contains("warning"), "{said}");
        let read = std::fs::read_to_string(folder.join(&out).join("README.md"));
        (folder.join(&out), read.expect("a README"))
    };
    for (model, sampling) in [("eps", None), ("v", Some("v_prediction"))] {
        let (out, _) = export(model, "comfyui");
        let workflow = json(&out.join("workflow_api.json"));
        let found = workflow.get("sampling");
        let found = found.map(|node| node["inputs"]["sampling"].as_str().expect("a name"));
        assert_eq!(found, sampling);
        // Every link leads to a node that is there.
        for node in workflow.as_object().expect("nodes").values() {
            for input in node["inputs"].as_object().expect("inputs").values() {
                if let Some(link) = input.as_array() {
                    assert!(workflow.get(link[0].as_str().expect("a node")).is_some());
                }
            }
        }
        assert_eq!(workflow["latent"]["inputs"]["width"], 16);
        let (out, read) = export(model, "a1111");
        assert_eq!(out.join("model.yaml").is_file(), sampling.is_some());
        assert!(read.contains("Size: 16x16"), "{read}");
        let (out, read) = export(model, "sd-cpp");
        assert_eq!(
            read.contains("--prediction v"),
            sampling.is_some(),
            "{read}"
        );
        assert!(Gguf::read(&out.join("model.gguf")).tensors.len() > 100);
        export(model, "diffusers");
    }
    // Without the schedule of Stable Diffusion, a tool that takes it for granted is wrong.
    with_scheduler(folder, "linear", &[("beta_schedule", json!("linear"))]);
    let words = [
        "--model",
        "linear",
        "--for",
        "comfyui",
        "--out",
        "linear-out",
    ];
    let (_, said) = succeed(folder, &[&["export"], &words[..]].concat());
    assert!(said.contains("another noise schedule"), "{said}");
}

#[test]
fn a_student_is_written_for_its_own_w_where_a_tool_knows_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    copy(Path::new(&golden_path("sd1")), &folder.join("base"));
    // The golden student has another autoencoder than a single file can hold.
    let tiny = golden_path("tiny");
    let words = [
        "export",
        "--model",
        &tiny,
        "--for",
        "diffusers",
        "--out",
        "kept",
    ];
    let (_, said) = succeed(folder, &words);
    assert!(!said.contains("folded in"), "{said}");
    let config = json(&folder.join("kept/unet/config.json"));
    assert!(config["time_cond_proj_dim"].is_number());
    let words = ["export", "--model", &tiny, "--for", "comfyui", "--out", "x"];
    refuse(folder, &words, &["tiny autoencoder"]);
}
