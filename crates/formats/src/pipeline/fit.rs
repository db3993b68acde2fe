//! Whether the parts of a latent diffusion model fit together.

use super::PipelineComponents;
use crate::{FormatError, Model, TextFacts};
use fewstep_nn::Vae;

impl PipelineComponents {
    /// Checks that a U-Net goes with these components.
    ///
    /// # Errors
    /// When it works on other latents, or on states of other texts.
    pub fn check_fit(&self, model: &Model, vae: &Vae, text: &TextFacts) -> Result<(), FormatError> {
        fit(model, vae, text).map_err(|reason| FormatError::BadDescription {
            origin: self.folder().display().to_string(),
            reason,
        })
    }
}

fn fit(model: &Model, vae: &Vae, text: &TextFacts) -> Result<(), String> {
    let network = model.network.config();
    text.check_clip_skip(model.recipe.clip_skip)?;
    let latents = vae.latent_channels();
    if latents != network.channels() {
        return Err(format!(
            "the U-Net works on latents of {} channels, and the autoencoder's have {latents}",
            network.channels()
        ));
    }
    match network.text_width() {
        Some(attended) if attended != text.width => Err(format!(
            "the U-Net attends to states of {attended} features (`cross_attention_dim`), and those of its texts or classes have {} (`hidden_size` or `embed_dim`)",
            text.width
        )),
        _ => match network.pooled_width() {
            Some(takes) if takes != text.pooled => Err(format!(
                "the U-Net takes pooled embeddings of {takes} features (`projection_class_embeddings_input_dim` less the time ids), and those of its text encoders have {} (`projection_dim`)",
                text.pooled
            )),
            _ => Ok(()),
        },
    }
}
