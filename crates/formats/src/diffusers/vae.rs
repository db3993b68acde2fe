//! `vae/config.json`.

use super::part::Part;
use super::weights;
use crate::FormatError;
use crate::fields::Fields;
use burn::tensor::Device;
use fewstep_diffusion::limits::{BLOCKS, FACTOR, FEATURES, ROWS, above_zero};
use fewstep_nn::{
    Autoencoder, AutoencoderConfig, LatentScale, TinyAutoencoder, TinyAutoencoderConfig, Vae,
    VqAutoencoder, VqAutoencoderConfig,
};
use serde_json::json;
use std::path::Path;

/// The kinds that `model_index.json` may name.
pub(super) const AUTOENCODERS: [&str; 3] = ["AutoencoderKL", "AutoencoderTiny", "VQModel"];

/// Reads `vae/`.
pub(crate) fn load(folder: &Path, device: &Device) -> Result<Vae, FormatError> {
    let mut vae = blank(folder, device)?;
    match &mut vae {
        Vae::Kl(network, _) => weights::load(network, folder, Part::Autoencoder)?,
        Vae::Tiny(network, _) => weights::load(network, folder, Part::Autoencoder)?,
        Vae::Vq(network, _) => weights::load(network, folder, Part::Autoencoder)?,
    }
    Ok(vae)
}

/// The same with arbitrary weights.
pub(crate) fn blank(folder: &Path, device: &Device) -> Result<Vae, FormatError> {
    let mut fields = Fields::read(&folder.join("config.json"))?;
    let class: String = fields.needed("_class_name")?;
    match class.as_str() {
        "AutoencoderKL" => kl(fields, device),
        "AutoencoderTiny" => tiny(fields, device),
        "VQModel" => vq(fields, device),
        _ => Err(fields.bad(format!(
            "an autoencoder of kind `{class}` is not supported: only {} are",
            AUTOENCODERS.map(|kind| format!("`{kind}`")).join(", ")
        ))),
    }
}

fn kl(mut fields: Fields, device: &Device) -> Result<Vae, FormatError> {
    let mut config = layers(&mut fields, 4)?;
    config.quant_conv = fields.or("use_quant_conv", true)?;
    config.post_quant_conv = fields.or("use_post_quant_conv", true)?;
    let scale = scale(&mut fields, 0.18215)?;
    let network = Autoencoder::new(&config, 0, device);
    let network = network.map_err(|error| fields.bad(error.to_string()))?;
    fields.finish()?;
    Ok(Vae::Kl(network, scale))
}

fn vq(mut fields: Fields, device: &Device) -> Result<Vae, FormatError> {
    fields.only(&[
        ("lookup_from_codebook", json!(false)),
        ("norm_type", json!("group")),
    ])?;
    let layers = layers(&mut fields, 3)?;
    let config = VqAutoencoderConfig {
        codes: fields.count("num_vq_embeddings", 256, ROWS)?,
        code_channels: fields.count("vq_embed_dim", layers.latent_channels, FEATURES)?,
        layers,
    };
    let scale = scale(&mut fields, 0.18215)?;
    let network = VqAutoencoder::new(&config, 0, device);
    let network = network.map_err(|error| fields.bad(error.to_string()))?;
    fields.finish()?;
    Ok(Vae::Vq(network, scale))
}

/// What the two autoencoders of latent diffusion have in common.
fn layers(fields: &mut Fields, latent_channels: usize) -> Result<AutoencoderConfig, FormatError> {
    fields.only(&[("act_fn", json!("silu"))])?;
    fields.ignore(&["sample_size", "force_upcast"]);
    let widths = fields.counts("block_out_channels", vec![64], 1..=FEATURES)?;
    fields.only(&[
        ("down_block_types", json!("DownEncoderBlock2D")),
        ("up_block_types", json!("UpDecoderBlock2D")),
    ])?;
    let channels = fields.count("in_channels", 3, FEATURES)?;
    fields.only(&[("out_channels", json!(channels))])?;
    Ok(AutoencoderConfig {
        channels,
        latent_channels: fields.count("latent_channels", latent_channels, FEATURES)?,
        widths,
        blocks: fields.count("layers_per_block", 1, BLOCKS)?,
        groups: fields.count("norm_num_groups", 32, FEATURES)?,
        attention: fields.or("mid_block_add_attention", true)?,
        quant_conv: true,
        post_quant_conv: true,
    })
}

fn tiny(mut fields: Fields, device: &Device) -> Result<Vae, FormatError> {
    let width = fields.counts("encoder_block_out_channels", vec![64], 1..=FEATURES)?;
    let width = width.first().copied().unwrap_or(64);
    let channels = fields.count("in_channels", 3, FEATURES)?;
    fields.only(&[
        ("act_fn", json!("relu")),
        ("upsample_fn", json!("nearest")),
        ("upsampling_scaling_factor", json!(2)),
        ("block_out_channels", json!(width)),
        ("decoder_block_out_channels", json!(width)),
        ("out_channels", json!(channels)),
    ])?;
    // How other tools show latents as images.
    fields.ignore(&["latent_magnitude", "latent_shift", "force_upcast"]);
    let config = TinyAutoencoderConfig {
        channels,
        latent_channels: fields.count("latent_channels", 4, FEATURES)?,
        width,
        encoder_blocks: fields.counts("num_encoder_blocks", vec![1, 3, 3, 3], 0..=BLOCKS)?,
        decoder_blocks: fields.counts("num_decoder_blocks", vec![3, 3, 3, 1], 0..=BLOCKS)?,
        // Of TAEF2, which diffusers does not know.
        pool: fields.or("use_midblock_gn", false)?,
    };
    let scale = scale(&mut fields, 1.0)?;
    let network = TinyAutoencoder::new(&config, 0, device);
    let network = network.map_err(|error| fields.bad(error.to_string()))?;
    fields.finish()?;
    Ok(Vae::Tiny(network, scale))
}

fn scale(fields: &mut Fields, default: f64) -> Result<LatentScale, FormatError> {
    Ok(LatentScale {
        factor: fields.number("scaling_factor", default, above_zero(FACTOR))?,
        shift: fields.number("shift_factor", 0.0, -FACTOR..=FACTOR)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A level may have no block, as in the autoencoders of tools/train_tiny_autoencoder.py.
    #[test]
    fn a_tiny_autoencoder_may_have_levels_without_blocks() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.json");
        let read = |blocks: &str| {
            let text = format!(
                r#"{{"_class_name": "AutoencoderTiny", "encoder_block_out_channels": [8, 8],
                "decoder_block_out_channels": [8, 8], "num_encoder_blocks": {blocks}, "num_decoder_blocks": [1, 0]}}"#
            );
            std::fs::write(&file, text).expect("written");
            let mut fields = Fields::read(&file).expect("JSON");
            fields.needed::<String>("_class_name").expect("there");
            tiny(fields, &Device::flex())
        };
        let vae = read("[0, 1]").expect("an autoencoder");
        assert_eq!(vae.factor(), 2);
        let images = burn::tensor::Tensor::zeros([1, 3, 4, 4], &Device::flex());
        assert_eq!(vae.encode(images).dims(), [1, 4, 2, 2]);
        let error = read("[0, 1000000]").expect_err("too many").to_string();
        assert!(error.contains("num_encoder_blocks"), "{error}");
    }
}
