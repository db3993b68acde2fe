//! Recipes: all that a run does, as data.

mod adapt;
mod distill;
mod forms;
mod parse;
mod phase;
mod place;
mod teacher_lora;
mod train;
mod trained;

pub use crate::error::RecipeError;
pub use adapt::{AdaptRecipe, FineTuneConfig};
pub use distill::{DistillRecipe, TEXT_WEIGHTS, default_w_embedding};
pub use parse::{RecipeFileError, parse, parse_with};
pub use phase::{FewStepStudent, MethodName, PhaseRecipe};
pub use teacher_lora::TeacherLora;
pub use train::{TextConfig, TrainRecipe};

use fewstep_diffusion::limits::{UPDATES, within};
use fewstep_kernels::device::DeviceName;
use fewstep_nn::Precision;
use serde::{Deserialize, Serialize};

/// How a run reports and saves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Updates between two lines of the log.
    pub log_every: u64,
    /// Updates between two checkpoints.
    pub checkpoint_every: u64,
    /// How many checkpoints to keep: the newest.
    pub keep: usize,
    /// Where to compute; the command line comes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceName>,
    /// Type of the products and of the activations. Parameters, optimiser, averages and losses are
    /// in f32.
    #[serde(skip_serializing_if = "is_default")]
    pub precision: Precision,
    /// Where the run's folder is copied after every checkpoint: a folder, or the address of a place
    /// in object storage. What runs the run does this, as it is told when something is saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<String>,
}

fn is_default(precision: &Precision) -> bool {
    *precision == Precision::default()
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            log_every: 50,
            checkpoint_every: 1000,
            keep: 2,
            device: None,
            precision: Precision::default(),
            mirror: None,
        }
    }
}

impl RunConfig {
    fn validate(&self) -> Result<(), RecipeError> {
        within("run.log_every", self.log_every, 1..=UPDATES)?;
        within("run.checkpoint_every", self.checkpoint_every, 1..=UPDATES)?;
        Ok(within("run.keep", self.keep, 1..)?)
    }
}
