//! Every sampler by name.

use super::unipc::UniPcBasis;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How to go from noise to an image. Recipes store it as its [`name`](Self::name).
///
/// The first three are for models that were distilled for few steps, the others for models that
/// take any number of steps: teachers, and students after stage one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Sampler {
    /// [`deterministic`](super::deterministic).
    Deterministic,
    /// [`stochastic`](super::stochastic).
    Stochastic,
    /// [`multistep_consistency`](super::multistep_consistency).
    MultistepConsistency,
    /// [`ddim`](super::ddim), or [`ddim_eta`](super::ddim_eta) if eta is above 0.
    Ddim {
        /// Share of the posterior's noise, 0 to 1.
        eta: f64,
    },
    /// [`ancestral`](super::ancestral).
    Ancestral,
    /// [`dpm_solver_pp_2m`](super::dpm_solver_pp_2m).
    DpmSolverPp,
    /// [`unipc`](super::unipc).
    UniPc {
        /// B(h).
        basis: UniPcBasis,
    },
    /// [`heun`](super::heun), or [`heun_churn`](super::heun_churn) if churn is above 0.
    Heun {
        /// S_churn, the [`amount`](super::Churn::amount) of churn; its other settings are those of
        /// the paper.
        churn: f64,
    },
}

impl Sampler {
    /// DDIM without noise.
    pub const DDIM: Self = Self::Ddim { eta: 0.0 };
    /// UniPC with B₂(h).
    pub const UNIPC: Self = Self::UniPc {
        basis: UniPcBasis::Bh2,
    };
    /// UniPC with B₁(h).
    pub const UNIPC_BH1: Self = Self::UniPc {
        basis: UniPcBasis::Bh1,
    };
    /// Heun without churn.
    pub const HEUN: Self = Self::Heun { churn: 0.0 };

    /// Every sampler, without noise where that is a choice.
    pub const ALL: [Self; 9] = [
        Self::Deterministic,
        Self::Stochastic,
        Self::MultistepConsistency,
        Self::DDIM,
        Self::Ancestral,
        Self::DpmSolverPp,
        Self::UNIPC,
        Self::UNIPC_BH1,
        Self::HEUN,
    ];

    /// Its name on the command line, in recipes and in reports, with the options that are set:
    /// `ddim(eta=0.5)`.
    pub fn name(self) -> String {
        match self {
            Self::Ddim { eta } if eta != 0.0 => format!("ddim(eta={eta})"),
            Self::Heun { churn } if churn != 0.0 => format!("heun(churn={churn})"),
            _ => self.plain_name().to_owned(),
        }
    }

    /// Its name without options.
    pub fn plain_name(self) -> &'static str {
        match self {
            Self::Deterministic => "deterministic",
            Self::Stochastic => "stochastic",
            Self::MultistepConsistency => "multistep-consistency",
            Self::Ddim { .. } => "ddim",
            Self::Ancestral => "ancestral",
            Self::DpmSolverPp => "dpm-solver++",
            Self::UniPc {
                basis: UniPcBasis::Bh2,
            } => "unipc",
            Self::UniPc {
                basis: UniPcBasis::Bh1,
            } => "unipc-bh1",
            Self::Heun { .. } => "heun",
        }
    }

    /// Names that it had in earlier versions and that are still read.
    pub fn old_names(self) -> &'static [&'static str] {
        match self {
            Self::MultistepConsistency => &["renoising"],
            _ => &[],
        }
    }

    /// Whether it is for models that were distilled for few steps. Its grid is t = i / N.
    pub fn is_few_step(self) -> bool {
        match self {
            Self::Deterministic | Self::Stochastic | Self::MultistepConsistency => true,
            Self::Ddim { .. }
            | Self::Ancestral
            | Self::DpmSolverPp
            | Self::UniPc { .. }
            | Self::Heun { .. } => false,
        }
    }

    /// DDIM with this eta.
    ///
    /// # Errors
    /// For another sampler, and for an eta outside [0, 1].
    pub fn with_eta(self, eta: f64) -> Result<Self, SamplerError> {
        match self {
            Self::Ddim { .. } if (0.0..=1.0).contains(&eta) => Ok(Self::Ddim { eta }),
            Self::Ddim { .. } => Err(SamplerError::Eta(eta)),
            other => Err(SamplerError::NoEta(other.plain_name())),
        }
    }

    /// Heun with this amount of churn.
    ///
    /// # Errors
    /// For another sampler, and for an amount that is negative or not finite.
    pub fn with_churn(self, churn: f64) -> Result<Self, SamplerError> {
        match self {
            Self::Heun { .. } if churn >= 0.0 && churn.is_finite() => Ok(Self::Heun { churn }),
            Self::Heun { .. } => Err(SamplerError::Churn(churn)),
            other => Err(SamplerError::NoChurn(other.plain_name())),
        }
    }

    /// Calls of the denoiser in `steps` steps.
    /// [`Denoiser::network_calls`](crate::Denoiser::network_calls) is the number of network
    /// evaluations in one call (2 with classifier-free guidance).
    pub fn network_calls(self, steps: usize) -> usize {
        match self {
            Self::Heun { .. } => (2 * steps).saturating_sub(1),
            Self::Deterministic
            | Self::Stochastic
            | Self::MultistepConsistency
            | Self::Ddim { .. }
            | Self::Ancestral
            | Self::DpmSolverPp
            | Self::UniPc { .. } => steps,
        }
    }
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

