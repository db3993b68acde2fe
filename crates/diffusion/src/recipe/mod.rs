//! The sampler recipe: how a model must be sampled. It is stored in the metadata of the weights.

mod control;
mod role;
mod verdict;

pub use control::{ControlSpec, Task};
pub use role::{DistilledFor, Role};
pub use verdict::{RecipeError, Warning};

use crate::limits::factor;
use crate::sampler::SamplerConfig;
use crate::{PredictionKind, ScheduleConfig};
use serde::{Deserialize, Serialize};

/// Everything that is needed to sample a model correctly, and where the model comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerRecipe {
    /// Version of this format: 1.
    pub version: u32,
    /// Teacher or student, and for a student which sampler and how many steps.
    pub role: Role,
    /// What the network emits.
    pub prediction: PredictionKind,
    /// The noise schedule.
    pub schedule: ScheduleConfig,
    /// How the guidance weight enters.
    pub guidance: Guidance,
    /// Guidance scale of the source image, for a model that sees one and is guided towards it
    /// (InstructPix2Pix, 2211.09800), as diffusers has it: 1 is none. It is folded into a student,
    /// and a teacher's default. Most models say none; see
    /// [`default_image_guidance`](Self::default_image_guidance).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_guidance: Option<f64>,
    /// Channels, height and width of what the network sees.
    pub resolution: [usize; 3],
    /// Names of the classes in order; empty for an unconditional model.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Whether x̂ is clipped to [-1, 1] while sampling: true in pixel space.
    pub clip: bool,
    /// How many of the last layers of its CLIP text encoders are skipped, as diffusers counts them; 0
    /// for most models.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub clip_skip: usize,
    /// The control image that the model is conditioned on, if it needs one.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "hint")]
    pub control: Option<ControlSpec>,
    /// How a teacher is sampled by default; without it, by DDIM on the papers' grid.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "usual")]
    pub default_sampler: Option<SamplerConfig>,
    /// How the model came to be.
    #[serde(default)]
    pub provenance: Provenance,
}

/// The guidance scale of a source image that diffusers takes by default.
pub const IMAGE_GUIDANCE_SCALE: f64 = 1.5;

/// How guidance enters a model. Every weight here is w of x̂_w = (1 + w) x̂_c − w x̂_∅; the
/// guidance scale that diffusers takes is 1 + w.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Guidance {
    /// No guidance: the model has no unconditional branch.
    None,
    /// Classifier-free guidance: two branches, two network calls a step, any w.
    ClassifierFree,
    /// w is an input of the network.
    Input {
        /// Smallest w seen in training.
        w_min: f64,
        /// Largest w seen in training.
        w_max: f64,
        /// w to use when the user gives none.
        default: f64,
    },
    /// One w is folded into the weights.
    Fixed {
        /// That w.
        w: f64,
    },
}

