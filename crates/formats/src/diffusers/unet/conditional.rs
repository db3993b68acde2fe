//! diffusers' `UNet2DConditionModel`: a U-Net that attends to text.

use crate::FormatError;
use crate::fields::Fields;
use fewstep_diffusion::{SamplerRecipe, TimeIds};
use fewstep_nn::{Modulation, TextAttention, TextTime, UNetConfig, WEmbedding};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) const CLASS: &str = "UNet2DConditionModel";

/// A number for all levels, or one for each.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a whole number, or a list with one for each level"
)]
enum PerLevel {
    All(usize),
    Each(Vec<usize>),
}

impl PerLevel {
    fn of(self, levels: usize) -> Vec<usize> {
        match self {
            Self::All(value) => vec![value; levels],
            Self::Each(values) => values,
        }
    }
}

/// A U-Net's configuration, and the side of its latents.
pub(crate) struct UNetFile {
    pub(crate) network: UNetConfig,
    pub(crate) sample_size: usize,
}

/// Reads the configuration.
pub(crate) fn read(mut fields: Fields) -> Result<UNetFile, FormatError> {
    fields.only(&[
        ("_class_name", json!(CLASS)),
        ("act_fn", json!("silu")),
        ("attention_type", json!("default")),
        ("center_input_sample", json!(false)),
        ("class_embeddings_concat", json!(false)),
        ("conv_in_kernel", json!(3)),
        ("conv_out_kernel", json!(3)),
        ("downsample_padding", json!(1)),
        ("dual_cross_attention", json!(false)),
        ("flip_sin_to_cos", json!(true)),
        ("freq_shift", json!(0)),
        ("mid_block_only_cross_attention", json!(false)),
        ("mid_block_scale_factor", json!(1)),
        ("mid_block_type", json!("UNetMidBlock2DCrossAttn")),
        ("norm_eps", json!(1e-5)),
        ("only_cross_attention", json!(false)),
        ("resnet_out_scale_factor", json!(1)),
        ("resnet_skip_time_act", json!(false)),
        ("resnet_time_scale_shift", json!("default")),
        ("time_embedding_type", json!("positional")),
    ])?;
    // Precision of attention in diffusers; the size of embeddings of a kind that is not supported.
    fields.ignore(&["upcast_attention", "addition_embed_type_num_heads"]);
    let widths: Vec<usize> = fields.or("block_out_channels", vec![320, 640, 1280, 1280])?;
    let levels = widths.len();
    let first = widths.first().copied().unwrap_or_default();
    fields.only(&[("time_embedding_dim", json!(4 * first))])?;
    let heads: PerLevel = fields.or("attention_head_dim", PerLevel::All(8))?;
    // diffusers reads `attention_head_dim` as the number of heads, unless that is given too.
    let heads = fields.or("num_attention_heads", heads)?.of(levels);
    let depths: PerLevel = fields.or("transformer_layers_per_block", PerLevel::All(1))?;
    let depths = depths.of(levels);
    let text_time = text_time(&mut fields)?;
    let channels = fields.or("out_channels", 4)?;
    let sees: usize = fields.or("in_channels", 4)?;
    let Some(concat) = sees.checked_sub(channels) else {
        return Err(fields.bad(format!(
            "the network sees {sees} channels (`in_channels`) and gives {channels} (`out_channels`): it must see those that it gives"
        )));
    };
    if ![0, channels, channels + 1].contains(&concat) {
        return Err(fields.bad(format!(
            "the network sees {sees} channels (`in_channels`) and gives {channels} (`out_channels`): this version supports {channels}, {} with a source image for editing by instruction, and {} with a mask and what is around it for inpainting",
            2 * channels,
            2 * channels + 1
        )));
    }
    let scale = fields.or("time_cond_proj_scale", 1000.0)?;
    let w: Option<usize> = fields.optional("time_cond_proj_dim")?;
    // Null is a network without a middle, as distilled ones of fewer blocks are.
    let middle = !fields.says_null("mid_block_type");
    fields.not_null("norm_num_groups")?;
    let network = UNetConfig {
        channels,
        concat,
        patch: 1,
        blocks: fields.or("layers_per_block", 2)?,
        middle,
        attention: attention(&mut fields, levels)?,
        heads,
        text: Some(TextAttention {
            width: fields.or("cross_attention_dim", 1280)?,
            linear: fields.or("use_linear_projection", false)?,
        }),
        depths: match depths.iter().all(|depth| *depth == 1) {
            true => vec![],
            false => depths,
        },
        text_time,
        modulation: Modulation::Add,
        groups: fields.or("norm_num_groups", 32)?,
        dropout: fields.or("dropout", 0.0)?,
        classes: 0,
        w: w.map(|dim| WEmbedding { dim, scale }),
        widths,
        ..UNetConfig::default()
    };
    let sample_size = fields.or("sample_size", 64)?;
    network
        .validate()
        .map_err(|error| fields.bad(error.to_string()))?;
    fields.finish()?;
    Ok(UNetFile {
        network,
        sample_size,
    })
}

