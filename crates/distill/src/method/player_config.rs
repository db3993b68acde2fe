//! Settings of players other than the student.

use crate::optim::{Anneal, OptimConfig, Optimizer};
use serde::{Deserialize, Serialize};

/// How a player other than the student moves. Its batches are the student's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlayerConfig {
    /// Peak learning rate; by default the student's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Updates over which it rises from 0.
    pub warmup: u64,
    /// What it does then.
    pub anneal: Anneal,
    /// The rule of an update.
    pub optimizer: Optimizer,
    /// Weight decay.
    pub weight_decay: f64,
    /// Gradients are scaled down to this global norm.
    pub clip: f64,
}

impl Default for PlayerConfig {
    fn default() -> Self {
        let OptimConfig {
            warmup,
            weight_decay,
            clip,
            ..
        } = OptimConfig::of(1, 1.0);
        Self {
            lr: None,
            warmup,
            anneal: Anneal::Constant,
            optimizer: Optimizer::AdamW,
            weight_decay,
            clip,
        }
    }
}

impl PlayerConfig {
    /// The same as of any network in training, with the student's learning rate where there is no
    /// other.
    pub(in crate::method) fn optim(&self, lr: f64) -> OptimConfig {
        OptimConfig {
            warmup: self.warmup,
            anneal: self.anneal,
            optimizer: self.optimizer,
            weight_decay: self.weight_decay,
            clip: self.clip,
            ..OptimConfig::of(1, self.lr.unwrap_or(lr))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All settings go into the optimiser; the learning rate is the student's where there is no other.
    #[test]
    fn a_player_moves_as_its_settings_say() {
        let mut settings = PlayerConfig {
            lr: None,
            warmup: 7,
            anneal: Anneal::Constant,
            optimizer: Optimizer::AdamW,
            weight_decay: 0.25,
            clip: 3.0,
        };
        let moved = OptimConfig {
            warmup: 7,
            anneal: Anneal::Constant,
            optimizer: Optimizer::AdamW,
            weight_decay: 0.25,
            clip: 3.0,
            ..OptimConfig::of(1, 1e-4)
        };
        assert_eq!(settings.optim(1e-4), moved);
        settings.lr = Some(2e-3);
        assert_eq!(settings.optim(1e-4).lr, 2e-3);
    }
}
