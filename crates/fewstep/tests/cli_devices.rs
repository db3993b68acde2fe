//! Devices and precisions through the real program, which in tests has the CPU only.

mod tiny;

use std::process::Command;
use tiny::{refuse, save, succeed, teacher};

#[test]
fn devices_that_are_not_there_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    save(&teacher(), folder.path(), "teacher");
    let sample = |device| ["sample", "--model", "teacher", "--device", device];
    for (device, says) in [
        ("cuda", "--features cuda"),
        ("cuda:1", "--features cuda"),
        ("vulkan", "--features vulkan"),
        ("metal", "--features metal"),
        ("gpu", "none of auto, cpu, cuda"),
        ("cuda:x", "none of auto, cpu, cuda"),
    ] {
        refuse(folder.path(), &sample(device), &[says]);
    }
}

#[test]
fn the_environment_names_a_device_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |device| {
        Command::new(env!("CARGO_BIN_EXE_fewstep"))
            .args(["info", "builtin:fashion-mnist-teacher"])
            .env("FEWSTEP_DEVICE", device)
            .current_dir(folder.path())
            .output()
            .expect("the program runs")
    };
    assert!(run("cpu").status.success());
    let refused = run("cuda");
    assert_eq!(refused.status.code(), Some(2));
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("--features cuda"), "{message}");
}

#[test]
fn devices_are_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (listed, _) = succeed(folder.path(), &["info", "--devices"]);
    assert!(listed.starts_with("cpu "), "{listed}");
    assert!(listed.contains("back ends of this build: cpu"), "{listed}");
}

/// The framework's CPU computes in bf16, slowly and with other sums than a GPU: nobody wants it
/// unawares.
#[test]
fn half_precision_is_refused_where_it_is_not_to_be_had() {
    let folder = tempfile::tempdir().expect("a folder");
    save(&teacher(), folder.path(), "teacher");
    let words = ["sample", "--model", "teacher", "--precision", "bf16"];
    refuse(folder.path(), &words, &["bf16", "f32"]);
}

#[test]
fn the_cpu_equals_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let words = ["check", "--device", "cpu", "--json"];
    let (out, _) = succeed(folder.path(), &words);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&out).expect("JSON");
    assert!(rows.len() > 30);
    for row in rows {
        let name = row["name"].as_str().expect("a name");
        assert_eq!(row["error"].as_f64(), Some(0.0), "{name}");
    }
}
