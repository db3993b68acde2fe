//! Methods that a recipe of one phase can name.

use super::{Control, GuidanceWeights, LossWeighting, Method, StartModel, StudentPrediction};
use crate::error::RecipeError;
use fewstep_nn::WEmbedding;

/// The keys of a recipe of one phase that belong to no single method.
#[derive(Clone, Debug)]
pub(crate) struct SharedSettings {
    /// What is learnt about control images.
    pub(crate) control: Control,
    /// Guidance weights.
    pub(crate) w: Option<GuidanceWeights>,
    /// How w enters the network.
    pub(crate) w_embedding: WEmbedding,
    /// Probability that an example loses its label.
    pub(crate) label_dropout: f64,
    /// Weight of the loss over noise levels.
    pub(crate) weighting: Option<LossWeighting>,
    /// What the student predicts.
    pub(crate) student_prediction: StudentPrediction,
    /// The model that the student starts from, where that is not the teacher.
    pub(crate) student: Option<StartModel>,
    /// The student's peak learning rate.
    pub(crate) lr: f64,
}

/// A method that a recipe of one phase can name.
pub(crate) trait InRecipe: Method + Sized {
    /// Name of the phase, and of the model that comes out.
    const PHASE: &'static str;

    /// The method's own section of the recipe; `()` for none.
    type Config;

    /// Checks what the method's own settings cannot know.
    fn check_shared(_shared: &SharedSettings) -> Result<(), RecipeError> {
        Ok(())
    }

    /// The method as the recipe has it.
    fn from_recipe(config: &Self::Config, shared: SharedSettings) -> Self;
}