impl From<Sampler> for String {
    fn from(sampler: Sampler) -> Self {
        sampler.name()
    }
}

impl TryFrom<String> for Sampler {
    type Error = SamplerError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl FromStr for Sampler {
    type Err = SamplerError;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let unknown = || SamplerError::Unknown(given.to_owned());
        let (name, option) = match given.strip_suffix(')') {
            Some(head) => head
                .split_once('(')
                .map(|(name, option)| (name, Some(option)))
                .ok_or_else(unknown)?,
            None => (given, None),
        };
        let sampler = Self::ALL
            .into_iter()
            .find(|sampler| sampler.plain_name() == name || sampler.old_names().contains(&name))
            .ok_or_else(unknown)?;
        let Some(option) = option else {
            return Ok(sampler);
        };
        let (key, value) = option.split_once('=').ok_or_else(unknown)?;
        let value: f64 = value.parse().map_err(|_| unknown())?;
        match key {
            "eta" => sampler.with_eta(value),
            "churn" => sampler.with_churn(value),
            _ => Err(unknown()),
        }
    }
}

/// A sampler that does not exist.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SamplerError {
    /// No sampler has this name.
    #[error("there is no sampler `{0}`: use one of {list}", list = Sampler::ALL.map(Sampler::plain_name).join(", "))]
    Unknown(String),
    /// The sampler has no eta.
    #[error("the {0} sampler has no eta: only ddim has one")]
    NoEta(&'static str),
    /// The sampler has no churn.
    #[error("the {0} sampler has no churn: only heun has it")]
    NoChurn(&'static str),
    /// An eta outside its range.
    #[error("eta is {0}: it must be between 0 (no noise) and 1 (as much as ancestral sampling)")]
    Eta(f64),
    /// An amount of churn outside its range.
    #[error("churn is {0}: it must be 0 (no noise) or above; EDM's own setting is 40")]
    Churn(f64),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SamplerConfig;

    const NOISY: [Sampler; 2] = [Sampler::Ddim { eta: 0.5 }, Sampler::Heun { churn: 40.0 }];

    #[test]
    fn a_name_is_the_same_everywhere() {
        for sampler in Sampler::ALL.into_iter().chain(NOISY) {
            assert_eq!(sampler.to_string().parse(), Ok(sampler));
            let json = serde_json::to_string(&sampler).expect("serialises");
            assert_eq!(json, format!("\"{sampler}\""));
            let back: Sampler = serde_json::from_str(&json).expect("parses");
            assert_eq!(back, sampler);
        }
    }

    #[test]
    fn options_that_are_off_are_not_named() {
        assert_eq!(Sampler::DDIM.name(), "ddim");
        assert_eq!(Sampler::HEUN.name(), "heun");
        assert_eq!(SamplerConfig::from(NOISY[0]).name(), "ddim(eta=0.5)");
        let few: Vec<Sampler> = Sampler::ALL
            .into_iter()
            .filter(|s| s.is_few_step())
            .collect();
        let expected = [
            Sampler::Deterministic,
            Sampler::Stochastic,
            Sampler::MultistepConsistency,
        ];
        assert_eq!(few, expected);
    }

    #[test]
    fn names_of_earlier_versions_are_read() {
        assert_eq!("renoising".parse(), Ok(Sampler::MultistepConsistency));
        for (name, sampler) in [
            ("ddim", Sampler::DDIM),
            ("ancestral", Sampler::Ancestral),
            ("dpm-solver++", Sampler::DpmSolverPp),
            ("unipc", Sampler::UNIPC),
            ("heun", Sampler::HEUN),
        ] {
            assert_eq!(name.parse(), Ok(sampler));
        }
    }

    #[test]
    fn options_have_a_range_and_a_sampler() {
        assert_eq!(
            "ddim(eta=1)".parse::<Sampler>(),
            Ok(Sampler::Ddim { eta: 1.0 })
        );
        assert_eq!(
            "ddim(eta=1.5)".parse::<Sampler>(),
            Err(SamplerError::Eta(1.5))
        );
        assert!(Sampler::DDIM.with_eta(f64::NAN).is_err());
        assert!(Sampler::HEUN.with_churn(-1.0).is_err());
        assert!(Sampler::HEUN.with_churn(f64::INFINITY).is_err());
        assert_eq!(
            "heun(eta=0.5)".parse::<Sampler>(),
            Err(SamplerError::NoEta("heun"))
        );
        assert_eq!(
            "ddim(churn=1)".parse::<Sampler>(),
            Err(SamplerError::NoChurn("ddim"))
        );
        for wrong in [
            "ddim(",
            "ddim()",
            "ddim)",
            "ddim(eta)",
            "ddim(eta=x)",
            "ddim(gamma=1)",
        ] {
            let unknown = SamplerError::Unknown(wrong.to_owned());
            assert_eq!(wrong.parse::<Sampler>(), Err(unknown));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "euler".parse::<Sampler>().expect_err("no such sampler");
        assert_eq!(
            error.to_string(),
            "there is no sampler `euler`: use one of deterministic, stochastic, multistep-consistency, ddim, ancestral, dpm-solver++, unipc, unipc-bh1, heun"
        );
    }
}
