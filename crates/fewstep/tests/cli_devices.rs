//! Devices and precisions through the real program, on the CPU.

mod tiny;
mod workspace;

use fewstep_data::image::read;
use fewstep_formats::FilePrecision;
use tiny::{save, teacher};
use workspace::{TRAIN, Workspace, assert_refused, command, refuse, succeed};

/// The back ends of the program that is tested: `cpu`, and perhaps others.
fn backends() -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let (listed, _) = succeed(folder.path(), &["info", "--devices"]);
    let (devices, backends) = listed
        .split_once("backends of this build: ")
        .expect(&listed);
    assert!(
        devices.lines().any(|line| line.starts_with("cpu ")),
        "{listed}"
    );
    backends.trim().split(", ").map(String::from).collect()
}

#[test]
fn devices_that_are_not_there_are_refused_by_name() {
    let backends = backends();
    assert_eq!(backends[0], "cpu");
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
        if !backends.iter().any(|backend| backend == device) {
            refuse(folder.path(), &sample(device), &[part]);
        }
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

/// A file in f16 gives the same image whether its weights stay in f16 or are widened when they are
/// read; bf16 rounds them, and blocks of 8 bits more, which may change a
/// value by a little.
#[test]
fn a_cpu_stores_weights_in_fewer_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let half = teacher().to_bytes(FilePrecision::Half).expect("bytes");
    std::fs::write(folder.path().join("half.safetensors"), half).expect("written");
    let image = |precision: &str| {
        let out = format!("{precision}.png");
        let model = ["sample", "--model", "half.safetensors", "--steps", "4"];
        let options = ["--seed", "3", "--precision", precision, "--out", &out];
        succeed(folder.path(), &[&model[..], &options].concat());
        read(&folder.path().join(out), None, 1)
            .expect("an image")
            .pixels
    };
    let wide = image("f32");
    let far = |precision: &str| {
        let distances = image(precision).into_iter().zip(&wide);
        let distances = distances.map(|(narrow, wide)| narrow.abs_diff(*wide));
        distances.max().expect("values")
    };
    assert_eq!(wide, image("f16"));
    for precision in ["bf16", "q8_0"] {
        let far = far(precision);
        assert!((1..16).contains(&far), "{precision}: {far}");
    }
}

/// The framework's CPU computes in bf16, slowly and with sums other than a GPU's: nobody wants that
/// by accident.
#[test]
fn a_cpu_computes_in_f32_only() {
    let folder = tempfile::tempdir().expect("a folder");
    for precision in ["bf16", "f16", "q8_0"] {
        let words = ["bench", "tiny", "--precision", precision];
        refuse(folder.path(), &words, &[precision, "f32"]);
    }
    let words = ["sample", "--model", "teacher", "--precision", "q4"];
    refuse(folder.path(), &words, &["f32, bf16, f16 or q8_0"]);
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

/// The memory on the GPU, and next to it, in the row of a plan that starts with these words.
fn planned(text: &str, row: &str) -> [f64; 2] {
    let line = text.lines().find(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.join(" ").starts_with(row)
    });
    let words: Vec<&str> = line.expect(row).split_whitespace().collect();
    [4, 2].map(|back| {
        let number = words[words.len() - back].parse::<f64>().expect(row);
        let unit = match words[words.len() - back + 1] {
            "MiB" => 1.0,
            "GiB" => 1024.0,
            other => panic!("{other} in {text}"),
        };
        number * unit
    })
}

/// A plan for a GPU that is elsewhere: its memory and the machine's apart, and a refusal of what
/// does not fit.
#[test]
fn a_run_is_planned_for_a_gpu_that_is_not_here() {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", TRAIN);
    let large = "network.widths=[64,128] optim.batch=64 optim.micro_batch=64 data.size=32";
    let large: Vec<&str> = large.split(' ').flat_map(|set| ["--set", set]).collect();
    let plan =
        |more: &[&'static str]| [&["plan", &train, "--gpu-memory"], more, &large[..]].concat();
    let (all, checkpointed) = ("all of it no", "all of it yes");

    let (text, _) = workspace.succeed(&plan(&["8GiB"]));
    let [f32, host] = planned(&text, all);
    // cuDNN's scratch memory, of 1 GiB, is the same for all.
    let maps = f32 - 1024.0;
    assert!(maps > 200.0, "{text}");
    assert!(host < 100.0, "the host needs little: {text}");
    assert!(planned(&text, checkpointed)[0] <= f32, "{text}");
    // What is computed in 16 bits takes half, and weights stay in 32. The CPU itself has no bf16.
    let (text, _) = workspace.succeed(&plan(&["8GiB", "--set", "run.precision=bf16"]));
    let half = (planned(&text, all)[0] - 1024.0) / maps;
    assert!((0.4..0.8).contains(&half), "{half} in {text}");

    let small = plan(&["1.1GiB"]);
    workspace.refuse(&small, &["device memory", "the GPU", "--force"]);
    let (text, _) = workspace.succeed(&[&small[..], &["--force"]].concat());
    assert_eq!(planned(&text, all)[0], f32);
    workspace.refuse(&plan(&["many"]), &["8GiB"]);
}
