//! LoRA of other tools that a teacher has.

use crate::error::RecipeError;
use fewstep_data::expand_home;
use fewstep_diffusion::limits::factor;
use fewstep_formats::{FormatError, Loras};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A LoRA file that is added to the weights of the teacher, and so to those of its student.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherLora {
    /// The file, of kohya's scripts, PEFT or diffusers.
    pub path: PathBuf,
    /// How many times it is added: 1 is as it was trained.
    #[serde(default = "once")]
    pub weight: f64,
}

fn once() -> f64 {
    1.0
}

impl TeacherLora {
    pub(super) fn check(loras: &[Self]) -> Result<(), RecipeError> {
        let mut loras = loras.iter();
        Ok(loras.try_for_each(|lora| factor("teacher_lora.weight", lora.weight))?)
    }

    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read, or holds no LoRA.
    pub fn read(loras: &[Self]) -> Result<Loras, FormatError> {
        let files = loras.iter();
        let files: Vec<_> = files.map(|l| (expand_home(&l.path), l.weight)).collect();
        Loras::read(files.iter().map(|(path, weight)| (&**path, *weight)))
    }

    /// The name of the file without its ending, and the weight.
    pub fn name(&self) -> String {
        let name = self.path.file_stem().unwrap_or_default();
        format!("{}:{}", name.to_string_lossy(), self.weight)
    }
}
