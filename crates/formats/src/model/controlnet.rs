//! The ControlNet of a model: taken out, and put into another fine-tune of its base.

use super::Model;
use crate::{ControlNetModel, FormatError};
use fewstep_diffusion::SamplerRecipe;

impl Model {
    /// The ControlNet of the model by itself.
    pub fn controlnet(&self) -> Option<ControlNetModel> {
        self.network.controlnet().map(|controlnet| ControlNetModel {
            controlnet: controlnet.clone(),
            recipe: self.recipe.clone(),
        })
    }

    /// The model with a ControlNet that was trained on it or on another fine-tune of its base; it
    /// is then sampled as the ControlNet says, for images of the size that the ControlNet is for.
    ///
    /// # Errors
    /// When shapes, predictions, schedules, channels or numbers of classes differ; says which.
    pub fn with_controlnet(self, controlnet: ControlNetModel) -> Result<Self, FormatError> {
        let (ours, theirs) = (&self.recipe, &controlnet.recipe);
        let facts: [(&str, String, String); 4] = [
            ("predicts", debug(theirs.prediction), debug(ours.prediction)),
            (
                "has the schedule",
                debug(&theirs.schedule),
                debug(&ours.schedule),
            ),
            (
                "has a number of channels of",
                debug(theirs.resolution[0]),
                debug(ours.resolution[0]),
            ),
            (
                "has a number of classes of",
                debug(theirs.classes.len()),
                debug(ours.classes.len()),
            ),
        ];
        if let Some((what, made_for, has)) = facts.into_iter().find(|(_, a, b)| a != b) {
            return Err(FormatError::ControlNet(format!(
                "it was made for a base that {what} {made_for}, and this one {what} {has}"
            )));
        }
        let recipe = SamplerRecipe {
            classes: self.recipe.classes.clone(),
            ..controlnet.recipe
        };
        let network = self.network.attach_controlnet(controlnet.controlnet);
        Ok(Self {
            network: network.map_err(|e| FormatError::ControlNet(e.to_string()))?,
            recipe,
        })
    }
}

fn debug(value: impl std::fmt::Debug) -> String {
    format!("{value:?}")
}
