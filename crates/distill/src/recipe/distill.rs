//! The recipe of a distillation.

use super::RunConfig;
use crate::method::{GuidanceWeights, Halving, Weighting};
use crate::optim::OptimConfig;
use fewstep_data::{ConditionConfig, DataConfig};
use fewstep_diffusion::Guidance;
use fewstep_nn::{LoraConfig, Precision, WEmbedding};
use serde::{Deserialize, Serialize};

/// How to distil a teacher: stage one, stage two, or both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillRecipe {
    /// All randomness of the run.
    pub seed: u64,
    /// The teacher: a model folder, a safetensors file, or `builtin:NAME`.
    pub teacher: String,
    /// How the frozen teacher's weights lie in memory: in 16 bits they take half of it.
    #[serde(default)]
    pub teacher_precision: Precision,
    /// Guidance weights w the student is for: `[min, max]`, or a single number for a student without the input. Where
    /// nothing is given, those that the teacher was distilled for, and for a latent teacher of two branches `[2, 14]`; none
    /// for a teacher without guidance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub w: Option<GuidanceWeights>,
    /// How w enters the network. `scale` = 1000 / w_max is smooth; 1000 is what diffusers has.
    #[serde(default = "default_w_embedding")]
    pub w_embedding: WEmbedding,
    /// LoRA of the teacher's weights in the place of weights of the student's own; what is trained besides
    /// is the input for w. Without it the student is trained whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// Whether images are mirrored at random.
    #[serde(default)]
    pub flip: bool,
    /// Weight of the loss over noise levels.
    #[serde(default)]
    pub weighting: Weighting,
    /// The data that noisy images are made from.
    pub data: DataConfig,
    /// The control images of a teacher that takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<ConditionConfig>,
    /// Texts that sample grids are drawn from, where the teacher draws from texts; by default captions of the data.
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

/// Stage one: fold guidance into one student.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuidedConfig {
    /// Updates.
    pub updates: u64,
    /// How the parameters move.
    pub optim: OptimConfig,
}

/// Stage two: halve the steps again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgressiveConfig {
    /// The sampler to prepare for.
    #[serde(default)]
    pub halving: Halving,
    /// Steps of the first teacher; the first student has half as many.
    pub start_steps: usize,
    /// Steps of the last student: `start_steps` halved a whole number of times.
    pub end_steps: usize,
    /// Updates of each halving: one number for all, or one per halving.
    pub updates: Updates,
    /// How the parameters move.
    pub optim: OptimConfig,
}

/// Updates of each halving.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Updates {
    /// The same for all.
    Each(u64),
    /// One number per halving, in order.
    List(Vec<u64>),
}

pub(super) fn default_w_embedding() -> WEmbedding {
    WEmbedding {
        dim: 64,
        scale: 250.0,
    }
}

/// Checks the range of w.
pub(super) fn check_weights(weights: GuidanceWeights) -> Result<(), String> {
    match weights {
        GuidanceWeights::Range([min, max])
            if !min.is_finite() || !max.is_finite() || min >= max =>
        {
            Err(format!(
                "`w` is [{min}, {max}]: the first must be below the second. For a single weight write `w = {min}`"
            ))
        }
        GuidanceWeights::Single(w) if !w.is_finite() => Err(format!("`w` is {w}")),
        _ => Ok(()),
    }
}

/// Checks that storing the teacher in half the bits saves memory: where part of the student is frozen, it shares its
/// weights with the teacher.
pub(super) fn check_precision(precision: Precision, shared: bool, why: &str) -> Result<(), String> {
    match precision {
        Precision::Bf16 if shared => Err(format!(
            "`teacher_precision` is \"bf16\", but with {why} teacher and student have their frozen weights in common, and a copy in 16 bits would take memory besides: leave it away"
        )),
        _ => Ok(()),
    }
}

/// What students of models that draw from texts are for when nothing is said: the range that follows 2210.03142 for
/// Stable Diffusion.
pub const TEXT_WEIGHTS: GuidanceWeights = GuidanceWeights::Range([2.0, 14.0]);

