//! The numbers of an optimisation.

use super::adam::{EPSILON, Fused};
use crate::error::RecipeError;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::{AdamConfig, AdamWConfig, ModuleOptimizer};
use fewstep_diffusion::limits::{BATCH, UPDATES, above_zero, count, within};
use fewstep_kernels::update::Decay;
use serde::{Deserialize, Serialize};

/// How a phase of training moves the parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimConfig {
    /// Samples per update.
    pub batch: usize,
    /// Batches of this size are accumulated into an update; the same numbers with less memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// Peak learning rate.
    pub lr: f64,
    /// Updates over which the learning rate rises linearly from 0.
    #[serde(default)]
    pub warmup: u64,
    /// What the learning rate does then.
    #[serde(default)]
    pub anneal: Anneal,
    /// The rule of an update.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// Weight decay: decoupled for AdamW, added to the gradient for Adam.
    #[serde(default)]
    pub weight_decay: f64,
    /// Gradients are scaled down to this global norm.
    #[serde(default = "default_clip")]
    pub clip: f64,
    /// Average of the parameters; the average is the result of the phase. None keeps the raw
    /// parameters, as the papers do while distilling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<Ema>,
    /// Trades time for memory: of each block its inputs are kept, and the rest is computed again in
    /// the backward pass.
    #[serde(default)]
    pub gradient_checkpointing: bool,
}

/// The highest learning rate: updates are in 32 bits, and it only makes a run diverge.
const LARGEST_LR: f64 = 1e38;
/// The strongest weight decay.
const LARGEST_DECAY: f64 = 100.0;
/// The highest norm that gradients are scaled down to: it turns clipping off.
const LARGEST_NORM: f64 = 1e38;
/// The longest half-life of an average, in samples.
const LARGEST_HALF_LIFE: f64 = 1e15;

fn default_clip() -> f64 {
    1.0
}

/// The rule of an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// Adam (1412.6980), β = (0.9, 0.999), ε = 1e-8.
    #[default]
    Adam,
    /// Adam with decoupled weight decay (1711.05101).
    #[serde(rename = "adamw")]
    AdamW,
}

/// What the learning rate does after warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Anneal {
    /// It stays constant.
    Constant,
    /// Falls linearly to 0 at the end of the phase.
    #[default]
    Linear,
}

/// Exponential moving average of the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ema {
    /// θ⁻ ← γ θ⁻ + (1 − γ) θ after each update, with γ at most (1 + n) / (10 + n) at update n, so
    /// that the random start is forgotten at once.
    Decay(f64),
    /// γ = ½^(batch / h) with h this many samples, at most 5 % of those seen (2206.00364, appendix
    /// F).
    HalfLife(f64),
}

impl Ema {
    /// γ after an update: the number of updates and of samples so far, this one included.
    pub(super) fn decay(self, updates: u64, samples: u64, batch: usize) -> f64 {
        match self {
            Ema::Decay(decay) => decay.min((1 + updates) as f64 / (10 + updates) as f64),
            Ema::HalfLife(samples_to_half) => {
                let half_life = samples_to_half.min(0.05 * samples as f64).max(1e-8);
                0.5f64.powf(batch as f64 / half_life)
            }
        }
    }
}

impl OptimConfig {
    /// This many samples per update at this learning rate, and defaults for everything else.
    pub fn of(batch: usize, lr: f64) -> Self {
        Self {
            batch,
            micro_batch: None,
            lr,
            warmup: 0,
            anneal: Anneal::default(),
            optimizer: Optimizer::default(),
            weight_decay: 0.0,
            clip: default_clip(),
            ema: None,
            gradient_checkpointing: false,
        }
    }

    /// The learning rate of an update, counted from 0, of `total`.
    pub(crate) fn learning_rate(&self, update: u64, total: u64) -> f64 {
        let rise = match self.warmup {
            0 => 1.0,
            warmup => ((update + 1) as f64 / warmup as f64).min(1.0),
        };
        let fall = match self.anneal {
            Anneal::Constant => 1.0,
            Anneal::Linear => 1.0 - update as f64 / total as f64,
        };
        self.lr * rise * fall
    }

    /// Size of the batches that go through the network.
    pub(crate) fn micro_batch(&self) -> usize {
        self.micro_batch.unwrap_or(self.batch)
    }

