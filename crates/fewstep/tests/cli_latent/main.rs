//! `train` and `distill` on latents of captioned images, through the real program. Teachers,
//! autoencoders and text encoders are tiny random ones in diffusers' folders.

mod adapting;
mod classes;
mod clip_skip;
mod distilling;
mod editing;
mod embeddings;
mod extract;
mod few_steps;
mod folders;
mod instruct;
mod lora;
mod masks;
mod measuring;
#[cfg(feature = "storage")]
#[path = "../object_server/mod.rs"]
mod object_server;
mod precision;
mod sdxl;
mod sizes;
#[cfg(feature = "storage")]
mod stored_sets;
mod teacher_lora;
#[path = "../workspace/mod.rs"]
mod workspace;

use burn::tensor::{Device, Tensor, TensorData};
use fewstep_data::image::{self, Image, write_png};
use fewstep_data::{ImageShape, MaskKind, Masks};
use fewstep_formats::Pipeline;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use workspace::{
    Workspace, assert_same_run, copy_text_encoder, golden, golden_path, stderr, weights,
    write_pattern,
};

const CAPTIONS: [&str; 5] = [
    "a photograph",
    "an orange cat",
    "two dogs",
    "the cat\'s house",
    "a lighthouse",
];

const DISTILL: &str = r#"
seed = 4
teacher = "MODEL"
w_embedding = { dim = 16, scale = 100.0 }
flip = true
prompts = ["a cat"]
[data]
kind = "captioned"
path = "CAPTIONED"
size = 16
[guided]
updates = 6
optim = { batch = 4, lr = 1e-3, ema = { decay = 0.9 } }
[progressive]
start_steps = 4
end_steps = 1
updates = 4
optim = { batch = 4, lr = 1e-3 }
[run]
log_every = 1
checkpoint_every = 2
"#;

const CODI: &str = r#"
method = "codi"
seed = 5
teacher = "MODEL"
updates = 6
flip = true
condition = { kind = "instruct", path = "BEFORE" }
[data]
kind = "captioned"
path = "CAPTIONED"
size = 16
[codi]
intervals = 8
[optim]
batch = 4
lr = 1e-3
ema = { decay = 0.9 }
[run]
log_every = 1
checkpoint_every = 2
"#;

/// A workspace with captioned images in it.
fn workspace() -> Workspace {
    let workspace = Workspace::new();
    let folder = workspace.path("captioned");
    for image in 0..10 {
        write_pattern(&folder.join(format!("{image}.png")), image, [16, 16]);
        let caption = CAPTIONS[image % CAPTIONS.len()];
        std::fs::write(folder.join(format!("{image}.txt")), caption).expect("written");
    }
    workspace
}

/// A folder with an image before an edit for each of the captioned images.
fn before(workspace: &Workspace) -> PathBuf {
    let before = workspace.path("before");
    std::fs::create_dir(&before).expect("made");
    for image in 0..10 {
        let shape = ImageShape {
            channels: 3,
            height: 16,
            width: 16,
        };
        let place = before.join(format!("{image}.png"));
        write_png(place, &Image::filled(shape, 20 * image)).expect("written");
    }
    before
}

fn recipe(workspace: &Workspace, name: &str, text: &str, of: &str) -> String {
    let path = |path: &Path| path.display().to_string();
    let text = text
        .replace("MODEL", &path(&golden(of)))
        .replace("ENCODER", &path(&workspace.path("encoder")))
        .replace("CAPTIONED", &path(&workspace.path("captioned")));
    workspace.recipe(name, &text)
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).expect("there")).expect("JSON")
}

/// The files in the program's cache.
fn caches(workspace: &Workspace) -> Vec<PathBuf> {
    let folder = workspace.path("cache/fewstep");
    let entries = std::fs::read_dir(folder).expect("there").flatten();
    let files = entries.map(|entry| entry.path());
    files.filter(|path| path.is_file()).collect()
}

type Tensors = HashMap<String, (Vec<usize>, Vec<f32>)>;

fn tensors(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).expect("there");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("whole");
    let tensors = file.tensors().into_iter();
    let tensors = tensors.map(|(name, view)| {
        let values: Vec<f32> = match view.dtype() {
            safetensors::Dtype::F32 => {
                let bytes = view.data().chunks_exact(4);
                bytes
                    .map(|b| f32::from_le_bytes(b.try_into().expect("four")))
                    .collect()
            }
            _ => vec![],
        };
        (name, (view.shape().to_vec(), values))
    });
    tensors.collect()
}
