//! From the names of diffusers and transformers to those of the first latent diffusion code, and back.

use super::TensorView;
use crate::FormatError;
use crate::folder::{Part, Pipeline, TextEncoder};
use fewstep_nn::{ClipActivation, Codec, UNetConfig};

/// The names of one model's tensors.
pub(super) struct Names {
    unet: UNetConfig,
    /// Levels of the autoencoder.
    levels: usize,
    /// What the U-Net attends to: texts or classes.
    told: Part,
}

impl Names {
    /// # Errors
    /// When a part has no form in a single file.
    pub(super) fn new(pipeline: &Pipeline, unet: &UNetConfig) -> Result<Self, FormatError> {
        let refuse = |reason: &str| {
            Err(FormatError::BadDescription {
                origin: pipeline.folder().display().to_string(),
                reason: reason.into(),
            })
        };
        if unet.w.is_some() {
            return refuse(
                "it has an input for w, which readers of single files pass over in silence: fold one w in with --bake-w",
            );
        }
        match &pipeline.text_encoder {
            TextEncoder::Classes(_) => {}
            TextEncoder::Bert(..) => {
                return refuse(
                    "single files hold a CLIP, and its text encoder is a BERT: use a folder",
                );
            }
            TextEncoder::Clip(_, network)
                if network.config().activation == ClipActivation::Gelu =>
            {
                return refuse(
                    "single files hold the text encoder of Stable Diffusion 2 in a form that this version does not write: use a folder",
                );
            }
            TextEncoder::Clip(..) => {}
        }
        let widths = match &pipeline.codec {
            Codec::Kl(network, _) => &network.config().widths,
            Codec::Vq(network, _) => &network.config().layers.widths,
            Codec::Tiny(..) => {
                return refuse("a tiny autoencoder has no place in a single file: use a folder");
            }
        };
        Ok(Self {
            unet: unet.clone(),
            levels: widths.len(),
            told: match pipeline.text_encoder {
                TextEncoder::Classes(_) => Part::ClassEmbedder,
                TextEncoder::Clip(..) | TextEncoder::Bert(..) => Part::TextEncoder,
            },
        })
    }

    /// The parts that a single file holds.
    pub(super) fn parts(&self) -> [Part; 3] {
        [Part::UNet, Part::Autoencoder, self.told]
    }

