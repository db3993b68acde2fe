//! The configuration files that diffusers expects beside the weights.

use fewstep_diffusion::{PredictionKind, SamplerRecipe, ScheduleConfig};
use fewstep_nn::{AdapterConfig, Resampling, UNetConfig};
use serde_json::{Value, json};

/// File names inside a model folder with their contents. A network without patches and without w is read by
/// diffusers' `UNet2DModel` as it is.
pub(crate) fn configs(network: &UNetConfig, recipe: &SamplerRecipe) -> [(&'static str, Value); 3] {
    let index = json!({
        "_class_name": "DDPMPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    });
    [
        ("model_index.json", index),
        ("unet/config.json", unet(network, recipe)),
        ("scheduler/scheduler_config.json", scheduler(recipe)),
    ]
}

fn unet(network: &UNetConfig, recipe: &SamplerRecipe) -> Value {
    let (resampling, down, up) = match network.resampling {
        Resampling::Conv => ("conv", "DownBlock2D", "UpBlock2D"),
        Resampling::Block => ("resnet", "ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D"),
    };
    let blocks = |with: &str, without: &str| -> Vec<String> {
        let name = |&attention: &bool| if attention { with } else { without }.to_string();
        network.attention.iter().map(name).collect()
    };
    let mut up_blocks = blocks("AttnUpBlock2D", up);
    up_blocks.reverse();
    let mut config = json!({
        "_class_name": "UNet2DModel",
        "sample_size": recipe.resolution[1],
        "in_channels": network.channels,
        "out_channels": network.channels,
        "block_out_channels": network.widths,
        "layers_per_block": network.blocks,
        "down_block_types": blocks("AttnDownBlock2D", down),
        "up_block_types": up_blocks,
        "attention_head_dim": network.head,
        "norm_num_groups": network.groups,
        // Without it diffusers leaves the normalisation of the middle's attention away.
        "attn_norm_num_groups": network.groups,
        "norm_eps": 1e-5,
        "downsample_type": resampling,
        "upsample_type": resampling,
        "resnet_time_scale_shift": "scale_shift",
        "time_embedding_type": "positional",
        "flip_sin_to_cos": true,
        "freq_shift": 0,
        "act_fn": "silu",
        "dropout": network.dropout,
    });
    if network.classes > 0 {
        config["num_class_embeds"] = json!(network.classes + 1);
    }
    if network.patch > 1 {
        config["patch_size"] = json!(network.patch);
    }
    if let Some(w) = network.w {
        config["time_cond_proj_dim"] = json!(w.dim);
        config["time_cond_proj_scale"] = json!(w.scale);
    }
    config
}

/// The configuration of an adapter, for diffusers' `ControlNetModel`.
pub(crate) fn controlnet(
    base: &UNetConfig,
    adapter: &AdapterConfig,
    recipe: &SamplerRecipe,
) -> Value {
    let mut config = unet(base, recipe);
    if let Some(entries) = config.as_object_mut() {
        entries.retain(|key, _| !key.starts_with("up_") && !key.starts_with("out_"));
    }
    config["_class_name"] = json!("ControlNetModel");
    config["conditioning_channels"] = json!(adapter.channels);
    config["conditioning_embedding_out_channels"] = json!(adapter.stem);
    config
}

fn scheduler(recipe: &SamplerRecipe) -> Value {
    let prediction_type = match recipe.prediction {
        PredictionKind::X => "sample",
        PredictionKind::Eps => "epsilon",
        PredictionKind::V => "v_prediction",
    };
    let mut config = json!({
        "_class_name": "DDIMScheduler",
        "prediction_type": prediction_type,
        "clip_sample": recipe.clip,
        "timestep_spacing": "trailing",
    });
    match &recipe.schedule {
        // diffusers has no continuous schedule: its squared cosine is the nearest. Our own tools read
        // fewstep.json.
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
                fewstep_diffusion::BetaSchedule::Linear => "linear",
                fewstep_diffusion::BetaSchedule::ScaledLinear => "scaled_linear",
                fewstep_diffusion::BetaSchedule::SquaredCosine => "squaredcos_cap_v2",
            });
            config["beta_start"] = json!(beta_start);
            config["beta_end"] = json!(beta_end);
            config["num_train_timesteps"] = json!(steps);
            config["rescale_betas_zero_snr"] = json!(zero_terminal_snr);
            config["set_alpha_to_one"] = json!(clean_end);
        }
    }
    config
}
