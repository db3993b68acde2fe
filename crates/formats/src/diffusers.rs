//! The configuration files that diffusers expects beside the weights.

use fewstep_diffusion::{PredictionKind, Role, SamplerRecipe, ScheduleConfig};
use fewstep_nn::{
    BackboneConfig, ControlNetConfig, Modulation, Resampling, TextAttention, UNetConfig,
};
use serde_json::{Value, json};

/// File names inside a model folder with their contents. A network on pixels without patches and without w is read by
/// diffusers' `UNet2DModel` as it is, and every network with text by its `UNet2DConditionModel`.
pub(crate) fn configs(
    network: &BackboneConfig,
    recipe: &SamplerRecipe,
) -> [(&'static str, Value); 3] {
    let BackboneConfig::UNet(network) = network;
    let (class, config) = unet(network, recipe);
    let index = json!({
        "_class_name": "DDPMPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", class],
    });
    [
        ("model_index.json", index),
        ("unet/config.json", config),
        ("scheduler/scheduler_config.json", scheduler(recipe)),
    ]
}

fn unet(network: &UNetConfig, recipe: &SamplerRecipe) -> (&'static str, Value) {
    match network.text {
        Some(text) => ("UNet2DConditionModel", with_text(network, text, recipe)),
        None => ("UNet2DModel", without_text(network, recipe)),
    }
}

fn with_text(network: &UNetConfig, text: TextAttention, recipe: &SamplerRecipe) -> Value {
    let blocks = |with: &str, without: &str| -> Vec<String> {
        let name = |&attention: &bool| if attention { with } else { without }.to_string();
        network.attention.iter().map(name).collect()
    };
    let mut up_blocks = blocks("CrossAttnUpBlock2D", "UpBlock2D");
    up_blocks.reverse();
    let mut config = json!({
        "_class_name": "UNet2DConditionModel",
        "sample_size": recipe.resolution[1],
        "in_channels": network.channels + network.concat,
        "out_channels": network.channels,
        "block_out_channels": network.widths,
        "layers_per_block": network.blocks,
        "down_block_types": blocks("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": up_blocks,
        // diffusers takes this name for the number of heads.
        "attention_head_dim": (0..network.widths.len()).map(|level| network.heads_of(level)).collect::<Vec<_>>(),
        "norm_num_groups": network.groups,
        "cross_attention_dim": text.width,
        "use_linear_projection": text.linear,
        "dropout": network.dropout,
    });
    add_w(&mut config, network);
    config
}

/// The input for w. diffusers knows the size alone, and takes 1000 for the scale.
fn add_w(config: &mut Value, network: &UNetConfig) {
    if let Some(w) = network.w {
        config["time_cond_proj_dim"] = json!(w.dim);
        config["time_cond_proj_scale"] = json!(w.scale);
    }
}

fn without_text(network: &UNetConfig, recipe: &SamplerRecipe) -> Value {
    let (resampling, down, up) = match network.resampling {
        Resampling::Conv | Resampling::Corner => ("conv", "DownBlock2D", "UpBlock2D"),
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
        "sample_size": [recipe.resolution[1], recipe.resolution[2]],
        "in_channels": network.channels,
        "out_channels": network.channels,
        "block_out_channels": network.widths,
        "layers_per_block": network.blocks,
        "down_block_types": blocks("AttnDownBlock2D", down),
        "up_block_types": up_blocks,
        // Null is one head over all channels, which is how others' networks with `heads` are.
        "attention_head_dim": network.heads.is_empty().then_some(network.head),
        "norm_num_groups": network.groups,
        // Without it diffusers leaves the normalisation of the middle's attention away.
        "attn_norm_num_groups": network.groups,
        "norm_eps": network.epsilon,
        "add_attention": network.middle_attention,
        "downsample_type": resampling,
        "downsample_padding": usize::from(network.resampling != Resampling::Corner),
        "upsample_type": resampling,
        "resnet_time_scale_shift": match network.modulation {
            Modulation::Film => "scale_shift",
            Modulation::Add => "default",
        },
        "time_embedding_type": "positional",
        "flip_sin_to_cos": !network.sinusoid.sine_first,
        "freq_shift": network.sinusoid.shift,
        "act_fn": "silu",
        "dropout": network.dropout,
    });
    if network.classes > 0 {
        config["num_class_embeds"] = json!(network.class_rows());
    }
    if network.patch > 1 {
        config["patch_size"] = json!(network.patch);
    }
    add_w(&mut config, network);
    config
}

/// The configuration of a ControlNet, for diffusers' `ControlNetModel`. It knows no input for w, and of networks without text
/// not the middle, which has attention and two residual blocks in ours.
pub(crate) fn controlnet(
    base: &UNetConfig,
    controlnet: &ControlNetConfig,
    recipe: &SamplerRecipe,
) -> Value {
    let (_, mut config) = unet(base, recipe);
    if let Some(entries) = config.as_object_mut() {
        entries.retain(|key, _| !key.starts_with("up_") && !key.starts_with("out_"));
        // Those of a network alone.
        entries.retain(|key, _| !["sample_size", "dropout"].contains(&key.as_str()));
    }
    config["_class_name"] = json!("ControlNetModel");
    config["conditioning_channels"] = json!(controlnet.channels);
    config["conditioning_embedding_out_channels"] = json!(controlnet.stem);
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
            // The last step of a student ends at x̂ itself, whatever noise its schedule has at t = 0.
            let student = matches!(recipe.role, Role::Student { .. });
            config["set_alpha_to_one"] = json!(*clean_end || student);
        }
    }
    config
}