/// Where a model comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Provenance {
    /// The training data, by name and content hash.
    pub data: String,
    /// Hash of the teacher's weights; empty for a model trained from data.
    pub teacher: String,
    /// LoRA of other tools that were added to the teacher, each as `NAME:WEIGHT`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub teacher_lora: Vec<String>,
    /// The method: `teacher`, `guided`, `progressive`, ...
    pub method: String,
    /// Seed of the run.
    pub seed: u64,
    /// Training samples seen in all, over all stages.
    pub samples_seen: u64,
    /// Version of the program that wrote the file.
    pub program: String,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl SamplerRecipe {
    /// Checks that the model can be sampled with the given sampler, number of steps and w.
    ///
    /// # Errors
    /// When the request contradicts what the model was trained for.
    pub fn check(
        &self,
        sampler: DistilledFor,
        steps: usize,
        w: Option<f64>,
    ) -> Result<Vec<Warning>, RecipeError> {
        let mut warnings = Vec::new();
        if let Role::Student {
            sampler: trained,
            steps: trained_steps,
        } = self.role
        {
            check_sampler(trained, sampler)?;
            if let Some(trained) = trained_steps.filter(|&trained| trained != steps) {
                warnings.push(Warning::Steps {
                    trained,
                    asked: steps,
                });
            }
        }
        warnings.extend(self.check_w(w)?);
        Ok(warnings)
    }

    /// The weight to use when the user gives none.
    pub fn default_w(&self) -> f64 {
        match self.guidance {
            Guidance::None | Guidance::ClassifierFree => 0.0,
            Guidance::Input { default, .. } => default,
            Guidance::Fixed { w } => w,
        }
    }

    /// Makes it that of a model that has not learnt any guidance.
    pub fn set_unguided(&mut self) {
        self.guidance = Guidance::None;
        self.image_guidance = None;
    }

    /// The guidance scale of source images when the user gives none; 1 for a model without guidance.
    pub fn default_image_guidance(&self) -> f64 {
        self.image_guidance.unwrap_or(match self.guidance {
            Guidance::None => 1.0,
            _ => IMAGE_GUIDANCE_SCALE,
        })
    }

    /// Checks the guidance scale of a source image.
    ///
    /// # Errors
    /// When it is out of range, or another than that of the weights.
    pub fn check_image_guidance(&self, scale: Option<f64>) -> Result<(), RecipeError> {
        let Some(asked) = scale else {
            return Ok(());
        };
        factor("image guidance scale", asked)?;
        let fixed = self.default_image_guidance();
        match self.guidance {
            Guidance::ClassifierFree => Ok(()),
            _ if asked == fixed => Ok(()),
            _ => Err(RecipeError::FixedImageGuidance { fixed, asked }),
        }
    }

    /// Checks that the model knows a class.
    ///
    /// # Errors
    /// When it does not.
    pub fn check_class(&self, class: u32) -> Result<(), RecipeError> {
        if (class as usize) < self.classes.len() {
            return Ok(());
        }
        Err(RecipeError::UnknownClass {
            asked: class,
            classes: self.classes.len(),
        })
    }

    fn check_w(&self, w: Option<f64>) -> Result<Option<Warning>, RecipeError> {
        let Some(asked) = w else {
            return Ok(None);
        };
        factor("w", asked)?;
        match self.guidance {
            Guidance::None if asked != 0.0 => Err(RecipeError::NoGuidance { asked }),
            Guidance::Fixed { w: fixed } if asked != fixed => {
                Err(RecipeError::FixedW { fixed, asked })
            }
            Guidance::Input { w_min, w_max, .. } if asked < w_min || asked > w_max => {
                Ok(Some(Warning::WOutsideRange {
                    asked,
                    w_min,
                    w_max,
                }))
            }
            _ => Ok(None),
        }
    }
}

