//! The parts of a model that have weights.

use std::path::{Path, PathBuf};

/// A part of a model that has weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// `unet/`.
    UNet,
    /// `vae/`.
    Autoencoder,
    /// `text_encoder/`.
    TextEncoder,
    /// `text_encoder_2/`.
    TextEncoder2,
    /// `class_embedder/`.
    ClassEmbedder,
}

impl Part {
    /// Those of a model with a text encoder.
    pub(crate) const WITH_TEXT: &[Self] = &[Self::UNet, Self::Autoencoder, Self::TextEncoder];

    /// Those of a model with two text encoders.
    pub(crate) const WITH_TWO_TEXTS: &[Self] = &[
        Self::UNet,
        Self::Autoencoder,
        Self::TextEncoder,
        Self::TextEncoder2,
    ];

    /// The folder inside that of the model.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::UNet => "unet",
            Self::Autoencoder => "vae",
            Self::TextEncoder => "text_encoder",
            Self::TextEncoder2 => "text_encoder_2",
            Self::ClassEmbedder => "class_embedder",
        }
    }

    /// The file name of the weights without its ending.
    pub(super) fn stem(self) -> &'static str {
        match self {
            Self::UNet | Self::Autoencoder => "diffusion_pytorch_model",
            Self::TextEncoder | Self::TextEncoder2 | Self::ClassEmbedder => "model",
        }
    }

    /// Where the weights are when they are in one file.
    pub(crate) fn weights_file(self) -> PathBuf {
        Path::new(self.folder()).join(format!("{}.safetensors", self.stem()))
    }

    /// From a name in a file to the current one; `None` for what is no weight. Attention within an
    /// image has names of its own in old files; transformers before 5 has everything of a text
    /// encoder inside `text_model`, and stored the numbers of the positions. A first text encoder may
    /// have a projection, which only the second one of SDXL uses. A BERT has a pooler that is not
    /// used, and names that are not valid in Rust.
    pub(crate) fn current_name(self, name: &str) -> Option<String> {
        match self {
            Self::ClassEmbedder => Some(name.into()),
            Self::UNet | Self::Autoencoder => {
                let names = [
                    (".query.", ".to_q."),
                    (".key.", ".to_k."),
                    (".value.", ".to_v."),
                    (".proj_attn.", ".to_out.0."),
                ];
                let renamed = names.iter().find(|(old, _)| name.contains(old));
                Some(renamed.map_or(name.into(), |(old, new)| name.replace(old, new)))
            }
            Self::TextEncoder | Self::TextEncoder2 => {
                let name = name.strip_prefix("text_model.").unwrap_or(name);
                let unused = ["embeddings.position_ids", "pooler."]
                    .iter()
                    .any(|start| name.starts_with(start))
                    || self == Self::TextEncoder && name.starts_with("text_projection.");
                let ours = || {
                    name.replace(".attention.self.", ".attention.own.")
                        .replace(".LayerNorm.", ".layer_norm.")
                };
                (!unused).then(ours)
            }
        }
    }

    /// From a shape in a file to the current one: attention of an autoencoder was convolutions of one
    /// pixel in files that come from the first latent diffusion code.
    pub(super) fn current_shape(self, name: &str, shape: &[usize]) -> Option<[usize; 2]> {
        match (self, shape) {
            (Self::Autoencoder, &[outputs, inputs, 1, 1]) if name.contains(".attentions.") => {
                Some([outputs, inputs])
            }
            _ => None,
        }
    }
}
