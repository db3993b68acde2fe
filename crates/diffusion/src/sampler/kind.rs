//! The samplers of ordinary diffusion models by name.

use super::{Observer, StepNoise, UniPcBasis, ancestral, ddim, dpm_solver_pp_2m, heun, unipc};
use crate::{Denoiser, Inputs, TimeGrid};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A sampler for models that take any number of steps: teachers, and students after stage one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SamplerKind {
    /// [`ddim`](super::ddim).
    Ddim,
    /// [`ancestral`](super::ancestral).
    Ancestral,
    /// [`dpm_solver_pp_2m`](super::dpm_solver_pp_2m).
    #[serde(rename = "dpm-solver++")]
    DpmSolverPp,
    /// [`unipc`](super::unipc) with B₂(h).
    #[serde(rename = "unipc")]
    UniPc,
    /// [`heun`](super::heun).
    Heun,
}

impl SamplerKind {
    /// Every sampler.
    pub const ALL: [Self; 5] = [
        Self::Ddim,
        Self::Ancestral,
        Self::DpmSolverPp,
        Self::UniPc,
        Self::Heun,
    ];

    /// Its name on the command line and in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddim => "ddim",
            Self::Ancestral => "ancestral",
            Self::DpmSolverPp => "dpm-solver++",
            Self::UniPc => "unipc",
            Self::Heun => "heun",
        }
    }
}

impl fmt::Display for SamplerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no sampler has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no sampler `{0}`: use one of {list}", list = SamplerKind::ALL.map(SamplerKind::name).join(", "))]
pub struct UnknownSampler(pub String);

impl FromStr for SamplerKind {
    type Err = UnknownSampler;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| UnknownSampler(name.to_owned()))
    }
}

/// Draws with the sampler of that name. `fresh` is used by the stochastic ones alone.
///
/// # Shapes
/// - `noise` and output: `[batch, channels, height, width]`
pub fn draw(
    kind: SamplerKind,
    denoiser: &dyn Denoiser,
    noise: Tensor<4>,
    inputs: &Inputs,
    grid: &TimeGrid,
    fresh: &StepNoise,
    observer: Observer<'_>,
) -> Tensor<4> {
    match kind {
        SamplerKind::Ddim => ddim(denoiser, noise, inputs, grid, observer),
        SamplerKind::Ancestral => ancestral(denoiser, noise, inputs, grid, fresh, observer),
        SamplerKind::DpmSolverPp => dpm_solver_pp_2m(denoiser, noise, inputs, grid, observer),
        SamplerKind::UniPc => {
            let basis = UniPcBasis::default();
            unipc(denoiser, noise, inputs, grid, basis, observer)
        }
        SamplerKind::Heun => heun(denoiser, noise, inputs, grid, observer),
    }
}

/// Calls of the denoiser that a sampler makes in `steps` steps. What one call costs in network evaluations,
/// [`Denoiser::network_calls`] says (2 with classifier-free guidance).
pub fn network_calls(kind: SamplerKind, steps: usize) -> usize {
    match kind {
        SamplerKind::Heun => (2 * steps).saturating_sub(1),
        SamplerKind::Ddim
        | SamplerKind::Ancestral
        | SamplerKind::DpmSolverPp
        | SamplerKind::UniPc => steps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytic::{Gaussian, GaussianDenoiser};
    use crate::{Prediction, Schedule, per_sample};
    use burn::tensor::Device;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Counting {
        inner: GaussianDenoiser,
        calls: AtomicUsize,
    }

    impl Denoiser for Counting {
        fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
            self.calls.fetch_add(1, Ordering::Relaxed);
            self.inner.predict(z, t, inputs)
        }
        fn schedule(&self) -> &Schedule {
            self.inner.schedule()
        }
    }

    #[test]
    fn every_sampler_calls_the_network_as_often_as_it_says() {
        let data = Gaussian { mu: 0.0, s: 0.5 };
        let fresh = StepNoise::new(0, vec![0]);
        for kind in SamplerKind::ALL {
            for steps in [1, 2, 3, 20] {
                let model = Counting {
                    inner: GaussianDenoiser::unconditional(Schedule::default(), data),
                    calls: AtomicUsize::new(0),
                };
                let grid = TimeGrid::uniform(steps);
                let noise = per_sample([1.0], &Device::flex());
                let mut seen = 0;
                let none = Inputs::default();
                draw(kind, &model, noise, &none, &grid, &fresh, &mut |_| {
                    seen += 1
                });
                let calls = model.calls.into_inner();
                assert_eq!(calls, network_calls(kind, steps), "{kind}");
                assert_eq!(seen, steps, "{kind} shows every step once");
            }
        }
    }

    #[test]
    fn a_name_is_the_same_everywhere() {
        for kind in SamplerKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            let json = serde_json::to_string(&kind).expect("serialises");
            assert_eq!(json, format!("\"{kind}\""));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "euler".parse::<SamplerKind>().expect_err("no such sampler");
        assert_eq!(
            error.to_string(),
            "there is no sampler `euler`: use one of ddim, ancestral, dpm-solver++, unipc, heun"
        );
    }
}
