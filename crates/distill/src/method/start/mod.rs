//! The few-step student that a method starts from, besides its teacher.

mod checks;
mod model;
mod simulation;
#[cfg(test)]
pub(super) mod testing;

pub use model::StartModel;
pub use simulation::{Simulation, TrainedSteps};

use super::teacher::check_every_level;
use super::{GuidanceWeights, MethodError, SharedSettings, StudentPrediction, Trained};
use crate::error::RecipeError;
use checks::{check_networks, check_same, check_sampler, check_w};
use fewstep_diffusion::{DistilledFor, Guidance, Role, SamplerRecipe};
use fewstep_formats::Model;

/// The student to start from, and what the recipe says of it.
#[derive(Clone, Copy)]
pub(super) struct Start<'a> {
    /// The section of a recipe that names it, for messages; empty where that is its top.
    pub(super) section: &'static str,
    /// The student; none where a recipe is only described.
    pub(super) model: Option<&'a Model>,
    /// Its steps, where they are not those that it was distilled for.
    pub(super) steps: Option<usize>,
    /// Which of them learn.
    pub(super) trained: TrainedSteps,
    /// Which w, where they are not those that it was distilled for.
    pub(super) weights: Option<GuidanceWeights>,
}

impl<'a> Start<'a> {
    /// The student.
    pub(super) fn model(self) -> Result<&'a Model, MethodError> {
        self.model.ok_or_else(|| {
            let key = self.key("student");
            MethodError::Teacher(format!("there is no student to start from: set `{key}`"))
        })
    }

    /// A key of its section, as messages name it.
    fn key(self, key: &str) -> String {
        match self.section {
            "" => key.into(),
            section => format!("{section}.{key}"),
        }
    }

    /// Which w; none for a student without guidance.
    pub(super) fn weights_of(self, model: &Model) -> Option<GuidanceWeights> {
        self.weights.or(match model.recipe.guidance {
            Guidance::Input { w_min, w_max, .. } => Some(GuidanceWeights::Range([w_min, w_max])),
            Guidance::Fixed { w } => Some(GuidanceWeights::Single(w)),
            Guidance::None | Guidance::ClassifierFree => None,
        })
    }

    /// Its steps, if they are known.
    pub(super) fn steps(self) -> Option<usize> {
        match self.model?.recipe.role {
            Role::Student { steps, .. } => self.steps.or(steps),
            Role::Teacher => self.steps,
        }
    }

    /// How it generates images in training.
    pub(super) fn simulation(self) -> Result<Simulation, MethodError> {
        let model = self.model()?;
        Ok(Simulation {
            steps: self.steps().unwrap_or(1),
            trained: self.trained,
            weights: self.weights_of(model),
            clip: model.recipe.clip,
        })
    }

    /// Checks that it goes with a teacher.
    pub(super) fn check(self, teacher: &Model) -> Result<(), MethodError> {
        let start = self.model()?;
        let networks = [teacher, start].map(|model| model.network.config());
        let (teacher, of_start) = (&teacher.recipe, &start.recipe);
        let weights = self.weights_of(start);
        check_every_level(teacher)
            .and_then(|()| check_networks(networks))
            .and_then(|()| check_same(teacher, of_start))
            .and_then(|()| check_sampler(&self.key("steps"), self.steps, of_start))
            .and_then(|()| check_w(weights, teacher.guidance, of_start.guidance))
            .map_err(MethodError::Teacher)
    }

    /// Writes what the student stays into the recipe of the model that comes out.
    pub(super) fn result(self, recipe: &mut SamplerRecipe) {
        let Some(start) = self.model else {
            return;
        };
        recipe.role = Role::Student {
            sampler: DistilledFor::Deterministic,
            steps: self.steps(),
        };
        recipe.prediction = start.recipe.prediction;
        match self.weights_of(start) {
            Some(weights) => recipe.guidance = weights.guidance(),
            None => recipe.set_unguided(),
        }
    }
}

/// Refuses keys of a recipe that mean nothing for a student of few steps that goes on.
pub(super) fn check_shared(method: &str, shared: &SharedSettings) -> Result<(), RecipeError> {
    if shared.control.train == Trained::ControlNet {
        return Err(RecipeError::new(
            "train",
            format!(
                "`train` is \"controlnet\", and `method = \"{method}\"` trains \"full\" or \"all-but-convolutions\""
            ),
        ));
    }
    let (key, why) = match shared {
        shared if shared.label_dropout != 0.0 => (
            "label_dropout",
            "the images are the student's, with the labels of the data",
        ),
        SharedSettings {
            student_prediction: StudentPrediction::Auto | StudentPrediction::Teacher,
            ..
        } => return Ok(()),
        _ => (
            "student_prediction",
            "the student predicts what the one that it starts from does",
        ),
    };
    Err(RecipeError::new(
        key,
        format!("`{key}` has no meaning with `method = \"{method}\"`, where {why}: remove it"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::adversarial::AdversarialMethod;
    use crate::method::denoising::DenoisingMethod;
    use crate::method::matching::MatchingMethod;
    use crate::method::{Control, InRecipe, LossWeighting};
    use fewstep_nn::WEmbedding;

    fn key(
        check: fn(&SharedSettings) -> Result<(), RecipeError>,
        change: fn(&mut SharedSettings),
    ) -> Option<String> {
        let mut shared = SharedSettings {
            control: Control::default(),
            w: None,
            w_embedding: WEmbedding {
                dim: 8,
                scale: 250.0,
            },
            label_dropout: 0.0,
            weighting: None,
            student_prediction: StudentPrediction::Auto,
            student: None,
            lr: 1e-4,
        };
        change(&mut shared);
        check(&shared).err().map(|error| error.key)
    }

    #[test]
    fn keys_that_mean_nothing_are_refused() {
        for check in [
            MatchingMethod::check_shared,
            AdversarialMethod::check_shared,
        ] {
            let key = |change| key(check, change);
            assert_eq!(key(|_| {}), None);
            assert_eq!(
                key(|s| s.student_prediction = StudentPrediction::Teacher),
                None
            );
            assert_eq!(
                key(|s| s.control.train = Trained::ControlNet),
                Some("train".into())
            );
            assert_eq!(key(|s| s.label_dropout = 0.1), Some("label_dropout".into()));
            let prediction = key(|s| s.student_prediction = StudentPrediction::V);
            assert_eq!(prediction, Some("student_prediction".into()));
        }
        let weighted = |s: &mut SharedSettings| s.weighting = Some(LossWeighting::Snr);
        assert_eq!(key(MatchingMethod::check_shared, weighted), None);
        let refused = key(AdversarialMethod::check_shared, weighted);
        assert_eq!(refused, Some("weighting".into()));
        let denoising = |change| key(DenoisingMethod::check_shared, change);
        assert_eq!(denoising(|_| {}), None);
        assert_eq!(
            denoising(|s| s.w = Some(GuidanceWeights::Single(1.0))),
            Some("w".into())
        );
        let prediction = denoising(|s| s.student_prediction = StudentPrediction::V);
        assert_eq!(prediction, Some("student_prediction".into()));
    }
}
