//! The student that adapting starts from.

use crate::method::{MethodError, StartModel};
use fewstep_formats::Model;
use fewstep_nn::{Backbone, ConfigError, Lora};

/// The few-step student that adapting starts from, to which what its teacher has learnt is added.
#[derive(Clone, Debug)]
pub struct AdaptedStudent {
    /// The student, or the difference of its weights to those of its teacher.
    model: StartModel,
    is_difference: bool,
}

impl AdaptedStudent {
    /// A student as it is, for a teacher that stays as it is, or learns a LoRA.
    pub fn new(student: Model) -> Self {
        Self {
            model: student.into(),
            is_difference: false,
        }
    }

    /// A student for a teacher whose weights were `before`: it starts at η + (θ' − θ), with its own
    /// weights η and those of the teacher before, θ, and after, θ'. None for a student whose layers
    /// are not those of the teacher.
    pub fn following(student: Model, before: &Model) -> Option<Self> {
        let Model { network, recipe } = student;
        let network = network.plus(&before.network, -1.0)?;
        Some(Self {
            model: Model { network, recipe }.into(),
            is_difference: true,
        })
    }

    /// The student's sampler recipe, and weights that change where the student's do.
    pub(super) fn model(&self) -> &Model {
        &self.model
    }

    /// The student with what the teacher has learnt.
    pub(super) fn taught_by(&self, teacher: &Model, seed: u64) -> Result<Backbone, MethodError> {
        let mut network = self.model.network.clone();
        if self.is_difference {
            network = network.plus(&teacher.network, 1.0).ok_or_else(|| {
                MethodError::Teacher(
                    "the teacher has other layers than the one that the student was distilled from: give a fine-tune of that one".into(),
                )
            })?;
        }
        match teacher.network.lora() {
            Some(lora) => with_lora_of(network, lora, seed),
            None => Ok(network),
        }
    }
}

/// A student with LoRA of its own, which are those of its teacher at first.
fn with_lora_of(network: Backbone, lora: &Lora, seed: u64) -> Result<Backbone, MethodError> {
    let invalid = |error: ConfigError| MethodError::Teacher(error.to_string());
    let network = network.with_lora(lora.config(), seed).map_err(invalid)?;
    let learnt = lora.layers();
    let mut layers = network.lora().map(Lora::layers).unwrap_or_default();
    for own in &mut layers {
        match learnt.iter().find(|layer| layer.name == own.name) {
            Some(layer) if layer.shape == own.shape => *own = layer.clone(),
            Some(layer) => {
                return Err(MethodError::Teacher(format!(
                    "the student's layer {} has the shape {:?} and the teacher's {:?}: give a student that was distilled from this teacher",
                    own.name, own.shape, layer.shape
                )));
            }
            // The input for w, which a teacher has not.
            None => {}
        }
    }
    Ok(network.with_lora_layers(&layers))
}
