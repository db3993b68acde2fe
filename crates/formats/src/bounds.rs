//! What a file says of its model, checked before anything is built or allocated: against bounds that
//! every real model keeps, and recipe and network against each other.

use fewstep_diffusion::limits::{
    BLOCKS, FEATURES, OutOfRange, ROWS, SIDE, STEPS, count, factor, within,
};
use fewstep_diffusion::{Guidance, Role, SamplerRecipe, Schedule};
use fewstep_nn::{ExtraInput, UNetConfig};

/// Checks network and recipe of a model.
///
/// # Errors
/// Names the field, what it is, and what it may be.
pub(crate) fn check(network: &UNetConfig, recipe: &SamplerRecipe) -> Result<(), String> {
    network.validate().map_err(|error| error.to_string())?;
    check_recipe(recipe)?;
    agree(network, recipe)
}

/// Checks the recipe by itself.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_recipe(recipe: &SamplerRecipe) -> Result<(), String> {
    if recipe.version != 1 {
        return Err(format!(
            "its sampler recipe is of version {}, and this program reads version 1: a newer program may read it",
            recipe.version
        ));
    }
    numbers(recipe).map_err(|error| error.to_string())?;
    if let Guidance::Input {
        w_min,
        w_max,
        default,
    } = recipe.guidance
    {
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
    let schedule = Schedule::new(recipe.schedule.clone());
    schedule.map(drop).map_err(|error| error.to_string())
}

/// Checks each number of a recipe.
fn numbers(recipe: &SamplerRecipe) -> Result<(), OutOfRange> {
    let [channels, sides @ ..] = recipe.resolution;
    count("resolution", channels, FEATURES)?;
    for side in sides {
        count("resolution", side, SIDE)?;
    }
    count("classes", recipe.classes.len().max(1), ROWS)?;
    within("clip_skip", recipe.clip_skip, 0..=BLOCKS)?;
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
    if let Some(scale) = recipe.image_guidance {
        factor("image_guidance", scale)?;
    }
    match recipe.guidance {
        Guidance::None | Guidance::ClassifierFree => Ok(()),
        Guidance::Fixed { w } => factor("guidance.w", w),
        Guidance::Input {
            w_min,
            w_max,
            default,
        } => {
            factor("guidance.w_min", w_min)?;
            factor("guidance.w_max", w_max)?;
            factor("guidance.default", default)
        }
    }
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
    let supported = match network.extra_input() {
        None => network.concat == 0,
        Some(ExtraInput::MaskedImage) => network.text.is_some(),
        // SDXL's may see latents of another scale (CosXL), and its folders do not say so.
        Some(ExtraInput::SourceImage) => network.text.is_some() && network.text_time.is_none(),
    };
    if !supported {
        return Err(format!(
            "the network sees {} channels next to the {} of its own (`concat`): only those of inpainting are supported, of latents, and those of editing by instruction with Stable Diffusion 1 and 2",
            network.concat, network.channels
        ));
    }
    if recipe.image_guidance.is_some() && !network.sees_source() {
        return Err(
            "its sampler recipe has a guidance scale for source images (`image_guidance`), and the network sees none".into(),
        );
    }
    // Latents may be of other sizes than those that the network was trained on, and the classes of
    // a latent model are in a table of their own.
    if network.text.is_none() {
        let fits = network.validate_size(height, width);
        fits.map_err(|error| error.to_string())?;
        let guides = recipe.guidance == Guidance::ClassifierFree;
        if guides && network.classes > 0 && !network.null_class {
            return Err(
                "its sampler recipe says that it is guided by \"no class\", and the network has no such class (`null_class`)".into(),
            );
        }
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
        (Some(_), None) => Err(
            "the network has a ControlNet, and its sampler recipe names no control images (`control`)"
                .into(),
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep_diffusion::{
        ControlSpec, DistilledFor, PredictionKind, Provenance, ScheduleConfig, Task,
    };
    use fewstep_nn::{ControlNetConfig, Fusion, LoraConfig, TextAttention, TextTime};

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
            image_guidance: None,
            resolution: [1, 8, 8],
            classes: vec!["a".into(), "b".into()],
            clip: true,
            clip_skip: 0,
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
        let changes: [(Change, &str); 27] = [
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
            (|n, _| see_source(n), "with Stable Diffusion 1 and 2"),
            (|_, r| r.image_guidance = Some(1.5), "the network sees none"),
            (
                |_, r| r.image_guidance = Some(f64::NAN),
                "`image_guidance` is NaN",
            ),
            (
                |_, r| r.control = control([1, 0, 8]),
                "`control.shape` is 0",
            ),
            (|n, _| n.lora = Some(lora(0)), "`lora.rank` is 0"),
            (|n, _| n.null_class = false, "no such class"),
            (
                |n, _| n.controlnet = Some(controlnet()),
                "no control images",
            ),
            (
                |_, r| {
                    r.schedule = ScheduleConfig::Cosine {
                        log_snr_min: -1e300,
                        log_snr_max: 20.0,
                    };
                },
                "log_snr_min is -1",
            ),
            (
                |n, r| {
                    n.controlnet = Some(controlnet());
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

    /// Makes it a network of SDXL that sees a source image.
    fn see_source(network: &mut UNetConfig) {
        network.concat = network.channels;
        network.classes = 0;
        network.text = Some(TextAttention {
            width: 8,
            linear: true,
        });
        network.text_time = Some(TextTime { pooled: 8, dim: 8 });
    }

    fn controlnet() -> ControlNetConfig {
        ControlNetConfig {
            channels: 3,
            stem: vec![8],
            fusion: Fusion::default(),
            unit: false,
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