    /// The name and shape of a tensor in the single file; `None` for what is no weight.
    pub(super) fn to_single<'a>(
        &self,
        part: Part,
        name: &str,
        view: TensorView<'a>,
    ) -> Option<(String, TensorView<'a>)> {
        let name = part.today(name)?;
        Some(match part {
            Part::UNet => (
                format!("model.diffusion_model.{}", self.of_unet(&name)),
                view,
            ),
            Part::TextEncoder => {
                let prefix = "cond_stage_model.transformer.text_model.";
                (format!("{prefix}{name}"), view)
            }
            Part::ClassEmbedder => (format!("cond_stage_model.{name}"), view),
            Part::Autoencoder => {
                let view = match is_projection(&name) {
                    true => with_shape(&view, |shape| [&shape[..2], &[1, 1]].concat()),
                    false => view,
                };
                (
                    format!("first_stage_model.{}", self.of_autoencoder(&name)),
                    view,
                )
            }
        })
    }

    /// The tensor of a single file as it lies under its own name in a folder.
    pub(super) fn as_in_folder<'a>(
        &self,
        part: Part,
        name: &str,
        view: &TensorView<'a>,
    ) -> TensorView<'a> {
        let name = part.today(name).unwrap_or_default();
        match part == Part::Autoencoder && is_projection(&name) {
            true => with_shape(view, |shape| shape[..2].to_vec()),
            false => view.clone(),
        }
    }

    fn of_unet(&self, name: &str) -> String {
        let per_level = self.unet.blocks + 1;
        let parts: Vec<&str> = name.split('.').collect();
        let number = |at: usize| parts[at].parse::<usize>().unwrap_or(0);
        let rest = |from: usize| parts[from..].join(".");
        match parts[..] {
            ["time_embedding", "linear_1", leaf] => format!("time_embed.0.{leaf}"),
            ["time_embedding", "linear_2", leaf] => format!("time_embed.2.{leaf}"),
            ["conv_in", leaf] => format!("input_blocks.0.0.{leaf}"),
            ["conv_norm_out", leaf] => format!("out.0.{leaf}"),
            ["conv_out", leaf] => format!("out.2.{leaf}"),
            ["down_blocks", _, "downsamplers", _, "conv", leaf] => {
                format!("input_blocks.{}.0.op.{leaf}", (number(1) + 1) * per_level)
            }
            ["down_blocks", _, kind, ..] => {
                let block = 1 + number(1) * per_level + number(3);
                format!("input_blocks.{block}.{}", inner(kind, &rest(4)))
            }
            ["mid_block", "resnets", _, ..] => {
                format!("middle_block.{}.{}", 2 * number(2), of_resnet(&rest(3)))
            }
            ["mid_block", "attentions", _, ..] => format!("middle_block.1.{}", rest(3)),
            ["up_blocks", _, "upsamplers", _, "conv", leaf] => {
                let level = self.unet.widths.len() - 1 - number(1);
                let place = if self.unet.attention[level] { 2 } else { 1 };
                let block = (number(1) + 1) * per_level - 1;
                format!("output_blocks.{block}.{place}.conv.{leaf}")
            }
            ["up_blocks", _, kind, ..] => {
                let block = number(1) * per_level + number(3);
                format!("output_blocks.{block}.{}", inner(kind, &rest(4)))
            }
            _ => name.into(),
        }
    }

    fn of_autoencoder(&self, name: &str) -> String {
        let parts: Vec<&str> = name.split('.').collect();
        let number = |at: usize| parts[at].parse::<usize>().unwrap_or(0);
        let rest = |from: usize| {
            parts[from..]
                .join(".")
                .replace("conv_shortcut", "nin_shortcut")
        };
        match parts[..] {
            [side, "conv_norm_out", leaf] => format!("{side}.norm_out.{leaf}"),
            [side, "mid_block", "resnets", _, ..] => {
                format!("{side}.mid.block_{}.{}", number(3) + 1, rest(4))
            }
            [side, "mid_block", "attentions", _, ..] => {
                let leaf = rest(4);
                let leaf = match leaf.strip_prefix("to_out.0.") {
                    Some(leaf) => format!("proj_out.{leaf}"),
                    None => leaf.replace("group_norm.", "norm.").replace("to_", ""),
                };
                format!("{side}.mid.attn_1.{leaf}")
            }
            ["encoder", "down_blocks", level, "resnets", block, ..] => {
                format!("encoder.down.{level}.block.{block}.{}", rest(5))
            }
            ["encoder", "down_blocks", level, "downsamplers", _, ..] => {
                format!("encoder.down.{level}.downsample.{}", rest(5))
            }
            ["decoder", "up_blocks", _, "resnets", block, ..] => {
                let level = self.levels - 1 - number(2);
                format!("decoder.up.{level}.block.{block}.{}", rest(5))
            }
            ["decoder", "up_blocks", _, "upsamplers", _, ..] => {
                let level = self.levels - 1 - number(2);
                format!("decoder.up.{level}.upsample.{}", rest(5))
            }
            _ => name.into(),
        }
    }
}

/// A residual block comes first in its block, attention second.
fn inner(kind: &str, rest: &str) -> String {
    match kind {
        "resnets" => format!("0.{}", of_resnet(rest)),
        _ => format!("1.{rest}"),
    }
}

fn of_resnet(name: &str) -> String {
    let names = [
        ("norm1", "in_layers.0"),
        ("conv1", "in_layers.2"),
        ("norm2", "out_layers.0"),
        ("conv2", "out_layers.3"),
        ("time_emb_proj", "emb_layers.1"),
        ("conv_shortcut", "skip_connection"),
    ];
    let found = names.iter().find(|(ours, _)| name.starts_with(ours));
    found.map_or(name.into(), |(ours, theirs)| name.replace(ours, theirs))
}

/// The attention of the autoencoder projects by linear layers in folders and by 1x1 convolutions in single files.
fn is_projection(name: &str) -> bool {
    name.contains(".attentions.") && name.contains(".to_") && name.ends_with(".weight")
}

fn with_shape<'a>(
    view: &TensorView<'a>,
    shape: impl FnOnce(&[usize]) -> Vec<usize>,
) -> TensorView<'a> {
    let reshaped = TensorView::new(view.dtype(), shape(view.shape()), view.data());
    reshaped.expect("as many values as before")
}