impl DistillRecipe {
    /// Checks that the weights go with a teacher that is guided so.
    ///
    /// # Errors
    /// When they are missing, or have no meaning.
    pub fn check_guidance(&self, teacher: Guidance) -> Result<(), String> {
        const UNGUIDED: &str = "the teacher has no unconditional branch to guide with (it knows no classes, or was trained without dropping labels)";
        match (teacher, self.w, &self.guided) {
            (Guidance::None, Some(_), _) => Err(format!(
                "{UNGUIDED}, so `w` has no meaning: leave it away"
            )),
            (Guidance::None, None, Some(_)) => Err(format!(
                "{UNGUIDED}, so there is no guidance to fold in: leave [guided] away"
            )),
            (Guidance::None, None, None) => Ok(()),
            (_, None, _) => Err(
                "`w` is missing: give the guidance weights that the student is for, such as `w = [0, 4]`".into(),
            ),
            (_, Some(_), _) => Ok(()),
        }
    }

    /// Checks all that can be checked without data and teacher.
    ///
    /// # Errors
    /// Names the key, what it is, and what it must be.
    pub fn validate(&self) -> Result<(), String> {
        self.w.map_or(Ok(()), check_weights)?;
        check_precision(self.teacher_precision, self.lora.is_some(), "[lora]")?;
        if self.guided.is_none() && self.progressive.is_none() {
            return Err("there is neither [guided] (stage one) nor [progressive] (stage two): nothing to do".into());
        }
        if let Some(guided) = &self.guided {
            guided
                .optim
                .validate()
                .map_err(|e| format!("[guided.optim] {e}"))?;
            if guided.updates == 0 {
                return Err("`guided.updates` is 0, it must be at least 1".into());
            }
        }
        if let Some(progressive) = &self.progressive {
            progressive
                .optim
                .validate()
                .map_err(|e| format!("[progressive.optim] {e}"))?;
            progressive.rounds()?;
        }
        self.run.validate()
    }
}

impl ProgressiveConfig {
    /// Steps and updates of each student, in order.
    ///
    /// # Errors
    /// When the steps cannot be halved from start to end, or the updates do not fit their number.
    pub fn rounds(&self) -> Result<Vec<(usize, u64)>, String> {
        let (start, end) = (self.start_steps, self.end_steps);
        let ratio = start.checked_div(end).unwrap_or(0);
        if end == 0 || ratio < 2 || !ratio.is_power_of_two() || start != end * ratio {
            return Err(format!(
                "`progressive.start_steps` = {start} cannot be halved to `end_steps` = {end}: start must be end times a power of two, such as {} and {}",
                end.max(1) * 16,
                end.max(1)
            ));
        }
        let steps: Vec<usize> = std::iter::successors(Some(start / 2), |s| Some(s / 2))
            .take(ratio.ilog2() as usize)
            .collect();
        let updates = match &self.updates {
            Updates::Each(updates) => vec![*updates; steps.len()],
            Updates::List(list) if list.len() == steps.len() => list.clone(),
            Updates::List(list) => {
                return Err(format!(
                    "`progressive.updates` has {} entries, but going from {start} to {end} steps takes {} halvings",
                    list.len(),
                    steps.len()
                ));
            }
        };
        if updates.contains(&0) {
            return Err("`progressive.updates` must be at least 1 for each halving".into());
        }
        Ok(steps.into_iter().zip(updates).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progressive(start_steps: usize, end_steps: usize, updates: Updates) -> ProgressiveConfig {
        ProgressiveConfig {
            halving: Halving::Deterministic,
            start_steps,
            end_steps,
            updates,
            optim: toml::from_str("batch = 8\nlr = 1e-4").expect("valid"),
        }
    }

    #[test]
    fn steps_are_halved_to_the_end() {
        let rounds = progressive(16, 1, Updates::Each(5)).rounds();
        assert_eq!(rounds, Ok(vec![(8, 5), (4, 5), (2, 5), (1, 5)]));
        let rounds = progressive(24, 6, Updates::List(vec![1, 2])).rounds();
        assert_eq!(rounds, Ok(vec![(12, 1), (6, 2)]));
    }

    #[test]
    fn steps_that_cannot_be_halved_are_refused() {
        for (start, end) in [(12, 8), (8, 8), (10, 3), (4, 8), (8, 0)] {
            let error = progressive(start, end, Updates::Each(1)).rounds();
            assert!(error.is_err(), "{start} to {end}");
        }
        assert!(progressive(8, 2, Updates::List(vec![1])).rounds().is_err());
    }
}
