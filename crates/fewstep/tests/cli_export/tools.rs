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
    with_scheduler(folder, "sd1", "eps", &scaled);
    let of_v = [&scaled[..], &[("prediction_type", json!("v_prediction"))]].concat();
    with_scheduler(folder, "sd1", "v", &of_v);
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
    let linear = [("beta_schedule", json!("linear"))];
    with_scheduler(folder, "sd1", "linear", &linear);
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

/// The schedule of Stable Diffusion, with more fields.
fn scaled(more: &[(&'static str, Value)]) -> Vec<(&'static str, Value)> {
    let fields = [
        ("_class_name", json!("DDIMScheduler")),
        ("beta_start", json!(0.00085)),
        ("beta_end", json!(0.012)),
        ("beta_schedule", json!("scaled_linear")),
    ];
    [&fields[..], more].concat()
}

/// Exports for a tool: what it printed as warnings, and the README.
fn for_tool(folder: &Path, model: &str, tool: &str) -> (String, String) {
    let out = format!("{model}-{tool}");
    let words = ["export", "--model", model, "--for", tool, "--out", &out];
    let (_, warned) = succeed(folder, &words);
    let readme = std::fs::read_to_string(folder.join(out).join("README.md"));
    (warned, readme.expect("a README"))
}

/// The names of the tensors of a safetensors file.
fn names(file: &Path) -> Vec<String> {
    let bytes = std::fs::read(file).expect("there");
    let file = SafeTensors::deserialize(&bytes).expect("whole");
    file.names().into_iter().map(String::from).collect()
}

#[test]
fn a_schedule_that_ends_without_signal_is_set_where_a_tool_can() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let zero = scaled(&[
        ("prediction_type", json!("v_prediction")),
        ("rescale_betas_zero_snr", json!(true)),
    ]);
    with_scheduler(folder, "sd1", "zero", &zero);
    let (warned, readme) = for_tool(folder, "zero", "a1111");
    assert!(!warned.contains("warning"), "{warned}");
    let setting = ", Noise Schedule: Zero Terminal SNR\n";
    assert!(readme.ends_with(setting), "{readme}");
    let (warned, _) = for_tool(folder, "zero", "comfyui");
    assert!(!warned.contains("warning"), "{warned}");
    let workflow = json(&folder.join("zero-comfyui/workflow_api.json"));
    assert_eq!(workflow["sampling"]["inputs"]["zsnr"], true);
    let (warned, _) = for_tool(folder, "zero", "sd-cpp");
    assert!(warned.contains("ends without signal"), "{warned}");
}

/// Tools look for two names in files of SDXL.
#[test]
fn files_of_sdxl_say_that_they_predict_v() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let v = ("prediction_type", json!("v_prediction"));
    let zero = ("rescale_betas_zero_snr", json!(true));
    let of_noise = scaled(&[("prediction_type", json!("epsilon"))]);
    with_scheduler(folder, "sdxl", "eps", &of_noise);
    with_scheduler(folder, "sdxl", "v", &scaled(std::slice::from_ref(&v)));
    with_scheduler(folder, "sdxl", "zero", &scaled(&[v, zero]));
    for (model, marks) in [
        ("eps", &[][..]),
        ("v", &["v_pred"]),
        ("zero", &["v_pred", "ztsnr"]),
    ] {
        let (_, readme) = for_tool(folder, model, "comfyui");
        assert!(!readme.contains("ModelSamplingDiscrete"), "{readme}");
        let out = folder.join(format!("{model}-comfyui"));
        let workflow = json(&out.join("workflow_api.json"));
        assert!(workflow.get("sampling").is_none());
        let marked = |names: &[String]| {
            let is_mark = |mark: &&&str| names.iter().any(|name| name == **mark);
            ["v_pred", "ztsnr"].iter().filter(is_mark).count()
        };
        let file = out.join("model.safetensors");
        assert_eq!(marked(&names(&file)), marks.len(), "{model}");
        let (facts, _) = succeed(folder, &["info", file.to_str().expect("UTF-8")]);
        assert!(!facts.contains("other:"), "{facts}");
        let (warned, _) = for_tool(folder, model, "a1111");
        assert_eq!(warned.contains("1.10.1"), model != "eps", "{warned}");
        assert!(!folder.join(format!("{model}-a1111/model.yaml")).exists());
        for_tool(folder, model, "sd-cpp");
        let gguf = Gguf::read(&folder.join(format!("{model}-sd-cpp/model.gguf")));
        let names: Vec<String> = gguf.tensors.into_keys().collect();
        assert_eq!(marked(&names), marks.len(), "{model}");
        // Another trainer's file has no recipe of ours, only the marks.
        let other = without_metadata(&file, &folder.join(format!("{model}.safetensors")));
        let back = format!("{model}-back");
        let import = ["import", "--file", &other, "--like", "eps", "--out", &back];
        succeed(folder, &import);
        let config = json(&folder.join(&back).join("scheduler/scheduler_config.json"));
        let kind = ["epsilon", "v_prediction"][usize::from(model != "eps")];
        assert_eq!(config["prediction_type"], kind);
        let ends_without = config["rescale_betas_zero_snr"] == true;
        assert_eq!(ends_without, model == "zero");
    }
}

/// A copy of a safetensors file without its metadata.
fn without_metadata(file: &Path, copy: &Path) -> String {
    let bytes = std::fs::read(file).expect("there");
    let tensors = SafeTensors::deserialize(&bytes).expect("whole").tensors();
    let bytes = safetensors::serialize(tensors, None).expect("bytes");
    std::fs::write(copy, bytes).expect("written");
    copy.to_str().expect("UTF-8").into()
}

#[test]
fn latent_consistency_models_get_their_sampler() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let jumps = [("_class_name", json!("LCMScheduler"))];
    let fields = [&scaled(&[])[..], &jumps].concat();
    with_scheduler(folder, "sd1", "lcm", &fields);
    for_tool(folder, "lcm", "comfyui");
    let workflow = json(&folder.join("lcm-comfyui/workflow_api.json"));
    assert_eq!(workflow["sampling"]["inputs"]["sampling"], "lcm");
    let sampler = &workflow["sampler"]["inputs"];
    assert_eq!(sampler["sampler_name"], "lcm");
    assert_eq!(sampler["scheduler"], "simple");
    assert_eq!(
        [&sampler["steps"], &sampler["cfg"]],
        [&json!(4), &json!(1.0)]
    );
    let (_, readme) = for_tool(folder, "lcm", "a1111");
    assert!(readme.contains("Sampler: LCM, "), "{readme}");
    let (_, readme) = for_tool(folder, "lcm", "sd-cpp");
    assert!(readme.contains("--sampling-method lcm "), "{readme}");
    for_tool(folder, "lcm", "diffusers");
    let config = json(&folder.join("lcm-diffusers/scheduler/scheduler_config.json"));
    assert_eq!(config["_class_name"], "LCMScheduler");
}

#[test]
fn a_tool_without_a_sampler_for_the_prediction_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let of_images = scaled(&[("prediction_type", json!("sample"))]);
    with_scheduler(folder, "sd1", "x", &of_images);
    for tool in ["a1111", "sd-cpp"] {
        let words = ["export", "--model", "x", "--for", tool, "--out", "out"];
        refuse(folder, &words, &["predicts the image itself"]);
    }
    for_tool(folder, "x", "comfyui");
    let workflow = json(&folder.join("x-comfyui/workflow_api.json"));
    assert_eq!(workflow["sampling"]["inputs"]["sampling"], "x0");
}
