//! diffusers' `UNet2DModel`: a U-Net on pixels.

use crate::FormatError;
use crate::fields::Fields;
use fewstep_diffusion::SamplerRecipe;
use fewstep_nn::{Modulation, Resampling, Sinusoid, UNetConfig};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) const CLASS: &str = "UNet2DModel";

/// One side of square images, or height and width.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a side in pixels, or a list of height and width"
)]
enum Size {
    Side(usize),
    Sides([usize; 2]),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum TimeScaleShift {
    Default,
    ScaleShift,
}

/// How a level changes resolution.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    Conv,
    Resnet,
}

/// Reads the configuration: the network, and height and width of its images.
pub(crate) fn read(mut fields: Fields) -> Result<(UNetConfig, [usize; 2]), FormatError> {
    let channels: usize = fields.or("out_channels", 3)?;
    // Learned variances are more channels out, conditions more channels in.
    fields.only(&[
        ("in_channels", json!(channels)),
        ("center_input_sample", json!(false)),
        ("class_embed_type", json!(null)),
        ("mid_block_scale_factor", json!(1)),
        ("mid_block_type", json!("UNetMidBlock2D")),
        ("time_embedding_type", json!("positional")),
    ])?;
    let activation: String = fields.or("act_fn", "silu".into())?;
    if !["silu", "swish"].contains(&activation.as_str()) {
        return Err(fields.bad(format!(
            "field `act_fn` is `{activation}`, and this version supports only `silu`"
        )));
    }
    // Of embeddings of time that are refused above.
    fields.ignore(&["num_train_timesteps"]);
    let widths: Vec<usize> = fields.needed("block_out_channels")?;
    let levels = widths.len();
    let first = widths.first().copied().unwrap_or_default();
    fields.only(&[("time_embedding_dim", json!(4 * first))])?;
    let (attention, change) = blocks(&mut fields, levels)?;
    let padding: usize = fields.or("downsample_padding", 1)?;
    let resampling = match (change, padding) {
        (Change::Resnet, _) => Resampling::Block,
        (Change::Conv, 1) => Resampling::Conv,
        (Change::Conv, 0) => Resampling::Corner,
        _ => {
            return Err(fields.bad(format!(
                "field `downsample_padding` is {padding}, and this version supports 0 and 1"
            )));
        }
    };
    let groups: usize = fields.or("norm_num_groups", 32)?;
    let modulation = match fields.or("resnet_time_scale_shift", TimeScaleShift::Default)? {
        TimeScaleShift::Default => Modulation::Add,
        TimeScaleShift::ScaleShift => Modulation::Film,
    };
    let middle_attention = fields.or("add_attention", true)?;
    let normalised = fields.optional::<usize>("attn_norm_num_groups")?;
    match (normalised, modulation) {
        (Some(given), _) if given == groups => {}
        (None, Modulation::Add) => {}
        _ if !middle_attention => {}
        (given, _) => {
            let given = given.map_or("not given".into(), |given| format!("{given}"));
            return Err(fields.bad(format!(
                "field `attn_norm_num_groups` is {given}: this version supports attention in the middle with as many groups as elsewhere, {groups}"
            )));
        }
    }
    // Null is one head over all channels; without the field, diffusers has heads of 8.
    let one_head = fields.says_null("attention_head_dim");
    let middle = !fields.says_null("mid_block_type");
    fields.not_null("norm_num_groups")?;
    let network = UNetConfig {
        channels,
        blocks: fields.or("layers_per_block", 2)?,
        middle,
        attention,
        head: fields.or("attention_head_dim", 8)?,
        heads: if one_head { vec![1; levels] } else { vec![] },
        middle_attention,
        sinusoid: Sinusoid {
            sine_first: !fields.or("flip_sin_to_cos", true)?,
            shift: fields.or("freq_shift", 0)?,
        },
        modulation,
        groups,
        epsilon: fields.or("norm_eps", 1e-5)?,
        resampling,
        dropout: fields.or("dropout", 0.0)?,
        classes: fields.or("num_class_embeds", 0)?,
        null_class: false,
        widths,
        ..UNetConfig::default()
    };
    let size = match fields.needed("sample_size")? {
        Size::Side(side) => [side, side],
        Size::Sides(sides) => sides,
    };
    network
        .validate()
        .and_then(|()| network.validate_size(size[0], size[1]))
        .map_err(|error| fields.bad(error.to_string()))?;
    fields.finish()?;
    Ok((network, size))
}

