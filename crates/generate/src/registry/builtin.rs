//! The models embedded in the program.

use super::choice::suited;
use super::{Candidate, RegistryError};
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
        name: "fashion-mnist-matched",
        steps: Some(1),
        weights: asset!("fashion-mnist-matched-steps-1.safetensors"),
    },
    Embedded {
        name: "fashion-mnist-matched",
        steps: Some(4),
        weights: asset!("fashion-mnist-matched-steps-4.safetensors"),
    },
    Embedded {
        name: "fashion-mnist-teacher",
        steps: None,
        weights: asset!("fashion-mnist-teacher.safetensors"),
    },
];

/// The models `builtin:NAME`.
pub(super) fn models(name: &str) -> Result<Vec<Candidate>, RegistryError> {
    let candidate = |model: &Embedded| Candidate {
        name: match model.steps {
            Some(steps) => format!("steps-{steps}"),
            None => model.name.into(),
        },
        steps: model.steps,
    };
    let models: Vec<Candidate> = named(name).map(candidate).collect();
    match models.is_empty() {
        false => Ok(models),
        true => Err(RegistryError::NoBuiltin {
            name: name.into(),
            known: names(),
        }),
    }
}

/// The model `builtin:NAME`; of several, the one for the number of steps, or the nearest.
pub(super) fn load(
    name: &str,
    steps: Option<usize>,
    device: &Device,
) -> Result<Model, RegistryError> {
    let models = models(name)?;
    let index = suited(models.iter().map(|model| model.steps), steps).unwrap_or(0);
    let origin = format!("builtin:{name}");
    let weights = named(name)
        .nth(index)
        .map_or(&[][..], |model| model.weights);
    let weights = weights.to_vec();
    Ok(Model::from_bytes(weights, &origin, device)?)
}

fn named(name: &str) -> impl Iterator<Item = &'static Embedded> {
    MODELS.iter().filter(move |model| model.name == name)
}

/// A model embedded in the program, as [`list`] has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Builtin {
    /// Its name: `builtin:NAME`.
    pub name: String,
    /// The numbers of steps that there are students for; none for a teacher.
    pub steps: Vec<usize>,
}

/// The models that are embedded in the program.
pub fn list() -> Vec<Builtin> {
    let of_name = |name: &&str| Builtin {
        name: format!("builtin:{name}"),
        steps: MODELS
            .iter()
            .filter(|model| model.name == *name)
            .filter_map(|model| model.steps)
            .collect(),
    };
    names().iter().map(of_name).collect()
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
