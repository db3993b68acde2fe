//! `unet/config.json`: of diffusers' `UNet2DModel` on pixels, and its `UNet2DConditionModel` with
//! text.

pub(crate) mod conditional;
pub(crate) mod unconditional;

use fewstep_diffusion::SamplerRecipe;
use fewstep_nn::UNetConfig;
use serde_json::{Value, json};

/// diffusers' class for a network, and its configuration. A network on pixels without patches and
/// without w is read by diffusers as it is, and so is every network with text.
pub(crate) fn write(network: &UNetConfig, recipe: &SamplerRecipe) -> (&'static str, Value) {
    let (class, mut config) = match network.text {
        Some(text) => (
            conditional::CLASS,
            conditional::write(network, text, recipe),
        ),
        None => (unconditional::CLASS, unconditional::write(network, recipe)),
    };
    // The input for w: diffusers knows only the size, and takes 1000 for the scale.
    if let Some(w) = network.w {
        config["time_cond_proj_dim"] = json!(w.dim);
        config["time_cond_proj_scale"] = json!(w.scale);
    }
    (class, config)
}
