//! A scheduler's configuration for a model of ours.

use fewstep_diffusion::{
    BetaSchedule, DistilledFor, PredictionKind, Role, Sampler, SamplerRecipe, ScheduleConfig,
};
use serde_json::{Value, json};

/// Writes the configuration of a scheduler for a recipe: DDIM's, or that of a latent consistency model.
pub(crate) fn write(recipe: &SamplerRecipe) -> Value {
    let prediction_type = match recipe.prediction {
        PredictionKind::X => "sample",
        PredictionKind::Eps => "epsilon",
        PredictionKind::V => "v_prediction",
    };
    let jumps = recipe.default_sampler.map(|config| config.sampler);
    let jumps = jumps == Some(Sampler::MultistepConsistency);
    let class = match recipe.role {
        Role::Student {
            sampler: DistilledFor::Consistency,
            ..
        } if jumps => "LCMScheduler",
        _ => "DDIMScheduler",
    };
    let mut config = json!({
        "_class_name": class,
        "prediction_type": prediction_type,
        "clip_sample": recipe.clip,
        "timestep_spacing": "trailing",
    });
    match &recipe.schedule {
        // diffusers has no continuous schedule: its squared cosine is the nearest. Our own tools
        // read fewstep.json.
        ScheduleConfig::Cosine { .. } => {
            config["beta_schedule"] = json!("squaredcos_cap_v2");
            config["num_train_timesteps"] = json!(1000);
            config["rescale_betas_zero_snr"] = json!(true);
        }
        ScheduleConfig::Discrete {
            betas,
            beta_start,
            beta_end,
            steps,
            zero_terminal_snr,
            clean_end,
        } => {
            config["beta_schedule"] = json!(match betas {
                BetaSchedule::Linear => "linear",
                BetaSchedule::ScaledLinear => "scaled_linear",
                BetaSchedule::SquaredCosine => "squaredcos_cap_v2",
            });
            config["beta_start"] = json!(beta_start);
            config["beta_end"] = json!(beta_end);
            config["num_train_timesteps"] = json!(steps);
            config["rescale_betas_zero_snr"] = json!(zero_terminal_snr);
            // The last step of a student ends at x̂ itself, even where its schedule has noise at t
            // = 0.
            let student = matches!(recipe.role, Role::Student { .. });
            config["set_alpha_to_one"] = json!(*clean_end || student);
        }
    }
    config
}
