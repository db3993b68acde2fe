//! From the names of diffusers and transformers to those of the first latent diffusion code, and
//! back.

use super::UNET_PREFIX;
use crate::FormatError;
use crate::diffusers::part::Part;
use crate::diffusers::text_encoder::TextEncoder;
use crate::pipeline::Pipeline;
use fewstep_nn::{ClipActivation, UNetConfig, Vae};
use std::path::Path;

/// The names of a U-Net's tensors.
pub(crate) struct UNetNames<'a>(&'a UNetConfig);

/// The names of all tensors of one model.
pub(super) struct Names<'a> {
    unet: UNetNames<'a>,
    /// Levels of the autoencoder.
    levels: usize,
    conditioner: Conditioner,
}

/// What conditions the U-Net.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Conditioner {
    /// The text encoder of Stable Diffusion 1.
    Clip,
    /// That of Stable Diffusion 2.
    OpenClip,
    /// Both kinds, for SDXL.
    Both,
    /// A table of classes.
    Classes,
}

/// Where a tensor of a folder is in a single file.
#[derive(Debug, Default)]
pub(super) struct Location {
    pub(super) name: String,
    /// Which third of the rows it is, where queries, keys and values are one tensor.
    pub(super) qkv_chunk: Option<usize>,
    /// Whether the linear layer is a 1x1 convolution there.
    pub(super) convolution: bool,
    /// Whether rows are columns there.
    pub(super) transposed: bool,
}

impl<'a> UNetNames<'a> {
    /// # Errors
    /// When the U-Net has no form under these names; `origin` is what to call it.
    pub(super) fn new(unet: &'a UNetConfig, origin: &Path) -> Result<Self, FormatError> {
        if unet.w.is_some() {
            return Err(FormatError::InputForW {
                origin: origin.display().to_string(),
            });
        }
        if unet.controlnet.is_some() {
            return Err(no_form(
                origin,
                "it has a ControlNet, which has no place in single files: use a folder",
            ));
        }
        match unet.text.is_none() || unet.classes > 0 {
            true => Err(no_form(
                origin,
                "single files hold U-Nets that attend to text, and this one does not: use a folder",
            )),
            false => Ok(Self::of_layers(unet)),
        }
    }

    /// The names of the layers of any U-Net, such as one with LoRA and an input for w.
    pub(crate) fn of_layers(unet: &'a UNetConfig) -> Self {
        Self(unet)
    }

