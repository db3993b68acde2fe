//! The models embedded in the program.

use super::{RegistryError, suited};
use burn::tensor::Device;
use fewstep_formats::Model;

/// The bytes of a file of the `assets` folder.
macro_rules! asset {
    ($file:literal) => {
        include_bytes!(concat!("../../../../assets/", $file))
    };
}

/// A model embedded in the program.
struct Embedded {
    name: &'static str,
    /// The steps that a student was distilled for.
    steps: Option<usize>,
    weights: &'static [u8],
}

/// The models; those of one name are the same student for different numbers of steps.
const MODELS: &[Embedded] = &[
    Embedded {
        name: "fashion-mnist",
        steps: Some(1),
        weights: asset!("fashion-mnist-steps-1.safetensors"),
    },
    Embedded {
        name: "fashion-mnist",
        steps: Some(2),
        weights: asset!("fashion-mnist-steps-2.safetensors"),
    },
    Embedded {
        name: "fashion-mnist",
        steps: Some(4),
        weights: asset!("fashion-mnist-steps-4.safetensors"),
    },
    Embedded {
        name: "fashion-mnist",
        steps: Some(8),
        weights: asset!("fashion-mnist-steps-8.safetensors"),
    },
    Embedded {
        name: "fashion-mnist-encoder",
        steps: Some(4),
        weights: asset!("fashion-mnist-encoder-steps-4.safetensors"),
    },
    Embedded {
        name: "fashion-mnist-teacher",
        steps: None,
        weights: asset!("fashion-mnist-teacher.safetensors"),
    },
];

/// The numbers of steps that the models `builtin:NAME` were distilled for.
pub(super) fn trained_steps(name: &str) -> Result<Vec<Option<usize>>, RegistryError> {
    let named = MODELS.iter().filter(|model| model.name == name);
    let steps: Vec<Option<usize>> = named.map(|model| model.steps).collect();
    match steps.is_empty() {
        false => Ok(steps),
        true => Err(unknown(name)),
    }
}

/// The model `builtin:NAME`; of several, the one for the number of steps, or the nearest.
pub(super) fn load(
    name: &str,
    steps: Option<usize>,
    device: &Device,
) -> Result<Model, RegistryError> {
    let named: Vec<&Embedded> = MODELS.iter().filter(|model| model.name == name).collect();
    let index = suited(named.iter().map(|model| model.steps), steps);
    let index = index.ok_or_else(|| unknown(name))?;
    let origin = format!("builtin:{name}");
    let weights = named[index].weights.to_vec();
    Ok(Model::from_bytes(weights, &origin, device)?)
}

fn unknown(name: &str) -> RegistryError {
    RegistryError::NoBuiltin {
        name: name.into(),
        known: names(),
    }
}

/// The names of all models.
fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_model_can_be_loaded_by_its_name_and_steps() {
        let device = Device::flex();
        for embedded in MODELS {
            let model = load(embedded.name, embedded.steps, &device);
            assert!(
                model.is_ok_and(|m| m.recipe.resolution == [1, 32, 32]),
                "{}",
                embedded.name
            );
        }
        let error = load("mnist", None, &device).expect_err("there is none");
        assert!(error.to_string().contains(&names().join(", ")), "{error}");
    }
}
