//! Texts to the states that a U-Net attends to: a text encoder with its tokenizer, two of them, or
//! a table of classes.

mod bert;
mod classes;
mod clip;
mod facts;
mod two;
mod write;

use crate::FormatError;
use crate::fields::Fields;
use crate::tokenizers::{ClipTokenizer, Tokens, WordPiece};
use burn::module::Module;
use burn::tensor::Device;
pub use classes::Classes;
pub(crate) use classes::names as class_names;
pub use facts::TextFacts;
use fewstep_diffusion::TextEmbeds;
use fewstep_nn::{Bert, ClipText};
use std::path::Path;
pub use two::TwoClips;

/// A text encoder with its tokenizer.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a program has a handful of these"
)]
pub enum TextEncoder {
    /// That of Stable Diffusion.
    Clip(ClipTokenizer, ClipText),
    /// The two of SDXL.
    Two(TwoClips),
    /// A BERT, such as a small sentence encoder.
    Bert(WordPiece, Bert),
    /// Classes, whose names are the texts.
    Classes(Classes),
}

/// What a `TextEncoder` is read from: the kinds of encoder and of tokenizer that `model_index.json`
/// may name.
pub(crate) const ENCODERS: [&str; 2] = ["CLIPTextModel", "BertModel"];
pub(crate) const SECOND_ENCODER: &str = "CLIPTextModelWithProjection";
pub(crate) const CLIP_TOKENIZERS: [&str; 2] = ["CLIPTokenizer", "CLIPTokenizerFast"];
pub(crate) const TOKENIZERS: [&str; 4] = [
    "CLIPTokenizer",
    "CLIPTokenizerFast",
    "BertTokenizer",
    "BertTokenizerFast",
];

impl TextEncoder {
    /// Reads the folders of an encoder and of its tokenizer, which may be one and the same.
    /// `length` is how many tokens a text has, where that is to be fewer than the tokenizer says.
    ///
    /// # Errors
    /// When a part is missing or damaged, is of a kind that is not supported, or the two do not fit
    /// together.
    pub fn load(
        encoder: &Path,
        tokenizer: &Path,
        length: Option<usize>,
        device: &Device,
    ) -> Result<Self, FormatError> {
        let config = encoder.join("config.json");
        let mut fields = Fields::read(&config)?;
        let read = match kind(&mut fields)? {
            Kind::Clip => {
                let network = clip::load(encoder, device)?;
                let positions = network.config().positions;
                let length = length.unwrap_or(positions).min(positions);
                Self::Clip(ClipTokenizer::load(tokenizer, length)?, network)
            }
            Kind::Bert => {
                let network = bert::load(encoder, device)?;
                let most = length.unwrap_or(usize::MAX).min(network.config().positions);
                Self::Bert(WordPiece::load(tokenizer, most)?, network)
            }
        };
        let (words, known) = match &read {
            Self::Clip(tokenizer, network) => (tokenizer.vocabulary(), network.config().vocabulary),
            Self::Bert(tokenizer, network) => (tokenizer.vocabulary(), network.config().vocabulary),
            Self::Two(_) | Self::Classes(_) => return Ok(read),
        };
        match words > known {
            true => Err(fields.bad(format!(
                "the tokenizer has {words} tokens, and the text encoder knows {known}"
            ))),
            false => Ok(read),
        }
    }

    /// Reads the two text encoders in the folder of a model; `zero_empty` says whether the
    /// embeddings of the empty negative prompt are zeros.
    ///
    /// # Errors
    /// As [`TextEncoder::load`].
    pub(crate) fn load_two(
        folder: &Path,
        zero_empty: bool,
        device: &Device,
    ) -> Result<Self, FormatError> {
        TwoClips::load(folder, zero_empty, device).map(Self::Two)
    }

