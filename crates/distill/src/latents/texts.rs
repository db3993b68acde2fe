//! Texts to embeddings.

use super::TEXTS_TOGETHER;
use super::pass::values;
use burn::tensor::Device;
use fewstep_formats::TextEncoder;
use fewstep_kernels::device::Placement;

/// The embeddings of some texts, one after another.
pub(super) struct Embeds {
    pub(super) states: Vec<f32>,
    pub(super) pooled: Vec<f32>,
}

impl Embeds {
    /// Zeros for the first of `texts` texts.
    pub(super) fn clear_first(&mut self, texts: usize) {
        for values in [&mut self.states, &mut self.pooled] {
            let each = values.len() / texts.max(1);
            values[..each].fill(0.0);
        }
    }
}

/// Texts without so many of the last layers.
pub(super) fn encode_texts(
    encoder: &TextEncoder,
    (texts, skipped): (&[String], usize),
    device: &Device,
) -> Vec<Embeds> {
    Placement::of(device).map(texts.chunks(TEXTS_TOGETHER).collect(), |texts| {
        let embeds = encoder.encode(texts, skipped).0;
        Embeds {
            states: values(embeds.states),
            pooled: embeds.pooled.map(values).unwrap_or_default(),
        }
    })
}
