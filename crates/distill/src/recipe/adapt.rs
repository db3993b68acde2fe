//! The recipe of a run that adapts a student to a teacher that has changed, or changes here.

use super::{RunConfig, TeacherLora};
use crate::error::RecipeError;
use crate::method::adapt::{AdaptConfig, AdaptMethod, AdaptedStudent};
use crate::method::denoising::{DenoisingMethod, DenoisingStart};
use crate::method::{GuidanceWeights, Method};
use crate::optim::OptimConfig;
use crate::run::Phase;
use fewstep_data::{ConditionConfig, DataConfig};
use fewstep_diffusion::limits::{STEPS, UPDATES, count, probability, within};
use fewstep_formats::Model;
use fewstep_nn::{LoraConfig, Precision};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How a few-step student learns what its teacher has learnt anew: from LoRA of other tools, or
/// from images in this run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptRecipe {
    /// All randomness of the run.
    pub seed: u64,
    /// The teacher that the student was distilled from, or a fine-tune of it: a model folder, a run
    /// folder, a safetensors file, `builtin:NAME`, or a name on the hub.
    pub teacher: String,
    /// What the teacher was before it was fine-tuned elsewhere: the model that the student was
    /// distilled from. The student then starts with what the teacher has learnt since. It is named as
    /// the teacher is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher_before: Option<String>,
    /// LoRA of other tools that are added to teacher and student first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teacher_lora: Vec<TeacherLora>,
    /// How many of the last layers of the teacher's CLIP text encoders are skipped, as diffusers counts
    /// them: 1 is what web interfaces call CLIP skip 2. By default what the teacher says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_skip: Option<usize>,
    /// Type of the frozen teacher's weights: in 16 bits they take half the memory.
    #[serde(default)]
    pub teacher_precision: Precision,
    /// The student to adapt, named as the teacher is.
    pub student: String,
    /// Its sampling steps; by default those that it was distilled for, and of several students the
    /// one for the fewest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Guidance weights w that it is for, `[min, max]` or a single number; by default its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub w: Option<GuidanceWeights>,
    /// LoRA of the weights of teacher and student instead of all weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// Whether images are mirrored at random.
    #[serde(default)]
    pub flip: bool,
    /// The images.
    pub data: DataConfig,
    /// The control images of a teacher that takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<ConditionConfig>,
    /// Prompts of sample grids, for a text-to-image teacher; by default captions of the data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<String>,
    /// How the teacher learns the images; without it the teacher stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fine_tune: Option<FineTuneConfig>,
    /// How the student follows the teacher.
    pub adapt: AdaptConfig,
    /// How the run reports and saves.
    #[serde(default)]
    pub run: RunConfig,
}

/// How a teacher learns what other images look like: by ordinary diffusion training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FineTuneConfig {
    /// Updates.
    pub updates: u64,
    /// Probability that an example loses its label or its caption.
    #[serde(default = "default_label_dropout")]
    pub label_dropout: f64,
    /// How the parameters move.
    pub optim: OptimConfig,
}

fn default_label_dropout() -> f64 {
    0.1
}

impl FineTuneConfig {
    fn validate(&self) -> Result<(), RecipeError> {
        let optim = self.optim.validate();
        optim.map_err(|e| e.within("fine_tune.optim"))?;
        within("fine_tune.updates", self.updates, 1..=UPDATES)?;
        Ok(probability("fine_tune.label_dropout", self.label_dropout)?)
    }
}

impl AdaptRecipe {
    /// The type of the teacher's weights that other networks have too: with LoRA those are all, and
    /// they stay as they are.
    pub fn shared_precision(&self) -> Precision {
        match self.lora {
            Some(_) => self.teacher_precision,
            None => Precision::F32,
        }
    }

    /// Checks all that can be checked without data and models.
    ///
    /// # Errors
    /// Names the key, what it is, and what it must be.
    pub fn validate(&self) -> Result<(), RecipeError> {
        TeacherLora::check(&self.teacher_lora)?;
        if let Some(steps) = self.steps {
            count("steps", steps, STEPS)?;
        }
        self.w.map_or(Ok(()), GuidanceWeights::check)?;
        if let Some(lora) = &self.lora {
            let checked = lora.validate();
            checked.map_err(|error| RecipeError::new("lora", error.to_string()))?;
        }
        if let Some(fine_tune) = &self.fine_tune {
            fine_tune.validate()?;
        }
        self.adapt.validate()?;
        self.run.validate()
    }

    /// The student that the run starts from. `before` is the model of
    /// [`teacher_before`](Self::teacher_before).
    ///
    /// # Errors
    /// When that has other layers than the student.
    pub fn start(
        &self,
        student: Model,
        teacher: &Model,
        before: Option<&Model>,
    ) -> Result<AdaptedStudent, RecipeError> {
        let learns_all = self.fine_tune.is_some() && self.lora.is_none();
        match before {
            Some(before) => AdaptedStudent::following(student, before).ok_or_else(|| {
                RecipeError::new(
                    "teacher_before",
                    "`teacher_before` has other layers than the student: give the teacher that the student was distilled from",
                )
            }),
            None if learns_all => Ok(AdaptedStudent::following(student.clone(), teacher)
                .unwrap_or_else(|| AdaptedStudent::new(student))),
            None => Ok(AdaptedStudent::new(student)),
        }
    }

    /// The teacher's phase, where it learns, and the student's, with the
    /// [student](Self::start) that it starts from.
    pub fn phases(&self, student: Option<AdaptedStudent>) -> Vec<Phase> {
        let method = AdaptMethod {
            config: self.adapt.clone(),
            start: student,
            steps: self.steps,
            weights: self.w,
        };
        let name = match method.steps().or(self.steps) {
            Some(steps) => format!("steps-{steps}"),
            None => "adapted".into(),
        };
        let fine_tuned = self.fine_tune.as_ref().map(|config| {
            let method = DenoisingMethod {
                weighting: None,
                label_dropout: config.label_dropout,
                start: DenoisingStart::FineTune,
            };
            let optim = ("fine_tune.optim", &config.optim);
            let phase = self.phase("teacher".into(), Arc::new(method), optim, config.updates);
            Phase {
                dropout: true,
                ..phase
            }
        });
        let optim = ("adapt.optim", &self.adapt.optim);
        let adapted = self.phase(name, Arc::new(method), optim, self.adapt.updates);
        fine_tuned.into_iter().chain([adapted]).collect()
    }

    fn phase(
        &self,
        name: String,
        method: Arc<dyn Method>,
        (optim_key, optim): (&'static str, &OptimConfig),
        updates: u64,
    ) -> Phase {
        Phase {
            name,
            method,
            lora: self.lora.clone(),
            dropout: false,
            teacher_precision: self.teacher_precision,
            optim: optim.clone(),
            optim_key,
            updates,
        }
    }
}
