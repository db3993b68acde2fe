//! The methods, a folder each. What methods share is in the files of this folder.
//!
//! A method is a [`Method`]: how a phase of a run starts from a model, what its networks learn, and
//! what comes out. Runs, plans, checkpoints and the resuming of runs know no more of a method than
//! this trait. What a network learns is an [`Objective`]: from a batch and its random draws to a
//! loss. Objectives know nothing about optimisers, files or devices.
//!
//! | folder | method |
//! |---|---|
//! | [`denoising`] | training a teacher, or teaching a model to take control images |
//! | [`guidance`] | stage one of 2210.03142: one student for the guided teacher |
//! | [`progressive`] | stage two: half as many steps, again and again |
//! | [`consistency`] | consistency distillation, latent consistency models |
//! | [`codi`] | conditional distillation: control images and few steps at once |
//! | [`adapt`] | a few-step student follows its teacher to what that has learnt anew |
//! | [`matching`] | distribution matching: few-step students that are better than their targets |
//! | [`adversarial`] | adversarial fine-tuning: few-step students that are taken for the data |

pub mod adapt;
pub mod adversarial;
pub mod codi;
pub mod consistency;
pub mod denoising;
pub mod guidance;
pub mod matching;
pub mod progressive;

mod balanced;
mod boundary;
mod control;
mod distance;
mod draws;
mod error;
mod guidance_weights;
mod in_recipe;
mod objective;
mod pairs;
mod player;
mod player_config;
mod start;
mod student_prediction;
mod teacher;
mod weighting;

pub use adapt::Adapt;
pub use adversarial::{Adversarial, DISCRIMINATOR, Discriminating, Discrimination, Penalty};
pub use balanced::Balanced;
pub use boundary::Boundary;
pub use codi::{Codi, ConsistencyTarget, OdeModel, OdeNoise, OdeStep};
pub use consistency::{Consistency, Solver};
pub use control::{Control, NewControlNet, Trained, control_spec};
pub use denoising::Denoising;
pub use distance::{Distance, DistanceConfig};
pub use draws::{Draws, diffuse, velocity_loss};
pub use error::MethodError;
pub use guidance::{GuidanceDistillation, NoisyImages};
pub use guidance_weights::GuidanceWeights;
pub(crate) use in_recipe::{InRecipe, SharedSettings};
pub use matching::{DistributionMatching, FAKE_SCORE, FakeScore};
pub use objective::{Batch, Cost, Loss, Objective, Peer, STUDENT, Student};
pub use pairs::{TimePairs, Times};
pub(crate) use player::Playing;
pub use player::{Player, Turn};
pub use player_config::PlayerConfig;
pub use progressive::{Halving, Progressive, TargetForm};
use start::Start;
pub use start::{Simulation, StartModel, TrainedSteps};
pub use student_prediction::StudentPrediction;
pub(crate) use student_prediction::check_prediction;
pub use teacher::Teacher;
pub use weighting::LossWeighting;

use fewstep_diffusion::SamplerRecipe;
use fewstep_formats::Model;
use fewstep_nn::{Backbone, TrainedPart};
use std::fmt::Debug;
use std::path::Path;

/// A method of training or distillation, as one phase of a run.
///
/// The student is the network that the phase is for: it starts from the model before, and the model
/// that comes out is its average, or the student itself where it has none. A method may train
/// further networks with it, its other [`players`](Method::others).
pub trait Method: Debug + Send + Sync {
    /// Its name in the provenance of the models that come out.
    fn name(&self) -> &'static str;

    /// Whether the model before the phase is a teacher, and not a network without training.
    fn has_teacher(&self) -> bool {
        true
    }

    /// Whether objectives evaluate the frozen teacher, which then stays in memory.
    fn calls_teacher(&self) -> bool;

    /// Whether a student may be trained as LoRA of the teacher's weights.
    fn supports_lora(&self) -> bool {
        false
    }

    /// What of the student is trained, where it is not LoRA.
    fn trained_part(&self) -> TrainedPart {
        TrainedPart::All
    }

    /// The number of sampling steps that the student is made for, if the method fixes it.
    fn steps(&self) -> Option<usize> {
        None
    }

    /// The model that the student starts from, where that is not the model before the phase.
    fn starts_from(&self) -> Option<&Model> {
        None
    }

    /// The files of weights that its losses read, besides the teacher's.
    fn weight_files(&self) -> Vec<&Path> {
        vec![]
    }

    /// Checks that the method can work with a teacher.
    ///
    /// # Errors
    /// Says what the teacher is, and what to do.
    fn check(&self, _teacher: &Model) -> Result<(), MethodError> {
        Ok(())
    }

    /// Checks settings of a new run against its teacher. A run that is resumed keeps what it was
    /// started with.
    ///
    /// # Errors
    /// Says which setting does not go with the teacher, and what to do.
    fn check_settings(&self, _teacher: &Model) -> Result<(), MethodError> {
        Ok(())
    }

    /// The student where the phase starts: the network before it, with what the method adds.
    ///
    /// # Errors
    /// When the network cannot be given what it needs.
    fn student(&self, base: &Model, seed: u64) -> Result<Backbone, MethodError>;

    /// What the student learns.
    ///
    /// # Errors
    /// When the teacher or another network of the objective cannot be used.
    fn objective(&self, teacher: &Teacher<'_>) -> Result<Box<dyn Objective>, MethodError>;

    /// In which updates the student moves.
    fn turn(&self) -> Turn {
        Turn::default()
    }

    /// The other players. In each update the student moves first, then these, in this order; each
    /// sees the others as they are at that moment.
    ///
    /// # Errors
    /// When the teacher does not fit.
    fn others(&self, _teacher: &Teacher<'_>, _seed: u64) -> Result<Vec<Player>, MethodError> {
        Ok(vec![])
    }

    /// Changes the sampler recipe of the model before into that of the model that comes out.
    fn result(&self, recipe: &mut SamplerRecipe);
}
