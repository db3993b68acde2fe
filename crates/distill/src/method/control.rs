//! Control images: how a student gets a ControlNet, and whether only that is trained.

use super::MethodError;
use fewstep_data::{ConditionConfig, Conditions};
use fewstep_diffusion::{ControlSpec, Task};
use fewstep_formats::Model;
use fewstep_nn::{Backbone, Fusion, Initial, TrainedPart};
use serde::{Deserialize, Serialize};

/// Which parameters move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trained {
    /// All.
    #[default]
    Full,
    /// All but the weights of the convolutions in blocks, of a student that goes on: most of it stays
    /// as it is.
    AllButConvolutions,
    /// Those of the ControlNet: it can then be used with other fine-tunes of the same base.
    #[serde(rename = "controlnet", alias = "adapter")]
    ControlNet,
}

/// A ControlNet to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewControlNet {
    /// How its features join those of the base.
    pub fusion: Fusion,
    /// Where its encoder starts.
    pub initial: Initial,
}

/// What a student learns about control images.
#[derive(Clone, Copy, Debug, Default)]
pub struct Control {
    /// The control images of the data, where it has them.
    pub spec: Option<ControlSpec>,
    /// The ControlNet that a model without one gets for them.
    pub new: NewControlNet,
    /// Which parameters move.
    pub train: Trained,
}

impl Control {
    /// The model's network, with a ControlNet where there are control images and it has none.
    pub(super) fn student(&self, base: &Model, seed: u64) -> Result<Backbone, MethodError> {
        let mut network = base.network.clone();
        if let (Some(control), None) = (self.spec, network.controlnet()) {
            let NewControlNet { fusion, initial } = self.new;
            let resolution = base.recipe.resolution;
            let config = network
                .config()
                .controlnet_for(control.shape, resolution, fusion);
            network = network
                .with_controlnet(&config, initial, seed)
                .map_err(|e| MethodError::Teacher(e.to_string()))?;
        }
        if self.train == Trained::ControlNet && network.controlnet().is_none() {
            return Err(MethodError::Teacher(
                "`train = \"controlnet\"` asks for a ControlNet to train, but there is no [condition] and the teacher has none: add [condition], or train all".into(),
            ));
        }
        Ok(network)
    }

    pub(super) fn trained_part(&self) -> TrainedPart {
        self.train.part()
    }
}

impl Trained {
    /// What of a network that is.
    pub(super) fn part(self) -> TrainedPart {
        match self {
            Self::Full => TrainedPart::All,
            Self::AllButConvolutions => TrainedPart::AllButConvolutions,
            Self::ControlNet => TrainedPart::ControlNet,
        }
    }
}

/// What a model's recipe says about control images like these.
pub fn control_spec(conditions: &Conditions) -> ControlSpec {
    let task = match conditions.config() {
        ConditionConfig::Bicubic { .. } | ConditionConfig::Degraded { .. } => Task::Upscale,
        ConditionConfig::Inpaint { .. } => Task::Inpaint,
        ConditionConfig::Depth(_) => Task::Depth,
        ConditionConfig::Instruct(_) => Task::Instruct,
        ConditionConfig::Edges {} | ConditionConfig::Image(_) => Task::Image,
    };
    ControlSpec {
        task,
        shape: conditions.shape(),
    }
}
