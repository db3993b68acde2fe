//! What AUTOMATIC1111's web interface and Forge get: a configuration next to the file.

use super::Ready;
use fewstep_diffusion::ScheduleConfig;
use fewstep_formats::{Model, Pipeline};
use fewstep_nn::BackboneConfig;
use serde_json::{Value, json};

impl Ready<'_> {
    /// The configuration of the first latent diffusion code, for a U-Net of Stable Diffusion 1 that
    /// predicts v.
    pub(super) fn yaml(&self, pipeline: &Pipeline, model: &Model) -> String {
        let BackboneConfig::UNet(unet) = model.network.config();
        let [_, side, _] = self.recipe.resolution;
        let first = unet.widths[0];
        let multiples: Vec<usize> = unet.widths.iter().map(|width| width / first).collect();
        let at = (0..unet.widths.len()).filter(|level| unet.attention[*level]);
        let attention: Vec<usize> = at.map(|level| 1 << level).collect();
        let (beta_start, beta_end) = match self.recipe.schedule {
            ScheduleConfig::Discrete {
                beta_start,
                beta_end,
                ..
            } => (beta_start, beta_end),
            ScheduleConfig::Cosine { .. } => (0.00085, 0.012),
        };
        let target = |class: &str, params: Value| json!({ "target": class, "params": params });
        let unet = target(
            "ldm.modules.diffusionmodules.openaimodel.UNetModel",
            json!({
                "image_size": 32,
                "in_channels": unet.channels,
                "out_channels": unet.channels,
                "model_channels": first,
                "attention_resolutions": attention,
                "num_res_blocks": unet.blocks,
                "channel_mult": multiples,
                "num_heads": unet.heads_of(0),
                "use_spatial_transformer": true,
                "transformer_depth": 1,
                "context_dim": unet.text.map(|text| text.width),
                "use_checkpoint": false,
                "legacy": false,
            }),
        );
        let vae = target(
            "ldm.models.autoencoder.AutoencoderKL",
            json!({
                "embed_dim": pipeline.vae.latent_channels(),
                "monitor": "val/rec_loss",
                "ddconfig": {
                    "double_z": true,
                    "z_channels": pipeline.vae.latent_channels(),
                    "resolution": 256,
                    "in_channels": 3,
                    "out_ch": 3,
                    "ch": 128,
                    "ch_mult": [1, 2, 4, 4],
                    "num_res_blocks": 2,
                    "attn_resolutions": [],
                    "dropout": 0.0,
                },
                "lossconfig": { "target": "torch.nn.Identity" },
            }),
        );
        let text = json!({ "target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder" });
        let model = target(
            "ldm.models.diffusion.ddpm.LatentDiffusion",
            json!({
                "parameterization": "v",
                "linear_start": beta_start,
                "linear_end": beta_end,
                "num_timesteps_cond": 1,
                "timesteps": 1000,
                "first_stage_key": "jpg",
                "cond_stage_key": "txt",
                "image_size": side,
                "channels": pipeline.vae.latent_channels(),
                "cond_stage_trainable": false,
                "conditioning_key": "crossattn",
                "monitor": "val/loss_simple_ema",
                "scale_factor": 0.18215,
                "use_ema": false,
                "unet_config": unet,
                "first_stage_config": vae,
                "cond_stage_config": text,
            }),
        );
        // Every JSON is YAML.
        format!("{:#}\n", json!({ "model": model }))
    }
}