    /// A fresh optimiser.
    pub(crate) fn build(&self) -> ModuleOptimizer {
        match self.optimizer {
            Optimizer::Adam => {
                let decay = (self.weight_decay > 0.0)
                    .then(|| WeightDecayConfig::new(self.weight_decay as f32));
                let stock = AdamConfig::new()
                    .with_epsilon(EPSILON)
                    .with_weight_decay(decay)
                    .build();
                ModuleOptimizer::from(Fused {
                    stock,
                    decay: Decay::Coupled(self.weight_decay as f32),
                })
            }
            Optimizer::AdamW => {
                let stock = AdamWConfig::new()
                    .with_epsilon(EPSILON)
                    .with_weight_decay(self.weight_decay as f32)
                    .build();
                ModuleOptimizer::from(Fused {
                    stock,
                    decay: Decay::Decoupled(self.weight_decay as f32),
                })
            }
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the field, what it is, and what it must be.
    pub(crate) fn validate(&self) -> Result<(), RecipeError> {
        count("batch", self.batch, BATCH)?;
        let micro = self.micro_batch();
        if micro == 0 || !self.batch.is_multiple_of(micro) {
            return Err(RecipeError::new(
                "micro_batch",
                format!(
                    "`micro_batch` is {micro}, it must divide `batch` = {}",
                    self.batch
                ),
            ));
        }
        within("lr", self.lr, above_zero(LARGEST_LR))?;
        within("warmup", self.warmup, 0..=UPDATES)?;
        within("weight_decay", self.weight_decay, 0.0..=LARGEST_DECAY)?;
        within("clip", self.clip, above_zero(LARGEST_NORM))?;
        match self.ema {
            Some(Ema::Decay(decay)) => within("ema.decay", decay, 0.0..1.0)?,
            Some(Ema::HalfLife(samples)) => {
                within("ema.half-life", samples, above_zero(LARGEST_HALF_LIFE))?;
            }
            None => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> OptimConfig {
        toml::from_str("batch = 8\nlr = 1.0\nwarmup = 4").expect("a valid config")
    }

    #[test]
    fn the_learning_rate_rises_and_falls_to_zero() {
        let config = config();
        assert_eq!(config.learning_rate(0, 100), 0.25);
        assert_eq!(config.learning_rate(50, 100), 0.5);
        assert!((config.learning_rate(99, 100) - 0.01).abs() < 1e-12);
    }

    #[test]
    fn averages_forget_by_half_in_a_half_life() {
        let ema = Ema::HalfLife(800.0);
        let kept: f64 = (0..100).map(|_| ema.decay(1, 1 << 40, 8)).product();
        assert!((kept - 0.5).abs() < 1e-9);
        assert!(
            Ema::Decay(0.999).decay(1, 8, 8) < 0.2,
            "the start is forgotten at once"
        );
        assert_eq!(Ema::Decay(0.9).decay(1000, 8000, 8), 0.9);
    }

    /// While few samples have been seen, by hand.
    #[test]
    fn averages_are_short_at_first() {
        assert_eq!(Ema::Decay(0.999).decay(5, 40, 8), 6.0 / 15.0);
        // 5 % of 160 samples are a batch of 8, which is then the half-life.
        assert_eq!(Ema::HalfLife(800.0).decay(20, 160, 8), 0.5);
        assert_eq!(Ema::HalfLife(4.0).decay(20, 160, 8), 0.25);
    }

    #[test]
    fn numbers_outside_their_range_are_refused() {
        let key = |change: fn(&mut OptimConfig)| {
            let mut config = config();
            change(&mut config);
            config.validate().expect_err("refused").key
        };
        assert_eq!(config().validate(), Ok(()));
        assert_eq!(key(|c| c.batch = 0), "batch");
        assert_eq!(key(|c| c.micro_batch = Some(0)), "micro_batch");
        assert_eq!(key(|c| c.lr = 0.0), "lr");
        assert_eq!(key(|c| c.weight_decay = -0.1), "weight_decay");
        assert_eq!(key(|c| c.clip = 0.0), "clip");
        assert_eq!(key(|c| c.ema = Some(Ema::Decay(1.0))), "ema.decay");
        assert_eq!(key(|c| c.ema = Some(Ema::HalfLife(0.0))), "ema.half-life");
    }

    #[test]
    fn a_micro_batch_must_divide_the_batch() {
        let mut config = config();
        config.micro_batch = Some(3);
        assert!(
            config
                .validate()
                .expect_err("refused")
                .to_string()
                .contains("micro_batch")
        );
    }
}
