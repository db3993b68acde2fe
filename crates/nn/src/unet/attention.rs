//! The attention of a level of the U-Net.

use super::config::UNetConfig;
use super::transformer::Transformer;
use crate::layers::attention::AttentionBlock;
use crate::train::checkpointing::{BlockInputs, checkpointed};
use crate::train::cost::{Counter, Stage};
use crate::train::init::Init;
use crate::train::lora::Lora;
use burn::module::Module;
use burn::tensor::Tensor;

/// Within the image, or to text as well.
#[derive(Module, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a network has a handful of these"
)]
pub(crate) enum Attention {
    Own(AttentionBlock),
    Text(Transformer),
}

impl Attention {
    pub(crate) fn new(init: &mut Init, config: &UNetConfig, level: usize) -> Self {
        let (width, heads) = (config.widths[level], config.heads_of(level));
        match config.text {
            Some(text) => {
                let depth = config.depth_of(level);
                Self::Text(Transformer::new(
                    init,
                    config.groups,
                    [width, heads, depth],
                    text,
                ))
            }
            None => Self::Own(AttentionBlock::new(init, config.resnets(), width, heads)),
        }
    }

    /// # Shapes
    /// - `x` and output: `[batch, width, height, width]`
    /// - `text`: `[batch, states, text width]`, where the network takes text
    pub(crate) fn forward(
        &self,
        x: Tensor<4>,
        text: Option<&Tensor<3>>,
        lora: Option<&Lora>,
    ) -> Tensor<4> {
        let inputs = BlockInputs {
            embedding: None,
            text: text.filter(|_| matches!(self, Self::Text(_))),
            lora,
        };
        match (self, text) {
            (Self::Text(transformer), Some(text)) if transformer.is_deep() => {
                transformer.forward_by_layers(x, text, lora)
            }
            _ => checkpointed(self, x, inputs, |attention, x, inputs| {
                attention.compute(x, inputs.text)
            }),
        }
    }

    fn compute(&self, x: Tensor<4>, text: Option<&Tensor<3>>) -> Tensor<4> {
        match (self, text) {
            (Self::Own(block), _) => block.forward(x),
            (Self::Text(transformer), Some(text)) => transformer.forward(x, text),
            (Self::Text(_), None) => {
                panic!("a network that attends to text is called with the states of some")
            }
        }
    }

    /// Its cost at a level, for a map of `positions` positions.
    pub(super) fn cost(
        counter: &Counter,
        config: &UNetConfig,
        level: usize,
        positions: usize,
    ) -> Vec<Stage> {
        let width = config.widths[level];
        match config.text {
            None => vec![AttentionBlock::cost(counter, width, positions)],
            Some(text) => {
                let size = [width, config.depth_of(level)];
                Transformer::cost(counter, size, text, positions)
            }
        }
    }

    /// The same, where the level has attention after its residual blocks.
    pub(super) fn cost_if_any(
        counter: &Counter,
        config: &UNetConfig,
        level: usize,
        positions: usize,
    ) -> Vec<Stage> {
        match config.attention[level] {
            true => Self::cost(counter, config, level, positions),
            false => vec![],
        }
    }
}