/// The embedding of SDXL's pooled prompts and time ids.
fn text_time(fields: &mut Fields) -> Result<Option<TextTime>, FormatError> {
    let kind: Option<String> = fields.optional("addition_embed_type")?;
    let dim: Option<usize> = fields.optional("addition_time_embed_dim")?;
    let inputs: Option<usize> = fields.optional("projection_class_embeddings_input_dim")?;
    match (kind.as_deref(), dim, inputs) {
        (None, _, _) => Ok(None),
        (Some("text_time"), Some(dim), Some(inputs)) => {
            let ids = dim.checked_mul(TimeIds::COUNT);
            match ids.and_then(|ids| inputs.checked_sub(ids)) {
                Some(pooled) if pooled > 0 => Ok(Some(TextTime { pooled, dim })),
                _ => Err(fields.bad(format!(
                    "`projection_class_embeddings_input_dim` is {inputs}: it must be larger than {} time ids of `addition_time_embed_dim` = {dim} features",
                    TimeIds::COUNT
                ))),
            }
        }
        (Some("text_time"), _, _) => Err(fields.bad(
            "`addition_embed_type` \"text_time\" needs `addition_time_embed_dim` and `projection_class_embeddings_input_dim`".into(),
        )),
        (Some(kind), _, _) => Err(fields.bad(format!(
            "field `addition_embed_type` is \"{kind}\", and this version supports only \"text_time\""
        ))),
    }
}

/// Which levels have attention. The up path must be the down path reversed.
fn attention(fields: &mut Fields, levels: usize) -> Result<Vec<bool>, FormatError> {
    let default = |with: &str, without: &str| -> Vec<String> {
        let name = |level: usize| if level + 1 < levels { with } else { without };
        (0..levels).map(|level| name(level).to_string()).collect()
    };
    let down = fields.or(
        "down_block_types",
        default("CrossAttnDownBlock2D", "DownBlock2D"),
    )?;
    let mut up_default = default("CrossAttnUpBlock2D", "UpBlock2D");
    up_default.reverse();
    let up = fields.or("up_block_types", up_default)?;
    if down.len() != levels || up.len() != levels {
        return Err(fields.bad(format!(
            "`block_out_channels` has {levels} entries, `down_block_types` {} and `up_block_types` {}: one of each is needed for every level",
            down.len(),
            up.len()
        )));
    }
    let kind = |name: &str, with: &str, without: &str| match name {
        name if name == with => Ok(true),
        name if name == without => Ok(false),
        _ => Err(fields.bad(format!(
            "block `{name}` is not supported: only `{with}` and `{without}` are"
        ))),
    };
    let attention: Vec<bool> = down
        .iter()
        .map(|name| kind(name, "CrossAttnDownBlock2D", "DownBlock2D"))
        .collect::<Result<_, _>>()?;
    for (level, name) in up.iter().rev().enumerate() {
        if kind(name, "CrossAttnUpBlock2D", "UpBlock2D")? != attention[level] {
            return Err(fields.bad(format!(
                "`up_block_types` has `{name}` where `down_block_types` has `{}`: attention must be at the same levels",
                down[level]
            )));
        }
    }
    Ok(attention)
}

/// Writes the configuration.
pub(super) fn write(network: &UNetConfig, text: TextAttention, recipe: &SamplerRecipe) -> Value {
    let blocks = |with: &str, without: &str| -> Vec<String> {
        let name = |&attention: &bool| if attention { with } else { without }.to_string();
        network.attention.iter().map(name).collect()
    };
    let mut up_blocks = blocks("CrossAttnUpBlock2D", "UpBlock2D");
    up_blocks.reverse();
    let mut config = json!({
        "_class_name": CLASS,
        "sample_size": recipe.resolution[1],
        "in_channels": network.channels + network.concat,
        "out_channels": network.channels,
        "block_out_channels": network.widths,
        "layers_per_block": network.blocks,
        "down_block_types": blocks("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": up_blocks,
        // diffusers uses this name for the number of heads.
        "attention_head_dim": (0..network.widths.len()).map(|level| network.heads_of(level)).collect::<Vec<_>>(),
        "norm_num_groups": network.groups,
        "cross_attention_dim": text.width,
        "use_linear_projection": text.linear,
        "dropout": network.dropout,
    });
    if !network.middle {
        config["mid_block_type"] = Value::Null;
    }
    if !network.depths.is_empty() {
        config["transformer_layers_per_block"] = json!(network.depths);
    }
    if let Some(text_time) = network.text_time {
        config["addition_embed_type"] = json!("text_time");
        config["addition_time_embed_dim"] = json!(text_time.dim);
        config["projection_class_embeddings_input_dim"] = json!(text_time.inputs());
    }
    config
}