fn check_sampler(trained: DistilledFor, asked: DistilledFor) -> Result<(), RecipeError> {
    use DistilledFor::{Any, Consistency, Deterministic, Encoder};
    match (trained, asked) {
        (Any, _) | (Consistency, Deterministic) => Ok(()),
        (trained, asked) if trained == asked => Ok(()),
        (Encoder, _) => Err(RecipeError::WrongDirection {
            trained: "an encoder (from an image to noise)",
            task: "generate images from noise",
        }),
        (_, Encoder) => Err(RecipeError::WrongDirection {
            trained: "a decoder (from noise to an image)",
            task: "encode an image",
        }),
        (trained, Any) => Err(RecipeError::TeacherSampler { trained }),
        (trained, asked) => Err(RecipeError::WrongSampler { trained, asked }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn student(sampler: DistilledFor, steps: Option<usize>) -> SamplerRecipe {
        SamplerRecipe {
            version: 1,
            role: Role::Student { sampler, steps },
            prediction: PredictionKind::V,
            schedule: ScheduleConfig::default(),
            guidance: Guidance::Input {
                w_min: 0.0,
                w_max: 4.0,
                default: 1.0,
            },
            image_guidance: None,
            resolution: [1, 32, 32],
            classes: vec!["a".into(), "b".into()],
            clip: true,
            clip_skip: 0,
            control: None,
            default_sampler: None,
            provenance: Provenance::default(),
        }
    }

    #[test]
    fn the_wrong_sampler_is_refused_both_ways() {
        use DistilledFor::{Deterministic, Encoder, Stochastic};
        for (trained, asked) in [
            (Deterministic, Stochastic),
            (Stochastic, Deterministic),
            (Encoder, Deterministic),
            (Deterministic, Encoder),
        ] {
            assert!(student(trained, Some(4)).check(asked, 4, None).is_err());
        }
        assert_eq!(
            student(Deterministic, Some(4)).check(Deterministic, 4, Some(1.0)),
            Ok(vec![])
        );
        assert_eq!(
            student(DistilledFor::Any, None).check(Stochastic, 7, None),
            Ok(vec![])
        );
    }

    #[test]
    fn a_consistency_model_takes_any_number_of_deterministic_or_renoised_steps() {
        use DistilledFor::{Consistency, Deterministic, Stochastic};
        let model = student(Consistency, None);
        for steps in [1, 3, 4] {
            assert_eq!(model.check(Deterministic, steps, None), Ok(vec![]));
            assert_eq!(model.check(Consistency, steps, None), Ok(vec![]));
        }
        assert!(model.check(Stochastic, 4, None).is_err());
        let halved = student(Deterministic, Some(4));
        assert!(halved.check(Consistency, 4, None).is_err());
    }

    #[test]
    fn untrained_steps_and_weights_are_warned_about() {
        let recipe = student(DistilledFor::Deterministic, Some(4));
        let warnings = recipe.check(DistilledFor::Deterministic, 3, Some(9.0));
        assert_eq!(warnings.map(|w| w.len()), Ok(2));
    }

    #[test]
    fn a_weight_that_the_model_cannot_take_is_refused() {
        let ask = |guidance, w| {
            let recipe = SamplerRecipe {
                guidance,
                ..student(DistilledFor::Any, None)
            };
            recipe.check(DistilledFor::Deterministic, 4, w)
        };
        let fixed = Guidance::Fixed { w: 2.0 };
        let error = RecipeError::FixedW {
            fixed: 2.0,
            asked: 3.0,
        };
        assert_eq!(ask(fixed, Some(3.0)), Err(error));
        assert_eq!(ask(fixed, Some(2.0)), Ok(vec![]));
        assert_eq!(
            ask(Guidance::None, Some(1.0)),
            Err(RecipeError::NoGuidance { asked: 1.0 })
        );
        assert_eq!(ask(Guidance::None, Some(0.0)), Ok(vec![]));
        assert_eq!(ask(Guidance::ClassifierFree, Some(30.0)), Ok(vec![]));
    }

    #[test]
    fn an_image_guidance_scale_is_what_is_folded_in() {
        let with = |guidance, image_guidance| SamplerRecipe {
            guidance,
            image_guidance,
            ..student(DistilledFor::Any, None)
        };
        let fixed = Guidance::Fixed { w: 2.0 };
        let folded = with(fixed, Some(2.5));
        assert_eq!(folded.check_image_guidance(None), Ok(()));
        assert_eq!(folded.check_image_guidance(Some(2.5)), Ok(()));
        let error = RecipeError::FixedImageGuidance {
            fixed: 2.5,
            asked: 1.5,
        };
        assert_eq!(folded.check_image_guidance(Some(1.5)), Err(error));
        assert_eq!(with(fixed, None).default_image_guidance(), 1.5);
        assert_eq!(with(Guidance::None, None).default_image_guidance(), 1.0);
        let teacher = with(Guidance::ClassifierFree, Some(2.5));
        assert_eq!(teacher.check_image_guidance(Some(7.0)), Ok(()));
        assert!(teacher.check_image_guidance(Some(1e9)).is_err());
    }

    #[test]
    fn a_class_that_the_model_does_not_know_is_refused() {
        let recipe = student(DistilledFor::Any, None);
        assert_eq!(recipe.check_class(1), Ok(()));
        let error = recipe.check_class(2).expect_err("there are two classes");
        assert!(error.to_string().contains("2 classes, 0 to 1"), "{error}");
    }

    #[test]
    fn a_recipe_survives_json() {
        for clip_skip in [0, 2] {
            let recipe = SamplerRecipe {
                clip_skip,
                ..student(DistilledFor::Stochastic, Some(2))
            };
            let json = serde_json::to_string(&recipe).expect("serialises");
            assert_eq!(json.contains("clip_skip"), clip_skip > 0);
            assert_eq!(serde_json::from_str(&json).ok(), Some(recipe));
        }
    }

    /// The ends of a range belong to it, and no w is as good as the model's own.
    #[test]
    fn weights_are_warned_about_outside_their_range_only() {
        let recipe = student(DistilledFor::Any, None);
        for (w, warned) in [(0.0, 0), (4.0, 0), (-0.1, 1), (4.1, 1)] {
            let warnings = recipe
                .check(DistilledFor::Any, 8, Some(w))
                .expect("possible");
            assert_eq!(warnings.len(), warned, "{w}");
        }
        let with = |guidance| SamplerRecipe {
            guidance,
            ..student(DistilledFor::Any, None)
        };
        let check = |guidance, w| with(guidance).check(DistilledFor::Any, 8, Some(w));
        assert_eq!(check(Guidance::None, 0.0), Ok(vec![]));
        assert!(check(Guidance::None, 0.5).is_err());
        let fixed = Guidance::Fixed { w: 1.5 };
        assert_eq!(check(fixed, 1.5), Ok(vec![]));
        assert!(check(fixed, 1.0).is_err());
        assert_eq!(check(Guidance::ClassifierFree, 99.0), Ok(vec![]));
        assert!(check(Guidance::ClassifierFree, f64::NAN).is_err());
        for (guidance, w) in [
            (Guidance::None, 0.0),
            (Guidance::ClassifierFree, 0.0),
            (recipe.guidance, 1.0),
            (fixed, 1.5),
        ] {
            assert_eq!(with(guidance).default_w(), w);
        }
    }
}
