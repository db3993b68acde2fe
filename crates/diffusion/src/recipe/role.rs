//! What a model is for.

use crate::Spacing;
use crate::sampler::{Sampler, SamplerConfig};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a model is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Role {
    /// An ordinary diffusion model: any sampler, any number of steps.
    Teacher,
    /// A distilled model.
    Student {
        /// What it was distilled for.
        sampler: DistilledFor,
        /// The number of steps it was distilled for; `None` after stage one, where any number will
        /// do.
        steps: Option<usize>,
    },
}

impl Role {
    /// Whether it predicts as a diffusion model does at every noise level: a teacher, or a student
    /// of stage one.
    pub fn knows_every_level(&self) -> bool {
        match self {
            Self::Teacher => true,
            Self::Student { sampler, .. } => *sampler == DistilledFor::Any,
        }
    }
}

/// What a student was distilled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DistilledFor {
    /// After stage one: any sampler.
    Any,
    /// The deterministic N-step sampler.
    Deterministic,
    /// The stochastic N-step sampler.
    Stochastic,
    /// Reversed DDIM: from an image to noise.
    Encoder,
    /// After conditional or consistency distillation: the deterministic N-step sampler for any
    /// small N, or the multistep consistency sampler.
    Consistency,
}

impl DistilledFor {
    /// What a student must have been distilled for to be sampled like this. DDIM on the papers'
    /// grid is the deterministic sampler; other grids suit only students of stage one.
    pub fn needed_by(config: SamplerConfig) -> Self {
        match (config.sampler, config.spacing) {
            (Sampler::Deterministic | Sampler::DDIM, Spacing::Uniform) => Self::Deterministic,
            (Sampler::Stochastic, Spacing::Uniform) => Self::Stochastic,
            (Sampler::MultistepConsistency, Spacing::Uniform) => Self::Consistency,
            _ => Self::Any,
        }
    }
}

impl fmt::Display for DistilledFor {
    /// The name as it is written in a recipe.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DistilledFor::Any => "any",
            DistilledFor::Deterministic => "deterministic",
            DistilledFor::Stochastic => "stochastic",
            DistilledFor::Encoder => "encoder",
            DistilledFor::Consistency => "consistency",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The samplers of students are on the papers' grid; all else is for any sampler.
    #[test]
    fn samplers_need_their_students() {
        for (sampler, needed) in [
            (Sampler::Deterministic, DistilledFor::Deterministic),
            (Sampler::DDIM, DistilledFor::Deterministic),
            (Sampler::Stochastic, DistilledFor::Stochastic),
            (Sampler::MultistepConsistency, DistilledFor::Consistency),
            (Sampler::HEUN, DistilledFor::Any),
        ] {
            let mut config = SamplerConfig::from(sampler);
            assert_eq!(DistilledFor::needed_by(config), needed);
            config.spacing = Spacing::Trailing;
            assert_eq!(DistilledFor::needed_by(config), DistilledFor::Any);
        }
    }
}
