//! The recipe of methods with one phase: conditional distillation, consistency distillation, and teaching a model
//! to take a condition.

use super::RunConfig;
use super::distill::{check_precision, check_weights, default_w_embedding};
use crate::method::{
    Boundary, Consistent, Distance, DistanceConfig, ErrorWeight, GuidanceWeights, OdeModel,
    OdeNoise, Solver, TimePairs, Times, Weighting,
};
use crate::optim::OptimConfig;
use fewstep_data::{ConditionConfig, DataConfig};
use fewstep_nn::{Fusion, Initial, Precision, WEmbedding};
use serde::{Deserialize, Serialize};

/// How to go from a model to another in one phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptRecipe {
    /// What is learnt.
    pub method: AdaptMethod,
    /// All randomness of the run.
    pub seed: u64,
    /// The model to start from: a model folder, a safetensors file, or `builtin:NAME`.
    pub teacher: String,
    /// How the frozen teacher's weights lie in memory: in 16 bits they take half of it.
    #[serde(default)]
    pub teacher_precision: Precision,
    /// Updates.
    pub updates: u64,
    /// Which parameters move.
    #[serde(default)]
    pub train: Trained,
    /// Whether images are mirrored at random.
    #[serde(default)]
    pub flip: bool,
    /// Guidance weights w: `[min, max]`, or a single number. With `consistency` the teacher is guided so, with `codi`
    /// all networks are; none for no guidance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub w: Option<GuidanceWeights>,
    /// How w enters the network of a consistency model.
    #[serde(default = "default_w_embedding")]
    pub w_embedding: WEmbedding,
    /// Probability that an example loses its label, with `denoising`.
    #[serde(default)]
    pub label_dropout: f64,
    /// Weight of the loss over noise levels, with `denoising`.
    #[serde(default)]
    pub weighting: Weighting,
    /// The images.
    pub data: DataConfig,
    /// What the model is to draw from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<ConditionConfig>,
    /// The ControlNet that a model without one gets.
    #[serde(default, alias = "adapter")]
    pub controlnet: NewControlNet,
    /// Settings of `method = "codi"`.
    #[serde(default)]
    pub codi: CodiConfig,
    /// Settings of `method = "consistency"`.
    #[serde(default)]
    pub consistency: ConsistencyConfig,
    /// How the parameters move. Its average is the target network.
    pub optim: OptimConfig,
    /// How the run reports and saves.
    #[serde(default)]
    pub run: RunConfig,
}

/// What is learnt in one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdaptMethod {
    /// Condition and few steps at once (2310.01407).
    Codi,
    /// Few steps (2303.01469, 2310.04378).
    Consistency,
    /// The condition alone, by ordinary diffusion training (2302.05543).
    Denoising,
}

/// Which parameters move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trained {
    /// All.
    #[default]
    Full,
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

/// Settings of conditional distillation; by default the paper's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CodiConfig {
    /// What must not change along a trajectory.
    pub consistency: Consistent,
    /// Its boundary condition, for consistency of x̂.
    pub boundary: Boundary,
    /// Whose x̂ the earlier state is made of.
    pub ode_model: OdeModel,
    /// The noise in it.
    pub ode_noise: OdeNoise,
    /// Intervals of [0, 1]: the earlier time is one before.
    pub intervals: usize,
    /// Which times are drawn.
    pub times: Times,
    /// One time for all samples of an update.
    pub shared_t: bool,
    /// Distance of the consistency term.
    pub distance: DistanceConfig,
    /// Weight of the consistency term.
    pub consistency_weight: f64,
    /// Its weight over noise levels.
    pub error_weight: ErrorWeight,
    /// Distance of the guidance term.
    pub guidance_distance: DistanceConfig,
    /// Weight of the guidance term.
    pub guidance_weight: f64,
}

/// Settings of consistency distillation; by default those of latent consistency models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsistencyConfig {
    /// How the teacher steps.
    pub solver: Solver,
    /// The boundary condition.
    pub boundary: Boundary,
    /// Intervals of [0, 1]: the teacher steps one down.
    pub intervals: usize,
    /// Which times are drawn.
    pub times: Times,
    /// Distance.
    pub distance: DistanceConfig,
    /// Weight over noise levels.
    pub error_weight: ErrorWeight,
}

impl Default for CodiConfig {
    fn default() -> Self {
        Self {
            consistency: Consistent::default(),
            boundary: Boundary::default(),
            ode_model: OdeModel::default(),
            ode_noise: OdeNoise::default(),
            intervals: 50,
            times: Times::default(),
            shared_t: true,
            distance: Distance::default(),
            consistency_weight: 1.0,
            error_weight: ErrorWeight::default(),
            guidance_distance: Distance::default(),
            guidance_weight: 1.0,
        }
    }
}

impl Default for ConsistencyConfig {
    fn default() -> Self {
        Self {
            solver: Solver::default(),
            boundary: Boundary::default(),
            intervals: 50,
            times: Times::default(),
            distance: Distance::default(),
            error_weight: ErrorWeight::default(),
        }
    }
}

impl CodiConfig {
    pub(crate) fn pairs(&self) -> TimePairs {
        TimePairs {
            intervals: self.intervals,
            times: self.times,
            shared: self.shared_t,
        }
    }