    /// The name without the prefix that it has in a file of the whole model.
    pub(crate) fn of(&self, name: &str) -> String {
        let per_level = self.0.blocks + 1;
        let parts: Vec<&str> = name.split('.').collect();
        let number = |at: usize| parts[at].parse::<usize>().unwrap_or(0);
        let rest = |from: usize| parts[from..].join(".");
        match parts[..] {
            ["time_embedding", "linear_1", leaf] => format!("time_embed.0.{leaf}"),
            ["time_embedding", "linear_2", leaf] => format!("time_embed.2.{leaf}"),
            ["add_embedding", "linear_1", leaf] => format!("label_emb.0.0.{leaf}"),
            ["add_embedding", "linear_2", leaf] => format!("label_emb.0.2.{leaf}"),
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
                let level = self.0.widths.len() - 1 - number(1);
                let place = if self.0.attention[level] { 2 } else { 1 };
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
}

impl<'a> Names<'a> {
    /// # Errors
    /// When a part has no form in a single file.
    pub(super) fn new(pipeline: &Pipeline, unet: &'a UNetConfig) -> Result<Self, FormatError> {
        let origin = pipeline.folder();
        let conditioner = match &pipeline.text_encoder {
            TextEncoder::Classes(_) => Conditioner::Classes,
            TextEncoder::Clip(_, network) => match network.config().activation {
                ClipActivation::Gelu => Conditioner::OpenClip,
                ClipActivation::QuickGelu => Conditioner::Clip,
            },
            TextEncoder::Two(_) => Conditioner::Both,
            TextEncoder::Bert(..) => {
                return Err(no_form(
                    origin,
                    "single files hold a CLIP, and its text encoder is a BERT: use a folder",
                ));
            }
        };
        Self::with(conditioner, unet, &pipeline.vae, origin)
    }

    /// The names of a model with a table of classes.
    ///
    /// # Errors
    /// As [`Names::new`].
    pub(super) fn of_classes(
        unet: &'a UNetConfig,
        vae: &Vae,
        origin: &Path,
    ) -> Result<Self, FormatError> {
        Self::with(Conditioner::Classes, unet, vae, origin)
    }

    fn with(
        conditioner: Conditioner,
        unet: &'a UNetConfig,
        vae: &Vae,
        origin: &Path,
    ) -> Result<Self, FormatError> {
        let unet = UNetNames::new(unet, origin)?;
        let widths = match vae {
            Vae::Kl(network, _) => &network.config().widths,
            Vae::Vq(network, _) => &network.config().layers.widths,
            Vae::Tiny(..) => {
                return Err(no_form(
                    origin,
                    "a tiny autoencoder has no place in a single file: use a folder",
                ));
            }
        };
        Ok(Self {
            unet,
            levels: widths.len(),
            conditioner,
        })
    }

    /// The parts that a single file holds.
    pub(super) fn parts(&self) -> &'static [Part] {
        match self.conditioner {
            Conditioner::Clip | Conditioner::OpenClip => Part::WITH_TEXT,
            Conditioner::Both => Part::WITH_TWO_TEXTS,
            Conditioner::Classes => &[Part::UNet, Part::Autoencoder, Part::ClassEmbedder],
        }
    }

    /// Where a tensor is in the single file; `None` for what is no weight.
    pub(super) fn locate(&self, part: Part, name: &str) -> Option<Location> {
        let name = part.current_name(name)?;
        Some(match part {
            Part::UNet => Location {
                name: format!("{UNET_PREFIX}{}", self.unet.of(&name)),
                ..Location::default()
            },
            Part::TextEncoder if self.conditioner == Conditioner::OpenClip => {
                of_open_clip("cond_stage_model.model.", &name)
            }
            Part::TextEncoder2 => of_open_clip("conditioner.embedders.1.model.", &name),
            Part::TextEncoder if self.conditioner == Conditioner::Both => Location {
                name: format!("conditioner.embedders.0.transformer.text_model.{name}"),
                ..Location::default()
            },
            Part::ClassEmbedder => Location {
                name: format!("cond_stage_model.{name}"),
                ..Location::default()
            },
            Part::TextEncoder => Location {
                name: format!("cond_stage_model.transformer.text_model.{name}"),
                ..Location::default()
            },
            Part::Autoencoder => Location {
                name: format!("first_stage_model.{}", self.of_autoencoder(&name)),
                convolution: is_projection(&name),
                ..Location::default()
            },
        })
    }

    /// The names that files of other tools have for a tensor, that of [`locate`](Self::locate) first:
    /// a U-Net by itself has no prefix, or diffusers' names; text encoders of Stable Diffusion 1 and 2
    /// may be among the `embedders`, as those of SDXL are, and are without `text_model` in old files.
    pub(super) fn known_names(&self, part: Part, name: &str, location: &Location) -> Vec<String> {
        let single = &location.name;
        let mut names = vec![single.clone()];
        if part == Part::UNet {
            names.extend(single.strip_prefix(UNET_PREFIX).map(String::from));
            names.extend(part.current_name(name));
        } else if let Some(rest) = single.strip_prefix("cond_stage_model.")
            && part != Part::ClassEmbedder
        {
            names.push(format!("conditioner.embedders.0.{rest}"));
            names.push(single.replace("transformer.text_model.", "transformer."));
        }
        names
    }

    /// How the names of all tensors of a part begin. A file with any of them has that part, even where
    /// none of its names is known.
    pub(super) fn beginnings(part: Part) -> &'static [&'static str] {
        match part {
            Part::UNet => &[UNET_PREFIX],
            Part::Autoencoder => &["first_stage_model."],
            Part::TextEncoder | Part::ClassEmbedder => {
                &["cond_stage_model.", "conditioner.embedders.0."]
            }
            Part::TextEncoder2 => &["conditioner.embedders.1."],
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

fn no_form(origin: &Path, reason: &str) -> FormatError {
    FormatError::BadDescription {
        origin: origin.display().to_string(),
        reason: reason.into(),
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

/// The attention of the autoencoder projects by linear layers in folders and by 1x1 convolutions in
/// single files.
fn is_projection(name: &str) -> bool {
    name.contains(".attentions.") && name.contains(".to_") && name.ends_with(".weight")
}

/// What the names of tensors in layers of OpenCLIP start with, before the number of the layer.
pub(super) const OPEN_CLIP_LAYERS: &str = "cond_stage_model.model.transformer.resblocks.";

/// OpenCLIP has one projection for queries, keys and values. The last projection is a parameter of
/// its own and no layer.
fn of_open_clip(prefix: &str, name: &str) -> Location {
    let names = [
        (
            "embeddings.token_embedding.weight",
            "token_embedding.weight",
        ),
        (
            "embeddings.position_embedding.weight",
            "positional_embedding",
        ),
        ("final_layer_norm.", "ln_final."),
        ("text_projection.weight", "text_projection"),
        ("encoder.layers.", "transformer.resblocks."),
        (".layer_norm1.", ".ln_1."),
        (".layer_norm2.", ".ln_2."),
        (".mlp.fc1.", ".mlp.c_fc."),
        (".mlp.fc2.", ".mlp.c_proj."),
        (".self_attn.q_proj.", ".attn.in_proj_"),
        (".self_attn.k_proj.", ".attn.in_proj_"),
        (".self_attn.v_proj.", ".attn.in_proj_"),
        (".self_attn.", ".attn."),
    ];
    let chunks = [".q_proj.", ".k_proj.", ".v_proj."];
    let renamed = names.iter().fold(name.to_string(), |name, (ours, theirs)| {
        name.replace(ours, theirs)
    });
    Location {
        transposed: renamed == "text_projection",
        name: format!("{prefix}{renamed}"),
        qkv_chunk: chunks.iter().position(|part| name.contains(part)),
        convolution: false,
    }
}
