//! Models and runs that an earlier version stored, through the real program: `stored/README.md`
//! says which.

mod workspace;

use fewstep_data::image::{self, Image};
use flate2::read::GzDecoder;
use safetensors::SafeTensors;
use std::fs::File;
use std::path::{Path, PathBuf};
use workspace::{Workspace, copy, log, stderr};

fn stored() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stored"))
}

/// The lines of a table, in words.
fn table(name: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(stored().join(name)).expect("there");
    let words = |line: &str| line.split_whitespace().map(String::from).collect();
    text.lines().map(words).collect()
}

/// A workspace with all that is stored, the program's cache included.
fn workspace() -> Workspace {
    let workspace = Workspace::new();
    let folder = workspace.folder.path();
    for part in ["cache", "data", "recipes"] {
        copy(&stored().join(part), &folder.join(part));
    }
    for part in ["whole", "begun"] {
        for archive in entries(&stored().join(part)) {
            let file = File::open(archive).expect("there");
            let mut archive = tar::Archive::new(GzDecoder::new(file));
            archive.unpack(folder).expect("unpacked");
        }
    }
    // What latent models have in common is stored once.
    for index in files(folder, "model_index.json") {
        let text = std::fs::read_to_string(&index).expect("there");
        for part in ["vae", "text_encoder", "tokenizer"] {
            if text.contains(&format!("\"{part}\"")) {
                let common = stored().join("data/parts").join(part);
                copy(&common, &index.with_file_name(part));
            }
        }
    }
    workspace
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("listed");
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.expect("listed").path()).collect();
    entries.sort();
    entries
}

/// All files below a folder whose names end with this.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let below = entries(folder).into_iter().flat_map(|entry| {
        let name = entry.display().to_string();
        match entry.is_dir() {
            true => files(&entry, ending),
            false if name.ends_with(ending) => vec![entry],
            false => vec![],
        }
    });
    below.collect()
}

/// Whether this machine computes the bits that are stored. They were made with the kernels for
/// AVX-512, and the CPU gives the same bits for any number of threads; other instruction sets add
/// in another order.
fn same_bits() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    return is_x86_feature_detected!("avx512f");
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    return false;
}

/// Names, shapes and bytes of a file's tensors.
fn tensors(path: &Path) -> Vec<(String, Vec<usize>, Vec<u8>)> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let Ok(file) = SafeTensors::deserialize(&bytes) else {
        return vec![];
    };
    let tensors = file.tensors().into_iter();
    let tensors = tensors.map(|(name, view)| (name, view.shape().to_vec(), view.data().to_vec()));
    let mut tensors: Vec<_> = tensors.collect();
    tensors.sort();
    tensors
}

/// The part of the weights by which two files differ, or infinity where they are of different
/// tensors.
fn distance(a: &Path, b: &Path) -> f64 {
    let (a, b) = (tensors(a), tensors(b));
    let heads = |tensors: &[(String, Vec<usize>, Vec<u8>)]| -> Vec<(String, Vec<usize>)> {
        let heads = tensors
            .iter()
            .map(|(name, shape, _)| (name.clone(), shape.clone()));
        heads.collect()
    };
    if a.is_empty() || heads(&a) != heads(&b) {
        return f64::INFINITY;
    }
    if a == b {
        return 0.0;
    }
    let values = |tensors: &[(String, Vec<usize>, Vec<u8>)]| -> Vec<f64> {
        let bytes = tensors
            .iter()
            .flat_map(|(_, _, bytes)| bytes.chunks_exact(4));
        let values = bytes.map(|b| f32::from_le_bytes(b.try_into().expect("four")));
        values.map(f64::from).collect()
    };
    let (a, b) = (values(&a), values(&b));
    let change: f64 = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum();
    (change / b.iter().map(|b| b.powi(2)).sum::<f64>()).sqrt()
}

