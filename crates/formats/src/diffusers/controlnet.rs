//! `controlnet/config.json`, which is only written: our own reader has the configuration in the
//! weights.

use super::unet;
use fewstep_diffusion::SamplerRecipe;
use fewstep_nn::{ControlNetConfig, UNetConfig};
use serde_json::{Value, json};

/// The configuration of a ControlNet, for diffusers' `ControlNetModel`. It knows no input for w,
/// and of networks without text not the middle, which has attention and two residual blocks in
/// ours.
pub(crate) fn write(
    base: &UNetConfig,
    controlnet: &ControlNetConfig,
    recipe: &SamplerRecipe,
) -> Value {
    let (_, mut config) = unet::write(base, recipe);
    if let Some(entries) = config.as_object_mut() {
        entries.retain(|key, _| !key.starts_with("up_") && !key.starts_with("out_"));
        // These belong to a U-Net only.
        entries.retain(|key, _| !["sample_size", "dropout"].contains(&key.as_str()));
    }
    config["_class_name"] = json!("ControlNetModel");
    config["conditioning_channels"] = json!(controlnet.channels);
    config["conditioning_embedding_out_channels"] = json!(controlnet.stem);
    config
}
