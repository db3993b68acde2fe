//! The recipe of a distillation.

use super::{RunConfig, TeacherLora};
use crate::error::RecipeError;
use crate::method::guidance::{GuidanceMethod, GuidedConfig};
use crate::method::progressive::{ProgressiveConfig, ProgressiveMethod, TargetForm};
use crate::method::{GuidanceWeights, LossWeighting, Method, StudentPrediction};
use crate::optim::OptimConfig;
use crate::run::Phase;
use fewstep_data::{ConditionConfig, DataConfig};
use fewstep_diffusion::Guidance;
use fewstep_diffusion::limits::factor;
use fewstep_nn::{LoraConfig, Precision, WEmbedding};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How to distil a teacher: stage one, stage two, or both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillRecipe {
    /// All randomness of the run.
    pub seed: u64,
    /// The teacher: a model folder, a run folder, a safetensors file, `builtin:NAME`, or a name on
    /// the hub.
    pub teacher: String,
    /// LoRA of other tools that are added to the teacher first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teacher_lora: Vec<TeacherLora>,
    /// How many of the last layers of the teacher's CLIP text encoders are skipped, as diffusers counts
    /// them: 1 is what web interfaces call CLIP skip 2. By default what the teacher says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_skip: Option<usize>,
    /// Type of the frozen teacher's weights: in 16 bits they take half the memory.
    #[serde(default)]
    pub teacher_precision: Precision,
    /// Guidance weights w the student is for: `[min, max]`, or a single number for a student
    /// without the input. By default those that the teacher was distilled for, and for a latent
    /// teacher of two branches `[2, 14]`; none for a teacher without guidance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub w: Option<GuidanceWeights>,
    /// The guidance scale towards the source image of a teacher that sees one (InstructPix2Pix), as
    /// diffusers' `image_guidance_scale`: 1 is none. It is folded into the students. By default the
    /// teacher's, which is 1.5 as a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_guidance: Option<f64>,
    /// How w enters the network. By default with the scale of diffusers, 1000, for a teacher that
    /// reads texts, and with 250, which is smoother, for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub w_embedding: Option<WEmbedding>,
    /// LoRA of the teacher's weights instead of weights of the student's own; the input for w is
    /// trained too. Without it the student is trained whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// Whether images are mirrored at random.
    #[serde(default)]
    pub flip: bool,
    /// Weight of the loss over noise levels; by default one that suits what the student predicts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weighting: Option<LossWeighting>,
    /// What the student predicts; see [`complete`](Self::complete).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub student_prediction: Option<StudentPrediction>,
    /// Whether the teacher's images are clipped to [-1, 1] in targets, as they are in sampling.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clip_targets: bool,
    /// Whether errors count alike at every w: by 1 / (1 + w)².
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub balance_w: bool,
    /// The data that noisy images are made from.
    pub data: DataConfig,
    /// The control images of a teacher that takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<ConditionConfig>,
    /// Prompts of sample grids, for a text-to-image teacher; by default captions of the data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<String>,
    /// Stage one. Without it the first halving learns from the guided pair directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guided: Option<GuidedConfig>,
    /// Stage two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progressive: Option<ProgressiveConfig>,
    /// How the run reports and saves.
    #[serde(default)]
    pub run: RunConfig,
}

/// How w enters a network when the recipe does not say. diffusers runs those that read texts, and
/// knows no scale but 1000.
pub fn default_w_embedding(reads_texts: bool) -> WEmbedding {
    WEmbedding {
        dim: 64,
        scale: if reads_texts { 1000.0 } else { 250.0 },
    }
}

/// How w enters the network in a recipe of an earlier version, whose runs store only what was set.
pub(super) fn earlier_w_embedding(set: Option<WEmbedding>) -> WEmbedding {
    set.unwrap_or(default_w_embedding(false))
}

/// Checks the guidance scale towards source images.
pub(super) fn check_image_guidance(scale: Option<f64>) -> Result<(), RecipeError> {
    Ok(scale.map_or(Ok(()), |scale| factor("image_guidance", scale))?)
}

/// Checks how w enters the network.
pub(super) fn check_w_embedding(embedding: Option<WEmbedding>) -> Result<(), RecipeError> {
    let checked = embedding.map_or(Ok(()), |embedding| embedding.validate("w_embedding"));
    checked.map_err(|error| RecipeError::new("w_embedding", error.to_string()))
}

/// What students of text-to-image models are for when the recipe does not say: the range that the
/// papers after 2210.03142 take for Stable Diffusion.
pub const TEXT_WEIGHTS: GuidanceWeights = GuidanceWeights::Range([2.0, 14.0]);

impl DistillRecipe {
    /// Fills in what the recipe leaves to the program; for a run that is resumed, with what the
    /// recipe that it was started with has.
    pub fn complete(&mut self, started_with: Option<&Self>) {
        match started_with {
            None => {
                self.student_prediction.get_or_insert_default();
            }
            Some(started) => {
                self.weighting = self.weighting.or(started.weighting);
                self.student_prediction = self.student_prediction.or(started.student_prediction);
                self.w_embedding = self.w_embedding.or(started.w_embedding);
            }
        }
    }