/// Every run that was killed resumes to the weights and the log of the uninterrupted run.
#[test]
fn interrupted_runs_are_resumed() {
    let workspace = workspace();
    let cached = entries(&workspace.path("cache/fewstep"));
    let mut wrong = vec![];
    for line in table("runs.txt") {
        let [command, name, checkpoint] = &line[..] else {
            panic!("{line:?} is no run");
        };
        let [whole, begun] = ["whole", "begun"].map(|part| workspace.path(part).join(name));
        assert!(begun.join("checkpoints").join(checkpoint).is_dir());
        let recipe = format!("recipes/{name}.toml");
        let out = format!("begun/{name}");
        let output = workspace.run(&[command, &recipe, "--out", &out, "--resume"]);
        if !output.status.success() {
            wrong.push(format!("{name}: {}", stderr(&output)));
            continue;
        }
        for file in files(&whole.join("models"), ".safetensors") {
            let place = file.strip_prefix(&whole).expect("inside");
            let distance = distance(&begun.join(place), &file);
            if distance > if same_bits() { 0.0 } else { 1e-4 } {
                wrong.push(format!("{name}: {} is {distance} off", place.display()));
            }
        }
        let (logged, expected) = (log(&begun), log(&whole));
        if logged.len() != expected.len() || same_bits() && logged != expected {
            wrong.push(format!("{name}: the log differs: {logged:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let caches = entries(&workspace.path("cache/fewstep"));
    assert_eq!(caches, cached, "the latents in the cache were of no use");
}

/// The earlier version let the inpainting models of Stable Diffusion change the part that is not
/// masked. Now the input image is put back there, inside the grid's margin of one pixel.
fn put_back(expected: &mut Image, workspace: &Workspace) {
    let read = |name, channels| image::read(&workspace.path(name), None, channels);
    let input = read("data/captioned/0.png", 3).expect("an image");
    let mask = read("data/large-mask.png", 1).expect("a mask");
    let (side, grid) = (input.shape.width, expected.shape.width);
    assert_eq!((grid, mask.shape.width), (side + 2, side));
    for (index, value) in input.pixels.iter().enumerate() {
        let (row, x) = (index / side, index % side);
        let (channel, y) = (row / side, row % side);
        if mask.pixels[y * side + x] < 128 {
            expected.pixels[(channel * grid + y + 1) * grid + x + 1] = *value;
        }
    }
}

/// Every model generates the images that it generated then.
#[test]
fn models_generate_the_same_images() {
    let workspace = workspace();
    let mut wrong = vec![];
    for line in table("drawn.txt") {
        let (name, words) = line.split_first().expect("a name");
        let out = format!("{name}.png");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // The earlier version wrote control images next to the results.
        let with_inputs = ["upscale", "inpaint", "depth", "instruct", "render"];
        let flag = match with_inputs.contains(&words[0]) && name != "text-holes" {
            true => "--sheet",
            false => "--out",
        };
        let output = workspace.run(&[&words[..], &[flag, &out]].concat());
        if !output.status.success() {
            wrong.push(format!("{name}: {}", stderr(&output)));
            continue;
        }
        let [mut image, mut expected] = [workspace.path(&out), stored().join("drawn").join(&out)]
            .map(|file| image::read(&file, None, 3).expect("an image"));
        if name == "text-holes" {
            put_back(&mut expected, &workspace);
        }
        // It put a frame around a single image.
        if image.shape.width + 2 == expected.shape.width {
            image = image::grid(&[image], 1, 1);
        }
        let pixels = image.pixels.iter().zip(&expected.pixels);
        let most = pixels.map(|(a, b)| a.abs_diff(*b)).max();
        if image.shape != expected.shape || most > Some(if same_bits() { 0 } else { 1 }) {
            wrong.push(format!("{name} differs: by {most:?} levels"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn info_describes_runs_and_models() {
    let workspace = workspace();
    for line in table("runs.txt") {
        let name = &line[1];
        for part in ["whole", "begun"] {
            workspace.succeed(&["info", &format!("{part}/{name}")]);
        }
        for model in entries(&workspace.path("whole").join(name).join("models")) {
            workspace.succeed(&["info", model.to_str().expect("a path in UTF-8")]);
        }
    }
}
