//! `controlnet/config.json`, diffusers' `ControlNetModel`. Of ours it is only written, since the
//! weights have the configuration in them; it is read for those of other tools.

use super::unet;
use crate::FormatError;
use crate::fields::Fields;
use fewstep_diffusion::SamplerRecipe;
use fewstep_nn::{CONTROLNET_STEM, ControlNetConfig, Fusion, UNetConfig};
use serde_json::{Value, json};

pub(crate) const CLASS: &str = "ControlNetModel";

/// Reads the configuration of a ControlNet that attends to text: of the network whose encoder it is
/// a copy of, and its own.
pub(crate) fn read(mut fields: Fields) -> Result<(UNetConfig, ControlNetConfig), FormatError> {
    fields.only(&[
        ("_class_name", json!(CLASS)),
        ("controlnet_conditioning_channel_order", json!("rgb")),
        ("global_pool_conditions", json!(false)),
    ])?;
    let controlnet = ControlNetConfig {
        channels: fields.or("conditioning_channels", 3)?,
        stem: fields.or(
            "conditioning_embedding_out_channels",
            CONTROLNET_STEM.into(),
        )?,
        fusion: Fusion::ZeroConv,
        unit: true,
    };
    let checked = controlnet.validate();
    checked.map_err(|error| fields.bad(error.to_string()))?;
    // The rest of a U-Net follows from its encoder.
    let channels: usize = fields.or("in_channels", 4)?;
    for side in ["in_channels", "out_channels"] {
        fields.set(side, json!(channels));
    }
    if let Some(down) = fields.optional::<Vec<String>>("down_block_types")? {
        let up = down.iter().rev().map(|block| block.replace("Down", "Up"));
        let up: Vec<String> = up.collect();
        fields.set("up_block_types", json!(up));
        fields.set("down_block_types", json!(down));
    }
    let file = unet::conditional::read(fields)?;
    Ok((file.network, controlnet))
}

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
    config["_class_name"] = json!(CLASS);
    config["conditioning_channels"] = json!(controlnet.channels);
    config["conditioning_embedding_out_channels"] = json!(controlnet.stem);
    config
}
