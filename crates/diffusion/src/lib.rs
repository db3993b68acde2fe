//! The mathematics of diffusion models and of their distilled students: noise schedules, time
//! grids, predictions, guidance and samplers. This crate knows no network and no file.
//!
//! | symbol in the papers | name here | meaning |
//! |---|---|---|
//! | t | `t` | time, 0 = data, 1 = noise |
//! | z_t | `z` | noisy image, α_t x + σ_t ε |
//! | α_t, σ_t | `alpha`, `sigma` | of a [`NoiseLevel`]; α² + σ² = 1 |
//! | λ_t | `log_snr` | log(α_t² / σ_t²), the full log signal-to-noise ratio |
//! | φ_t | `angle` | α = cos φ, σ = sin φ |
//! | x̂, ε̂, v̂ | `x`, `eps`, `v` | predictions of one [`Prediction`] |
//! | w | `w` | guidance weight: x̂_w = (1 + w) x̂_c − w x̂_∅ |
//! | s | `guidance_scale` | what users of diffusers set: s = 1 + w |

pub mod analytic;
mod denoiser;
mod grid;
mod guidance;
mod inputs;
mod instruct;
pub mod limits;
mod prediction;
mod prompt;
pub mod random;
mod recipe;
pub mod sampler;
mod schedule;
mod time_ids;

pub use denoiser::{Clipped, Denoiser, DiffusionModel, Network};
pub use grid::{GridError, Spacing, TimeGrid, UnknownSpacing};
pub use guidance::CfgDenoiser;
pub use inputs::Inputs;
pub use instruct::InstructDenoiser;
pub use prediction::{Prediction, PredictionKind, per_sample};
pub use prompt::{PromptEmbeds, TextEmbeds};
pub use recipe::{
    ControlSpec, DistilledFor, Guidance, IMAGE_GUIDANCE_SCALE, Provenance, RecipeError, Role,
    SamplerRecipe, Task, Warning,
};
pub use sampler::{Sampler, SamplerConfig};
pub use schedule::{BetaSchedule, NoiseLevel, Schedule, ScheduleConfig, ScheduleError};
pub use time_ids::TimeIds;
