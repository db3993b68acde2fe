//! Conditional diffusion distillation: turns a prior into a conditional model of few steps in a
//! single stage.
//!
//! # Source
//! Section 3 of 2310.01407.
//!
//! # Objective
//! E d(ε̂_θ⁻(ẑ_s, s, c), ε̂_θ(z_t, t, c)) + d(x, x̂_θ(z_t, t, c)) with ẑ_s = α_s x̂_θ(z_t, t, c) +
//! σ_s ε, where neither ẑ_s nor θ⁻, the average of θ, carries a gradient.
//!
//! # Departures from the paper
//! Its algorithm prints the target network at t; the text says s. At s = 0 there is no noise to
//! be consistent with, so that samples with s = 0 have no consistency term in ε. The paper's
//! choices are the defaults of the enums; the others are those of its appendix and of the public
//! code, without its bugs: the model of the ODE step moves with training, no boundary condition is
//! put on ε̂, and guidance is (1 + w) conditional − w unconditional.

mod config;
mod objective;

pub use config::{CodiConfig, ConsistencyTarget, OdeModel, OdeNoise};
pub use objective::{Codi, OdeStep};

use super::teacher::check_every_level;
use super::{
    Control, Distance, GuidanceWeights, InRecipe, Method, MethodError, Objective, SharedSettings,
    StudentPrediction, Teacher, Trained,
};
use fewstep_diffusion::{DistilledFor, Guidance, Role, SamplerRecipe};
use fewstep_formats::Model;
use fewstep_nn::{Backbone, TrainedPart};
use std::path::Path;

/// Conditional distillation as a phase.
#[derive(Clone, Debug)]
pub struct CodiMethod {
    /// Its settings.
    pub config: CodiConfig,
    /// What the student learns about control images.
    pub control: Control,
    /// Which w guidance is applied with inside all networks; none for no guidance.
    pub weights: Option<GuidanceWeights>,
    /// What the student predicts.
    pub prediction: StudentPrediction,
}

impl Method for CodiMethod {
    fn name(&self) -> &'static str {
        match self.control.train {
            Trained::Full | Trained::AllButConvolutions => "codi",
            Trained::ControlNet => "pe-codi",
        }
    }

    fn calls_teacher(&self) -> bool {
        self.config.ode_model == OdeModel::Base
    }

    fn weight_files(&self) -> Vec<&Path> {
        let distances = [&self.config.distance, &self.config.guidance_distance];
        let files = distances.into_iter().filter_map(Distance::weight_file);
        files.collect()
    }

    fn trained_part(&self) -> TrainedPart {
        self.control.trained_part()
    }

    fn check(&self, teacher: &Model) -> Result<(), MethodError> {
        let sees_source = teacher.network.config().sees_source();
        let message = match (self.weights, teacher.recipe.guidance) {
            (Some(_), Guidance::None) => {
                "the teacher was trained without dropped labels, so it has no unconditional branch to guide with: remove `w`"
            }
            (Some(_), Guidance::Input { .. } | Guidance::Fixed { .. }) => {
                "`w` asks for guidance of two branches, but the teacher is a student with guidance folded in: remove `w`"
            }
            (Some(_), Guidance::ClassifierFree) if sees_source => {
                "the teacher is guided towards its source image too, which `method = \"codi\"` is not for: remove `w`, or use `method = \"consistency\"` or the stages of guided distillation"
            }
            (None, Guidance::Input { .. }) => {
                "the teacher takes w as an input, which a model learning its condition at the same time does not: give the teacher from before guidance was folded in"
            }
            _ => return Ok(()),
        };
        Err(MethodError::Teacher(message.into()))
    }

    fn check_settings(&self, teacher: &Model) -> Result<(), MethodError> {
        check_every_level(&teacher.recipe).map_err(MethodError::Teacher)
    }

    fn student(&self, base: &Model, seed: u64) -> Result<Backbone, MethodError> {
        self.control.student(base, seed)
    }

    fn objective(&self, teacher: &Teacher<'_>) -> Result<Box<dyn Objective>, MethodError> {
        let config = &self.config;
        Ok(Box::new(Codi {
            pairs: config.pairs(),
            consistent: config.consistency,
            boundary: config.boundary,
            ode_step: config.ode_model.with(teacher.frozen()?),
            ode_noise: config.ode_noise,
            distance: teacher.distance(&config.distance)?,
            consistency: config.consistency_weight,
            error_weight: config.error_weight,
            guidance_distance: teacher.distance(&config.guidance_distance)?,
            guidance: config.guidance_weight,
            weights: self.weights,
        }))
    }

    fn result(&self, recipe: &mut SamplerRecipe) {
        recipe.control = self.control.spec.or(recipe.control);
        recipe.prediction = self.prediction.of(recipe);
        recipe.role = Role::Student {
            sampler: DistilledFor::Consistency,
            steps: None,
        };
        // Without guidance inside, the branch without classes was not trained.
        if self.weights.is_none() && recipe.guidance == Guidance::ClassifierFree {
            recipe.set_unguided();
        }
    }
}

impl InRecipe for CodiMethod {
    const PHASE: &'static str = "codi";

    type Config = CodiConfig;

    fn from_recipe(config: &CodiConfig, shared: SharedSettings) -> Self {
        Self {
            config: config.clone(),
            control: shared.control,
            weights: shared.w,
            prediction: shared.student_prediction,
        }
    }
}
