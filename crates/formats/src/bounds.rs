//! What a file says of its model, checked before anything is built or allocated: against bounds that
//! every real model keeps, and recipe and network against each other.

use fewstep_diffusion::{Guidance, Role, SamplerRecipe, Schedule, ScheduleConfig};
use fewstep_nn::UNetConfig;

/// Levels of a network, and of the stem of a ControlNet.
pub(crate) const LEVELS: usize = 16;
/// Blocks of a level, layers of a text encoder.
pub(crate) const BLOCKS: usize = 256;
/// Features of a layer, channels of an image.
pub(crate) const FEATURES: usize = 1 << 16;
/// Rows of a table: classes, tokens.
pub(crate) const ROWS: usize = 1 << 20;
/// Height and width of images or latents.
const SIDE: usize = 4096;
/// Timesteps of a schedule, steps of a student.
const STEPS: usize = 1 << 20;
/// Guidance weights and factors, either sign.
const FACTOR: f64 = 1e6;

/// Checks network and recipe of a model.
///
/// # Errors
/// Names the field, what it is, and what it may be.
pub(crate) fn check(network: &UNetConfig, recipe: &SamplerRecipe) -> Result<(), String> {
    check_network(network)?;
    check_recipe(recipe)?;
    agree(network, recipe)
}

/// A number of a configuration.
///
/// # Errors
/// When it is 0 or larger than any model has it.
pub(crate) fn count(name: &str, value: usize, most: usize) -> Result<(), String> {
    match (1..=most).contains(&value) {
        true => Ok(()),
        false => Err(format!("`{name}` is {value}, and must be 1 to {most}")),
    }
}

fn factor(name: &str, value: f64) -> Result<(), String> {
    match value.abs() <= FACTOR {
        true => Ok(()),
        false => Err(format!(
            "`{name}` is {value}, and must be -{FACTOR} to {FACTOR}"
        )),
    }
}

fn check_network(network: &UNetConfig) -> Result<(), String> {
    count("widths", network.widths.len(), LEVELS)?;
    for width in &network.widths {
        count("widths", *width, FEATURES)?;
    }
    count("blocks", network.blocks, BLOCKS)?;
    count("channels", network.channels, FEATURES)?;
    count("concat", network.concat.max(1), FEATURES)?;
    count("patch", network.patch, 64)?;
    count("classes", network.classes.max(1), ROWS)?;
    if !(network.epsilon > 0.0 && network.epsilon <= 1.0) {
        return Err(format!(
            "`epsilon` is {}, and must be above 0 and at most 1",
            network.epsilon
        ));
    }
    if let Some(text) = network.text {
        count("text.width", text.width, FEATURES)?;
    }
    if let Some(w) = network.w {
        count("w.dim", w.dim, FEATURES)?;
        factor("w.scale", w.scale)?;
    }
    if let Some(controlnet) = &network.controlnet {
        count("controlnet.channels", controlnet.channels, FEATURES)?;
        count("controlnet.stem", controlnet.stem.len(), LEVELS)?;
        for width in &controlnet.stem {
            count("controlnet.stem", *width, FEATURES)?;
        }
    }
    if let Some(lora) = &network.lora {
        count("lora.rank", lora.rank, FEATURES)?;
        factor("lora.alpha", lora.alpha)?;
    }
    network.validate().map_err(|error| error.to_string())
}

fn check_recipe(recipe: &SamplerRecipe) -> Result<(), String> {
    if recipe.version != 1 {
        return Err(format!(
            "its sampler recipe is of version {}, and this program reads version 1: a newer program may read it",
            recipe.version
        ));
    }
    let [channels, sides @ ..] = recipe.resolution;
    count("resolution", channels, FEATURES)?;
    for side in sides {
        count("resolution", side, SIDE)?;
    }
    count("classes", recipe.classes.len().max(1), ROWS)?;
    if let Some(control) = recipe.control {
        let [channels, sides @ ..] = control.shape;
        count("control.shape", channels, FEATURES)?;
        for side in sides {
            count("control.shape", side, SIDE)?;
        }
    }
    if let Role::Student {
        steps: Some(steps), ..
    } = recipe.role
    {
        count("role.steps", steps, STEPS)?;
    }
    match recipe.guidance {
        Guidance::None | Guidance::ClassifierFree => {}
        Guidance::Fixed { w } => factor("guidance.w", w)?,
        Guidance::Input {
            w_min,
            w_max,
            default,
        } => {
            factor("guidance.w_min", w_min)?;
            factor("guidance.w_max", w_max)?;
            factor("guidance.default", default)?;
            if w_min > w_max {
                return Err(format!(
                    "its w goes from {w_min} to {w_max}: the smallest must come first"
                ));
            }
            if !(w_min..=w_max).contains(&default) {
                return Err(format!(
                    "its default w is {default}, and it takes {w_min} to {w_max}"
                ));
            }
        }
    }
    if let ScheduleConfig::Discrete { steps, .. } = recipe.schedule {
        count("schedule.steps", steps, STEPS)?;
    }
    let schedule = Schedule::new(recipe.schedule.clone());
    schedule.map(drop).map_err(|error| error.to_string())
}

