//! Devices and precisions through the real program, which in tests has the CPU only.

mod tiny;
mod workspace;

use tiny::{save, teacher};
use workspace::{assert_refused, command, refuse, succeed};

#[test]
fn devices_that_are_not_there_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    save(&teacher(), folder.path(), "teacher");
    let sample = |device| ["sample", "--model", "teacher", "--device", device];
    for (device, part) in [
        ("cuda", "--features cuda"),
        ("cuda:1", "--features cuda"),
        ("vulkan", "--features vulkan"),
        ("metal", "--features metal"),
        ("gpu", "none of auto, cpu, cuda"),
        ("cuda:x", "none of auto, cpu, cuda"),
    ] {
        refuse(folder.path(), &sample(device), &[part]);
    }
}

#[test]
fn a_variable_of_the_environment_names_a_device() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |device| {
        let words = ["info", "builtin:fashion-mnist-teacher"];
        let mut command = command(folder.path(), &words);
        command.env("FEWSTEP_DEVICE", device);
        command.output().expect("the program starts")
    };
    assert!(run("cpu").status.success());
    assert_refused(&run("cuda"), &["--features cuda"]);
}

#[test]
fn devices_are_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (listed, _) = succeed(folder.path(), &["info", "--devices"]);
    assert!(listed.starts_with("cpu "), "{listed}");
    assert!(listed.contains("backends of this build: cpu"), "{listed}");
}

/// The framework's CPU computes in bf16, slowly and with sums other than a GPU's: nobody wants that
/// by accident.
#[test]
fn half_precision_is_refused_on_a_cpu() {
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
