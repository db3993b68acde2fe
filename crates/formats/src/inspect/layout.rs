//! Which kind of model tensors belong to, by their names and shapes.

use super::{Tensor, add};
use crate::embeddings::{FIRST, MOST, SECOND};
use crate::single_file::marks;
use serde::Serialize;

/// How the tensors of a file are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// A whole latent diffusion model, under the names of the first latent diffusion code.
    SingleFile,
    /// Only the U-Net, under those names.
    UNet,
    /// One part of a folder of diffusers.
    DiffusersPart,
    /// A LoRA.
    Lora,
    /// A textual inversion.
    Embedding,
    /// Pickled weights, which are not looked into.
    Pickle,
    /// Something else.
    Other,
}

/// What the shapes of a U-Net say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UNetFacts {
    /// Channels of its input: those of the latents, and of what is next to them.
    pub input_channels: u64,
    /// Width of the prompt embeddings that it attends to.
    pub text_width: Option<u64>,
}

/// Prefixes of the first code, and the parts that they stand for.
const PREFIXES: [(&str, &str); 8] = [
    ("model.diffusion_model.", "U-Net"),
    ("first_stage_model.", "autoencoder"),
    ("cond_stage_model.", "text encoder"),
    ("conditioner.", "text encoders"),
    ("control_model.", "ControlNet"),
    ("model_ema.", "average of the U-Net"),
    (marks::VELOCITY, "U-Net"),
    (marks::ZERO_TERMINAL_SNR, "U-Net"),
];

fn part_of(name: &str) -> Option<&'static str> {
    let prefix = PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix));
    let by_prefix = prefix.map(|(_, part)| *part);
    by_prefix.or_else(|| {
        let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        Some(match () {
            () if is_lora(name) => "LoRA",
            () if starts(&[
                "input_blocks.",
                "middle_block.",
                "output_blocks.",
                "out.",
                "time_embed.",
                "label_emb.",
            ]) =>
            {
                "U-Net"
            }
            () if starts(&["text_model.", "embeddings."]) => "text encoder",
            () if starts(&["encoder.", "decoder.", "quant_conv.", "post_quant_conv."]) => {
                "autoencoder"
            }
            () if starts(&["controlnet_", "input_hint_block."]) => "ControlNet",
            () if starts(&[
                "down_blocks.",
                "mid_block.",
                "up_blocks.",
                "time_embedding.",
                "add_embedding.",
            ]) =>
            {
                "U-Net"
            }
            () => return None,
        })
    })
}

fn is_lora(name: &str) -> bool {
    name.starts_with("lora_") || name.contains(".lora_") || name.contains(".lora.")
}

/// Whether these are a few vectors: in one tensor, or in one for each text encoder of SDXL.
fn is_embedding(tensors: &[Tensor]) -> bool {
    let are_vectors = |tensor: &Tensor| match *tensor.shape {
        [_] => true,
        [count, _] => count <= MOST as u64,
        _ => false,
    };
    let of_encoders = [FIRST, SECOND].concat();
    let is_named = |tensor: &Tensor| of_encoders.contains(&&*tensor.name);
    let are_some = tensors.len() == 1 || tensors.len() == 2 && tensors.iter().all(is_named);
    are_some && tensors.iter().all(are_vectors)
}

pub(super) fn of(tensors: &[Tensor]) -> Layout {
    let any = |check: &dyn Fn(&str) -> bool| tensors.iter().any(|tensor| check(&tensor.name));
    match () {
        () if any(&is_lora) => Layout::Lora,
        () if any(&|name| name.starts_with("model.diffusion_model.")) => {
            match any(&|name| name.starts_with("first_stage_model.")) {
                true => Layout::SingleFile,
                false => Layout::UNet,
            }
        }
        () if any(&|name| name.starts_with("input_blocks.")) => Layout::UNet,
        () if any(&|name| part_of(name).is_some()) => Layout::DiffusersPart,
        () if is_embedding(tensors) => Layout::Embedding,
        () => Layout::Other,
    }
}

/// The parts, in the order of their first mention, with their numbers of parameters.
pub(super) fn parts(tensors: &[Tensor]) -> Vec<(String, u64)> {
    let mut parts: Vec<(String, u64)> = vec![];
    // A diffusers' part has a few tensors of general names: they belong to the rest.
    let single = of(tensors) == Layout::DiffusersPart;
    let main = tensors.iter().find_map(|tensor| part_of(&tensor.name));
    for tensor in tensors {
        let part = match single {
            true => main,
            false => part_of(&tensor.name),
        };
        let part = part.unwrap_or("other");
        match parts.iter_mut().find(|(known, _)| known == part) {
            Some((_, count)) => add(count, tensor),
            None => parts.push((part.into(), tensor.parameters())),
        }
    }
    parts.sort_by_key(|(part, count)| (part == "other", std::cmp::Reverse(*count)));
    parts
}

pub(super) fn unet(tensors: &[Tensor]) -> Option<UNetFacts> {
    let bare = |tensor: &Tensor| {
        let name = &tensor.name;
        let bare = name.strip_prefix("model.diffusion_model.");
        bare.unwrap_or(name).to_string()
    };
    let first = tensors.iter().find(|tensor| {
        ["input_blocks.0.0.weight", "conv_in.weight"].contains(&bare(tensor).as_str())
    });
    let attends = tensors.iter().find(|tensor| {
        let name = bare(tensor);
        !is_lora(&name) && name.ends_with("attn2.to_k.weight")
    });
    Some(UNetFacts {
        input_channels: *first?.shape.get(1)?,
        text_width: attends.and_then(|tensor| tensor.shape.last().copied()),
    })
}
