//! The classes of diffusers' schedulers: what each of them is, and which sampler of ours stands for
//! it.

use fewstep_diffusion::{BetaSchedule, Sampler};

/// A class of schedulers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Class {
    /// Our sampler for it.
    pub(super) sampler: Sampler,
    /// Whether that is the same method; else it stands in for it.
    pub(super) same: bool,
    /// Whether its models are sampled by jumping to the image again and again, as latent
    /// consistency models are.
    pub(super) consistency: bool,
    /// Where the last step ends.
    pub(super) end: End,
    /// Whether x̂ is clipped when the configuration does not say; none for a class that never does.
    pub(super) clip: Option<bool>,
    /// How steps are spread when the configuration does not say.
    pub(super) spacing: TimestepSpacing,
    /// The schedule when the configuration does not say.
    pub(super) betas: (BetaSchedule, f64, f64),
    /// Whether `rescale_betas_zero_snr` is a field of it.
    pub(super) rescales: bool,
}

/// Which field says where the last step ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// None: at a clean image.
    Clean,
    /// `set_alpha_to_one`, with this default.
    Alpha(bool),
    /// `final_sigmas_type`.
    Sigma,
}

/// How steps are spread over the timesteps.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TimestepSpacing {
    Leading,
    Trailing,
    Linspace,
}

const LINEAR: (BetaSchedule, f64, f64) = (BetaSchedule::Linear, 1e-4, 0.02);
/// The betas of the first latent diffusion code, on a line.
const NARROW: (BetaSchedule, f64, f64) = (BetaSchedule::Linear, 0.00085, 0.012);
const LATENT: (BetaSchedule, f64, f64) = (BetaSchedule::ScaledLinear, 0.00085, 0.012);

/// A method on noise levels.
const ON_SIGMAS: Class = Class {
    sampler: Sampler::DpmSolverPp,
    same: true,
    consistency: false,
    end: End::Clean,
    clip: None,
    spacing: TimestepSpacing::Linspace,
    betas: LINEAR,
    rescales: false,
};

/// A method on the network's own times.
const ON_ALPHAS: Class = Class {
    sampler: Sampler::DDIM,
    end: End::Alpha(true),
    clip: Some(true),
    spacing: TimestepSpacing::Leading,
    rescales: true,
    ..ON_SIGMAS
};

const CONSISTENCY: Class = Class {
    sampler: Sampler::MultistepConsistency,
    consistency: true,
    clip: Some(false),
    betas: LATENT,
    ..ON_ALPHAS
};

/// What the schedules and networks of these have in common with ours is nothing: their names start
/// like this.
const OTHER_KINDS: [(&str, &str); 12] = [
    ("FlowMatch", "predicts a flow"),
    ("FlowMap", "predicts a flow"),
    ("EDM", "has inputs that are scaled by EDM"),
    ("CosineDPM", "has inputs that are scaled by EDM"),
    ("CMStochastic", "is a consistency model scaled by EDM"),
    ("ConsistencyDecoder", "is a decoder of other latents"),
    ("IPNDM", "has a schedule of its own"),
    ("SCM", "predicts a flow"),
    ("ScoreSde", "has a schedule of variances that grow"),
    ("UnCLIP", "generates embeddings of images"),
    ("VQDiffusion", "generates codes"),
    ("Amused", "generates codes"),
];

impl Class {
    /// The class of this name. One that is not known, but has betas, has a schedule like any, and
    /// DDIM stands in for it.
    ///
    /// # Errors
    /// When a model of it is of another kind; says of which.
    pub(super) fn named(name: &str, has_betas: bool) -> Result<Self, String> {
        let other = OTHER_KINDS
            .iter()
            .find(|(start, _)| name.starts_with(start));
        if let Some((_, what)) = other {
            return Err(format!(
                "scheduler `{name}` is of a model that {what}, which this version does not support: it supports models that predict noise, images or v under a schedule of betas"
            ));
        }
        known(name)
            .or(has_betas.then_some(Self {
                same: false,
                ..ON_ALPHAS
            }))
            .ok_or_else(|| {
                format!("scheduler `{name}` is not known, and it has no betas (`beta_start`, `beta_end`, `beta_schedule`) to take the noise schedule from")
            })
    }
}

/// PNDM's multistep method is not ours, and DDIM on its grid is near. Euler's method on z / α is
/// DDIM under another name.
fn known(name: &str) -> Option<Class> {
    let stands_in = Class {
        same: false,
        ..ON_SIGMAS
    };
    Some(match name {
        "DDIMScheduler" | "DDIMParallelScheduler" | "DDIMInverseScheduler" => ON_ALPHAS,
        "DDPMScheduler" | "DDPMParallelScheduler" => Class {
            sampler: Sampler::Ancestral,
            end: End::Clean,
            ..ON_ALPHAS
        },
        "PNDMScheduler" => Class {
            end: End::Alpha(false),
            clip: None,
            rescales: false,
            ..ON_ALPHAS
        },
        "EulerDiscreteScheduler" => Class {
            sampler: Sampler::DDIM,
            end: End::Sigma,
            rescales: true,
            ..ON_SIGMAS
        },
        "EulerAncestralDiscreteScheduler" => Class {
            sampler: Sampler::Ancestral,
            rescales: true,
            ..ON_SIGMAS
        },
        "HeunDiscreteScheduler" => Class {
            sampler: Sampler::HEUN,
            clip: Some(false),
            betas: NARROW,
            ..ON_SIGMAS
        },
        "DPMSolverMultistepScheduler" => Class {
            end: End::Sigma,
            rescales: true,
            ..ON_SIGMAS
        },
        "UniPCMultistepScheduler" => Class {
            sampler: Sampler::UNIPC,
            end: End::Sigma,
            rescales: true,
            ..ON_SIGMAS
        },
        "LCMScheduler" => CONSISTENCY,
        "TCDScheduler" => Class {
            same: false,
            ..CONSISTENCY
        },
        "DPMSolverMultistepInverseScheduler"
        | "DEISMultistepScheduler"
        | "LMSDiscreteScheduler"
        | "SASolverScheduler" => stands_in,
        "DPMSolverSinglestepScheduler" => Class {
            end: End::Sigma,
            ..stands_in
        },
        "KDPM2DiscreteScheduler" | "KDPM2AncestralDiscreteScheduler" | "DPMSolverSDEScheduler" => {
            Class {
                betas: NARROW,
                ..stands_in
            }
        }
        _ => return None,
    })
}