    /// Reads the folder of a table of classes.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub(crate) fn load_classes(folder: &Path, device: &Device) -> Result<Self, FormatError> {
        Classes::load(folder, device).map(Self::Classes)
    }

    /// The classes that it takes instead of texts; none where it takes texts.
    pub fn classes(&self) -> &[String] {
        match self {
            Self::Clip(..) | Self::Two(_) | Self::Bert(..) => &[],
            Self::Classes(classes) => classes.names(),
        }
    }

    /// The embeddings of the negative prompt where it is empty, if they are not those of the empty
    /// text: zeros, for SDXL.
    pub fn zero_empty(&self) -> bool {
        matches!(self, Self::Two(two) if two.zero_empty())
    }

    /// Whether so many of the last layers can be skipped.
    ///
    /// # Errors
    /// When there are fewer; other encoders than CLIP take 0 only.
    pub fn check_clip_skip(&self, clip_skip: usize) -> Result<(), String> {
        check_clip_skip(clip_skip, self.most_skipped())
    }

    /// How many layers can be skipped at most: down to the embeddings of the tokens. 0 for encoders
    /// that are not CLIP.
    pub fn most_skipped(&self) -> usize {
        match self {
            Self::Clip(_, network) => network.config().layers,
            Self::Two(two) => {
                let layers = two.networks().map(|network| network.config().layers);
                layers.into_iter().min().unwrap_or(0).saturating_sub(1)
            }
            Self::Bert(..) | Self::Classes(_) => 0,
        }
    }

    /// The embeddings of texts, and what was cut off those that were too long. `clip_skip` is how many
    /// of the last layers are skipped, at most [`most_skipped`](Self::most_skipped).
    ///
    /// # Shapes
    /// - states: `[texts, length, width]`
    /// - pooled: `[texts, pooled]`
    pub fn encode(&self, texts: &[String], clip_skip: usize) -> (TextEmbeds, Vec<Option<String>>) {
        let tokens: Vec<Tokens> = texts.iter().map(|text| self.tokens(text)).collect();
        let numbers: Vec<Vec<u32>> = tokens.iter().map(|t| t.numbers.clone()).collect();
        let embeds = match self {
            Self::Clip(_, network) => network.forward(&numbers, clip_skip).into(),
            Self::Two(two) => two.forward(texts, &numbers, clip_skip),
            Self::Bert(_, network) => network.forward(&numbers).into(),
            Self::Classes(classes) => classes.forward(&numbers).into(),
        };
        (
            embeds,
            tokens.into_iter().map(|tokens| tokens.cut).collect(),
        )
    }

    /// A text as tokens.
    pub fn tokens(&self, text: &str) -> Tokens {
        match self {
            Self::Clip(tokenizer, _) => tokenizer.encode(text),
            Self::Two(two) => two.tokens(text),
            Self::Bert(tokenizer, _) => tokenizer.encode(text),
            Self::Classes(classes) => classes.encode(text),
        }
    }

    /// Features of a state.
    pub fn width(&self) -> usize {
        match self {
            Self::Clip(_, network) => network.config().width,
            Self::Two(two) => two.width(),
            Self::Bert(_, network) => network.config().width,
            Self::Classes(classes) => classes.width(),
        }
    }

    /// Features of a pooled embedding; 0 for an encoder that gives none.
    pub fn pooled(&self) -> usize {
        match self {
            Self::Two(two) => two.pooled(),
            Self::Clip(..) | Self::Bert(..) | Self::Classes(_) => 0,
        }
    }

    /// Tokens of a text, padding included.
    pub fn length(&self) -> usize {
        match self {
            Self::Clip(tokenizer, _) => tokenizer.length(),
            Self::Two(two) => two.length(),
            Self::Bert(tokenizer, _) => tokenizer.length(),
            Self::Classes(_) => 1,
        }
    }

    /// How many tokens it knows without those that were added, which only its own tokenizer knows; none
    /// if there are none.
    pub fn vocabulary_without_added(&self) -> Option<usize> {
        match self {
            Self::Clip(tokenizer, _) => tokenizer.vocabulary_without_added(),
            Self::Two(two) => two.vocabulary_without_added(),
            Self::Bert(..) | Self::Classes(_) => None,
        }
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        match self {
            Self::Clip(_, network) => network.num_params(),
            Self::Two(two) => two.parameters(),
            Self::Bert(_, network) => network.num_params(),
            Self::Classes(classes) => classes.table().num_params(),
        }
    }
}

/// Whether so many layers can be skipped where it can be `most`.
///
/// # Errors
/// When not.
pub fn check_clip_skip(clip_skip: usize, most: usize) -> Result<(), String> {
    match (clip_skip, most) {
        (1.., 0) => Err(format!(
            "`clip_skip` is {clip_skip}, and this model has no CLIP text encoder whose layers could be skipped"
        )),
        _ if clip_skip > most => Err(format!(
            "`clip_skip` is {clip_skip}, and at most {most} layers of this model's text encoder can be skipped"
        )),
        _ => Ok(()),
    }
}

/// What an encoder is.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Clip,
    Bert,
}

impl Kind {
    /// The names of encoder and tokenizer in transformers.
    pub(crate) fn classes(self) -> [&'static str; 2] {
        match self {
            Self::Clip => ["CLIPTextModel", "CLIPTokenizer"],
            Self::Bert => ["BertModel", "BertTokenizer"],
        }
    }
}

/// What the configuration of an encoder says that it is.
pub(crate) fn kind(fields: &mut Fields) -> Result<Kind, FormatError> {
    let said: String = fields.or("model_type", String::new())?;
    match said.as_str() {
        "clip_text_model" => Ok(Kind::Clip),
        "bert" => Ok(Kind::Bert),
        _ => Err(fields.bad(format!(
            "field `model_type` is `{said}`, and this version supports text encoders of type `clip_text_model` and `bert`"
        ))),
    }
}