/// Which levels have attention, and how all of them change resolution. The up path must be the down
/// path reversed.
fn blocks(fields: &mut Fields, levels: usize) -> Result<(Vec<bool>, Change), FormatError> {
    let down: Vec<String> = fields.needed("down_block_types")?;
    let mut up: Vec<String> = fields.needed("up_block_types")?;
    up.reverse();
    if down.len() != levels || up.len() != levels || levels == 0 {
        return Err(fields.bad(format!(
            "`block_out_channels` has {levels} entries, `down_block_types` {} and `up_block_types` {}: one of each is needed for every level",
            down.len(),
            up.len()
        )));
    }
    let attended = [
        fields.or("downsample_type", Change::Conv)?,
        fields.or("upsample_type", Change::Conv)?,
    ];
    let kind = |name: &str, known: [&str; 3], attended: Change| match name {
        name if name == known[0] => Ok((false, Change::Conv)),
        name if name == known[1] => Ok((false, Change::Resnet)),
        name if name == known[2] => Ok((true, attended)),
        _ => Err(fields.bad(format!(
            "block `{name}` is not supported: only {} are",
            known.map(|name| format!("`{name}`")).join(", ")
        ))),
    };
    let (mut attention, mut changes) = (vec![], vec![]);
    for level in 0..levels {
        let names = ["DownBlock2D", "ResnetDownsampleBlock2D", "AttnDownBlock2D"];
        let (attends, halves) = kind(&down[level], names, attended[0])?;
        let names = ["UpBlock2D", "ResnetUpsampleBlock2D", "AttnUpBlock2D"];
        let (attends_too, doubles) = kind(&up[level], names, attended[1])?;
        if attends != attends_too {
            return Err(fields.bad(format!(
                "`up_block_types` has `{}` where `down_block_types` has `{}`: attention must be at the same levels",
                up[level], down[level]
            )));
        }
        attention.push(attends);
        // The first level has no resolution above it, and the last none below.
        changes.extend((level + 1 < levels).then_some(halves));
        changes.extend((level > 0).then_some(doubles));
    }
    let change = changes.first().copied().unwrap_or(Change::Conv);
    match changes.iter().all(|other| *other == change) {
        true => Ok((attention, change)),
        false => Err(fields.bad(
            "resolution changes by convolutions in some blocks and by residual blocks in others: this version supports one for all".into(),
        )),
    }
}

/// Writes the configuration.
pub(super) fn write(network: &UNetConfig, recipe: &SamplerRecipe) -> Value {
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
        "_class_name": CLASS,
        "sample_size": [recipe.resolution[1], recipe.resolution[2]],
        "in_channels": network.channels,
        "out_channels": network.channels,
        "block_out_channels": network.widths,
        "layers_per_block": network.blocks,
        "down_block_types": blocks("AttnDownBlock2D", down),
        "up_block_types": up_blocks,
        // Null is one head over all channels, as in other tools' networks with `heads`.
        "attention_head_dim": network.heads.is_empty().then_some(network.head),
        "norm_num_groups": network.groups,
        // Without it diffusers omits the normalisation of the middle's attention.
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
    if !network.middle {
        config["mid_block_type"] = Value::Null;
    }
    if network.patch > 1 {
        config["patch_size"] = json!(network.patch);
    }
    config
}
