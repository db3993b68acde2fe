//! Tiny models with random weights, and images for them.

#![allow(dead_code, reason = "every test program uses another part")]

use burn::tensor::Device;
use fewstep_data::ImageShape;
use fewstep_data::image::{Image, read, write_png};
use fewstep_diffusion::{
    ControlSpec, DistilledFor, Guidance, PredictionKind, Provenance, Role, SamplerRecipe,
    ScheduleConfig, Task,
};
use fewstep_formats::{FilePrecision, Model};
use fewstep_nn::{Backbone, BackboneConfig, Fusion, UNetConfig, WEmbedding};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use std::path::Path;

/// A teacher of grey 16x16 images of the classes circle, square and star.
pub(crate) fn teacher() -> Model {
    let config = UNetConfig {
        channels: 1,
        patch: 2,
        widths: vec![8, 16],
        blocks: 1,
        attention: vec![false, false],
        head: 8,
        groups: 4,
        classes: 3,
        ..UNetConfig::default()
    };
    let recipe = SamplerRecipe {
        version: 1,
        role: Role::Teacher,
        prediction: PredictionKind::V,
        schedule: ScheduleConfig::default(),
        guidance: Guidance::ClassifierFree,
        image_guidance: None,
        resolution: [1, 16, 16],
        classes: ["circle", "square", "star"].map(String::from).to_vec(),
        clip: true,
        clip_skip: 0,
        control: None,
        default_sampler: None,
        provenance: Provenance::default(),
    };
    with_weights(config, recipe)
}

/// A student that takes w from 0 to 4.
pub(crate) fn student(sampler: DistilledFor, steps: Option<usize>) -> Model {
    let teacher = teacher();
    let config = UNetConfig {
        w: Some(WEmbedding {
            dim: 16,
            scale: 250.0,
        }),
        ..unet_config(&teacher)
    };
    let recipe = SamplerRecipe {
        role: Role::Student { sampler, steps },
        guidance: Guidance::Input {
            w_min: 0.0,
            w_max: 4.0,
            default: 1.0,
        },
        ..teacher.recipe
    };
    with_weights(config, recipe)
}

/// A teacher that generates from control images.
pub(crate) fn controlled(task: Task, control: [usize; 3]) -> Model {
    changed(&teacher(), |config, recipe| {
        let image = recipe.resolution;
        config.controlnet = Some(config.controlnet_for(control, image, Fusion::default()));
        recipe.control = Some(ControlSpec {
            task,
            shape: control,
        });
    })
}

/// The same model for other images and classes.
pub(crate) fn remade(
    model: &Model,
    patch: usize,
    resolution: [usize; 3],
    classes: &[&str],
) -> Model {
    changed(model, |config, recipe| {
        config.channels = resolution[0];
        config.patch = patch;
        config.classes = classes.len();
        recipe.resolution = resolution;
        recipe.classes = classes.iter().map(|name| name.to_string()).collect();
    })
}

/// A model of another configuration.
pub(crate) fn changed(
    model: &Model,
    change: impl FnOnce(&mut UNetConfig, &mut SamplerRecipe),
) -> Model {
    let (mut config, mut recipe) = (unet_config(model), model.recipe.clone());
    change(&mut config, &mut recipe);
    with_weights(config, recipe)
}

fn unet_config(model: &Model) -> UNetConfig {
    let BackboneConfig::UNet(config) = model.network.config();
    config
}

/// A network with no weight zero, the same in every run. A fresh one has zero outputs, so that
/// class and w would make no difference.
fn with_weights(config: UNetConfig, recipe: SamplerRecipe) -> Model {
    let device = Device::flex();
    let network = Backbone::new(&config.into(), 3, &device).expect("a valid network");
    let model = Model { network, recipe };
    let bytes = model.to_bytes(FilePrecision::Full).expect("bytes");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
    let file = SafeTensors::deserialize(&bytes).expect("tensors");
    let mut tensors = file.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let mut seed = 0u32;
    let filled: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, view)| {
            let size: usize = view.shape().iter().product();
            let scale = (view.shape().iter().skip(1).product::<usize>() as f32)
                .sqrt()
                .recip();
            let values = (0..size).flat_map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let uniform = (seed >> 8) as f32 / (1 << 24) as f32;
                (scale * (2.0 * uniform - 1.0)).to_le_bytes()
            });
            (name, view.shape().to_vec(), values.collect())
        })
        .collect();
    let views = filled.iter().map(|(name, shape, values)| {
        let view = TensorView::new(safetensors::Dtype::F32, shape.clone(), values);
        (name.as_str(), view.expect("as large as before"))
    });
    let bytes = safetensors::serialize(views, header.metadata().clone()).expect("bytes");
    Model::from_bytes(bytes, "tiny", &device).expect("a model")
}

/// Saves a model as a folder of this name.
pub(crate) fn save(model: &Model, folder: &Path, name: &str) {
    model.save(&folder.join(name)).expect("saved");
}

/// Writes a grey image of a smooth pattern; another one for each `kind`.
pub(crate) fn write_image(file: &Path, side: usize, kind: usize) {
    let shape = ImageShape {
        channels: 1,
        height: side,
        width: side,
    };
    let turn =
        |i: usize| (i % side * (1 + kind % 3) + i / side * (1 + kind / 3)) as f32 / side as f32;
    let values: Vec<f32> = (0..shape.len())
        .map(|i| 0.8 * (6.3 * turn(i) + kind as f32).sin())
        .collect();
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    write_png(file, &Image::from_f32(shape, &values)).expect("written");
}

/// Reads a grey image.
pub(crate) fn read_image(file: &Path) -> Image {
    read(file, None, 1).expect("an image")
}