    /// The type of the teacher's weights that the student has too: with LoRA those are all, and they
    /// stay as they are.
    pub fn shared_precision(&self) -> Precision {
        match self.lora {
            Some(_) => self.teacher_precision,
            None => Precision::F32,
        }
    }

    /// Checks that the weights go with a teacher that is guided like this.
    ///
    /// # Errors
    /// When they are missing, or have no meaning.
    pub fn check_guidance(&self, teacher: Guidance) -> Result<(), RecipeError> {
        const UNGUIDED: &str = "the teacher has no unconditional branch to guide with (it knows no classes, or was trained without dropping labels)";
        match (teacher, self.w, &self.guided) {
            (Guidance::None, Some(_), _) => Err(RecipeError::new(
                "w",
                format!("{UNGUIDED}, so `w` has no meaning: remove it"),
            )),
            (Guidance::None, None, Some(_)) => Err(RecipeError::new(
                "guided",
                format!("{UNGUIDED}, so there is no guidance to fold in: remove [guided]"),
            )),
            (Guidance::None, None, None) => Ok(()),
            (_, None, _) => Err(RecipeError::new(
                "w",
                "`w` is missing: give the guidance weights that the student is for, such as `w = [0, 4]`",
            )),
            (_, Some(_), _) => Ok(()),
        }
    }

    /// Checks all that can be checked without data and teacher.
    ///
    /// # Errors
    /// Names the key, what it is, and what it must be.
    pub fn validate(&self) -> Result<(), RecipeError> {
        TeacherLora::check(&self.teacher_lora)?;
        self.w.map_or(Ok(()), GuidanceWeights::check)?;
        check_image_guidance(self.image_guidance)?;
        if let Some(w) = self.w.filter(|_| self.balance_w) {
            w.check_balance()?;
        }
        check_w_embedding(self.w_embedding)?;
        if let Some(lora) = &self.lora {
            let checked = lora.validate();
            checked.map_err(|error| RecipeError::new("lora", error.to_string()))?;
        }
        self.weighting
            .map_or(Ok(()), |weighting| weighting.check("weighting"))?;
        if self.guided.is_none() && self.progressive.is_none() {
            return Err(RecipeError::new(
                "guided",
                "there is neither [guided] (stage one) nor [progressive] (stage two): nothing to do",
            ));
        }
        if let Some(guided) = &self.guided {
            guided.validate()?;
        }
        if let Some(progressive) = &self.progressive {
            progressive.validate()?;
        }
        self.run.validate()
    }

    /// Stage one and the halvings of stage two.
    ///
    /// # Errors
    /// When the steps cannot be halved as the recipe says.
    pub fn phases(&self) -> Result<Vec<Phase>, RecipeError> {
        let mut phases = vec![];
        if let Some((guided, weights)) = self.guided.as_ref().zip(self.w) {
            let method = GuidanceMethod {
                weights,
                embedding: self.embedding(),
                weighting: self.weighting,
                prediction: self.prediction(),
                clip_targets: self.clip_targets,
                balance_w: self.balance_w,
                trajectory_steps: guided.trajectory_steps,
            };
            let name = "guided".into();
            let optim = ("guided.optim", &guided.optim);
            phases.push(self.phase(name, Arc::new(method), optim, guided.updates));
        }
        if let Some(progressive) = &self.progressive {
            for (steps, updates) in progressive.rounds()? {
                let name = progressive.halving.phase(steps);
                let method = ProgressiveMethod {
                    halving: progressive.halving,
                    steps,
                    weights: self.w,
                    embedding: self.embedding(),
                    weighting: self.weighting,
                    prediction: self.prediction(),
                    clip_targets: self.clip_targets,
                    balance_w: self.balance_w,
                    target: match self.is_of_version_0_1() {
                        true => TargetForm::Difference,
                        false => TargetForm::Velocities,
                    },
                    is_first: phases.is_empty(),
                };
                let optim = ("progressive.optim", &progressive.optim);
                phases.push(self.phase(name, Arc::new(method), optim, updates));
            }
        }
        Ok(phases)
    }

    fn embedding(&self) -> WEmbedding {
        earlier_w_embedding(self.w_embedding)
    }

    fn prediction(&self) -> StudentPrediction {
        let of_version_0_1 = StudentPrediction::VForNoise;
        self.student_prediction.unwrap_or(of_version_0_1)
    }

    /// Whether version 0.1.0 began the run: its recipes say nothing of predictions.
    fn is_of_version_0_1(&self) -> bool {
        self.student_prediction.is_none()
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
            // Version 0.1.0 kept it.
            dropout: self.is_of_version_0_1(),
            teacher_precision: self.teacher_precision,
            optim: optim.clone(),
            optim_key,
            updates,
        }
    }
}