    fn validate(&self) -> Result<(), String> {
        check_intervals(self.intervals)?;
        self.distance.validate()?;
        self.guidance_distance.validate()?;
        if let (Consistent::Noise, Distance::Lpips(_)) = (self.consistency, &self.distance) {
            return Err("`distance` is `lpips`, which compares images, and `consistency` is \"noise\": set `consistency = \"image\"`, or give `lpips` as `guidance_distance`".into());
        }
        let weights = [self.consistency_weight, self.guidance_weight];
        if weights.iter().any(|w| !w.is_finite() || *w < 0.0) || weights == [0.0, 0.0] {
            return Err(format!(
                "`consistency_weight` is {} and `guidance_weight` is {}: they must be at least 0, and not both 0",
                weights[0], weights[1]
            ));
        }
        Ok(())
    }
}

impl ConsistencyConfig {
    pub(crate) fn pairs(&self) -> TimePairs {
        TimePairs {
            intervals: self.intervals,
            times: self.times,
            shared: false,
        }
    }

    fn validate(&self) -> Result<(), String> {
        check_intervals(self.intervals)?;
        self.distance.validate()
    }
}

fn check_intervals(intervals: usize) -> Result<(), String> {
    match intervals {
        0 => Err("`intervals` is 0, it must be at least 1".into()),
        _ => Ok(()),
    }
}

impl AdaptRecipe {
    /// Checks all that can be checked without data and teacher.
    ///
    /// # Errors
    /// Names the key, what it is, and what it must be.
    pub fn validate(&self) -> Result<(), String> {
        if self.updates == 0 {
            return Err("`updates` is 0, it must be at least 1".into());
        }
        if !(0.0..=1.0).contains(&self.label_dropout) {
            return Err(format!(
                "`label_dropout` is {}, it must lie in [0, 1]",
                self.label_dropout
            ));
        }
        self.w.map_or(Ok(()), check_weights)?;
        let controlnet = self.train == Trained::ControlNet;
        check_precision(
            self.teacher_precision,
            controlnet,
            "`train = \"controlnet\"`",
        )?;
        if self.method == AdaptMethod::Denoising && self.w.is_some() {
            return Err("`w` has no meaning with `method = \"denoising\"`: leave it away".into());
        }
        self.codi.validate().map_err(|e| format!("[codi] {e}"))?;
        self.consistency
            .validate()
            .map_err(|e| format!("[consistency] {e}"))?;
        self.optim.validate().map_err(|e| format!("[optim] {e}"))?;
        self.run.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{DistillRecipe, parse};

    const RECIPE: &str = r#"
method = "codi"
seed = 1
teacher = "teacher"
updates = 10
train = "controlnet"
data = { kind = "idx", path = "data" }
condition = { kind = "bicubic", factor = 4 }
optim = { batch = 8, lr = 1e-4, ema = { decay = 0.999 } }
[codi]
ode_model = "base"
distance = { pseudo-huber = 1e-3 }
guidance_distance = { lpips = "alex.safetensors" }
error_weight = { min-snr = 5.0 }
"#;

    #[test]
    fn a_recipe_survives_its_file() {
        let recipe: AdaptRecipe = parse(RECIPE, "recipe.toml").expect("valid");
        assert_eq!(recipe.train, Trained::ControlNet);
        assert_eq!(recipe.codi.ode_model, OdeModel::Base);
        assert_eq!(recipe.codi.distance, Distance::PseudoHuber(1e-3));
        assert_eq!(recipe.validate(), Ok(()));
        let text = toml::to_string(&recipe).expect("TOML");
        assert_eq!(parse::<AdaptRecipe>(&text, "again"), Ok(recipe));
    }

    #[test]
    fn the_recipes_of_the_comparison_are_valid() {
        macro_rules! recipe {
            ($file:literal) => {
                (
                    $file,
                    include_str!(concat!("../../../../recipes/conditional/", $file)),
                )
            };
        }
        for (name, text) in [
            recipe!("codi.toml"),
            recipe!("inpaint.toml"),
            recipe!("condition.toml"),
            recipe!("consistency.toml"),
            recipe!("consistency-after.toml"),
        ] {
            let recipe = parse::<AdaptRecipe>(text, name).expect("valid");
            assert_eq!(recipe.validate(), Ok(()), "{name}");
        }
        for (conditional, (name, text)) in [
            (true, recipe!("guided-after.toml")),
            (false, recipe!("guided.toml")),
        ] {
            let recipe = parse::<DistillRecipe>(text, name).expect("valid");
            assert_eq!(recipe.validate(), Ok(()));
            assert_eq!(recipe.condition.is_some(), conditional, "{name}");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        let wrong = |change: fn(&mut AdaptRecipe)| {
            let mut recipe: AdaptRecipe = parse(RECIPE, "recipe.toml").expect("valid");
            change(&mut recipe);
            recipe.validate().expect_err("refused")
        };
        assert!(wrong(|r| r.codi.intervals = 0).contains("intervals"));
        assert!(wrong(|r| r.codi.distance = Distance::PseudoHuber(0.0)).contains("pseudo-huber"));
        let noise = wrong(|r| r.codi.distance = Distance::Lpips("alex.safetensors".into()));
        assert!(noise.contains("consistency = \"image\""), "{noise}");
        assert!(wrong(|r| r.w = Some(GuidanceWeights::Range([2.0, 1.0]))).contains("`w`"));
        let both = wrong(|r| {
            r.codi.guidance_weight = 0.0;
            r.codi.consistency_weight = 0.0;
        });
        assert!(both.contains("not both 0"), "{both}");
    }
}