/// Whether the recipe is that of this network.
fn agree(network: &UNetConfig, recipe: &SamplerRecipe) -> Result<(), String> {
    let [channels, height, width] = recipe.resolution;
    if channels != network.channels {
        return Err(format!(
            "its sampler recipe is for {channels} channels (`resolution`), and the network has {}",
            network.channels
        ));
    }
    let inpaints = network.text.is_some() && network.concat == network.channels + 1;
    if network.concat > 0 && !inpaints {
        return Err(format!(
            "the network sees {} channels next to the {} of its own (`concat`): only those of inpainting are supported, of latents",
            network.concat, network.channels
        ));
    }
    // Latents may be of other sizes than those that the network was trained on, and the classes of
    // a latent model are in a table of their own.
    if network.text.is_none() {
        let fits = network.validate_size(height, width);
        fits.map_err(|error| error.to_string())?;
        if recipe.classes.len() != network.classes {
            return Err(format!(
                "its sampler recipe names {} classes, and the network has {}",
                recipe.classes.len(),
                network.classes
            ));
        }
    }
    if matches!(recipe.guidance, Guidance::Input { .. }) && network.w.is_none() {
        return Err(
            "its sampler recipe says that w is an input, and the network has no input for w".into(),
        );
    }
    controls(network, recipe)
}

fn controls(network: &UNetConfig, recipe: &SamplerRecipe) -> Result<(), String> {
    match (&network.controlnet, recipe.control) {
        (Some(controlnet), Some(control)) if controlnet.channels != control.shape[0] => {
            Err(format!(
                "its sampler recipe is for control images of {} channels, and the ControlNet takes {}",
                control.shape[0], controlnet.channels
            ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep_diffusion::{ControlSpec, DistilledFor, PredictionKind, Provenance, Task};
    use fewstep_nn::{ControlNetConfig, Fusion, LoraConfig};

    fn model() -> (UNetConfig, SamplerRecipe) {
        let network = UNetConfig {
            widths: vec![8, 16],
            attention: vec![false, false],
            head: 8,
            groups: 4,
            classes: 2,
            ..UNetConfig::default()
        };
        let recipe = SamplerRecipe {
            version: 1,
            role: Role::Teacher,
            prediction: PredictionKind::V,
            schedule: ScheduleConfig::default(),
            guidance: Guidance::ClassifierFree,
            resolution: [1, 8, 8],
            classes: vec!["a".into(), "b".into()],
            clip: true,
            control: None,
            default_sampler: None,
            provenance: Provenance::default(),
        };
        (network, recipe)
    }

    #[test]
    fn what_a_file_says_is_checked_before_it_is_used() {
        let (network, recipe) = model();
        check(&network, &recipe).expect("a model");
        type Change = fn(&mut UNetConfig, &mut SamplerRecipe);
        let changes: [(Change, &str); 21] = [
            (|n, _| n.blocks = usize::MAX, "`blocks` is 1844"),
            (|n, _| n.widths = vec![usize::MAX / 4; 2], "`widths`"),
            (|n, _| n.widths = vec![8; 99], "`widths` is 99"),
            (|n, _| n.patch = 1 << 60, "`patch`"),
            (
                |n, _| n.classes = 3,
                "names 2 classes, and the network has 3",
            ),
            (|_, r| r.version = 2, "version 2"),
            (|_, r| r.resolution = [1, 0, 8], "`resolution` is 0"),
            (|_, r| r.resolution = [1, 8, 1 << 40], "`resolution`"),
            (|_, r| r.resolution = [3, 8, 8], "3 channels"),
            (|_, r| r.resolution = [1, 8, 9], "multiples of 2"),
            (
                |_, r| {
                    r.role = Role::Student {
                        sampler: DistilledFor::Any,
                        steps: Some(0),
                    };
                },
                "`role.steps` is 0",
            ),
            (|_, r| r.guidance = input(0.0, 1.0), "no input for w"),
            (|_, r| r.guidance = input(4.0, 1.0), "from 4 to 1"),
            (|_, r| r.guidance = input(0.0, 1e300), "`guidance.w_max`"),
            (|_, r| r.guidance = input(2.0, 4.0), "default w is 1"),
            (|n, _| n.epsilon = 0.0, "`epsilon` is 0"),
            (|n, _| n.epsilon = f64::NAN, "`epsilon` is NaN"),
            (|n, _| n.concat = 2, "only those of inpainting"),
            (
                |_, r| r.control = control([1, 0, 8]),
                "`control.shape` is 0",
            ),
            (|n, _| n.lora = Some(lora(0)), "`lora.rank` is 0"),
            (
                |n, r| {
                    n.controlnet = Some(ControlNetConfig {
                        channels: 3,
                        stem: vec![8],
                        fusion: Fusion::default(),
                    });
                    r.control = control([1, 8, 8]);
                },
                "the ControlNet takes 3",
            ),
        ];
        for (change, expected) in changes {
            let (mut network, mut recipe) = model();
            change(&mut network, &mut recipe);
            let error = check(&network, &recipe).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
    }

    fn control(shape: [usize; 3]) -> Option<ControlSpec> {
        let task = Task::Depth;
        Some(ControlSpec { task, shape })
    }

    fn lora(rank: usize) -> LoraConfig {
        LoraConfig {
            rank,
            ..LoraConfig::default_attention()
        }
    }

    fn input(w_min: f64, w_max: f64) -> Guidance {
        Guidance::Input {
            w_min,
            w_max,
            default: 1.0,
        }
    }
}
