//! Whether what a recipe trains goes with the rest of it.

use super::PhaseRecipe;
use crate::error::RecipeError;
use crate::method::Trained;
use fewstep_nn::Precision;

impl PhaseRecipe {
    /// Checks that what is trained in part is a student that goes on, and that it is said once which
    /// part.
    pub(super) fn check_trained(&self) -> Result<(), RecipeError> {
        if self.train != Trained::AllButConvolutions {
            return Ok(());
        }
        let message = match (self.student(), &self.lora) {
            (None, _) => {
                "`train` is \"all-but-convolutions\", which is for a student that goes on: for `method = \"matching\"` and `method = \"adversarial\"`"
            }
            (_, Some(_)) => {
                "`train` is \"all-but-convolutions\", and with [lora] only LoRA are trained: give either"
            }
            (Some(_), None) => return Ok(()),
        };
        Err(RecipeError::new("train", message))
    }

    /// Checks that storing the teacher in half the bits saves memory: where only the ControlNet is
    /// trained, the student shares the weights of the base with the teacher.
    pub(super) fn check_precision(&self) -> Result<(), RecipeError> {
        let precision = self.teacher_precision;
        match self.train == Trained::ControlNet && precision != Precision::F32 {
            false => Ok(()),
            true => Err(RecipeError::new(
                "teacher_precision",
                format!(
                    "`teacher_precision` is \"{precision}\", but with `train = \"controlnet\"` teacher and student have their frozen weights in common, and a copy in 16 bits would take memory on top: remove it"
                ),
            )),
        }
    }
}
