//! What a model that attends to text is told.

use burn::tensor::Tensor;

/// The states of a text encoder for each sample.
#[derive(Clone, Debug)]
pub struct Text {
    /// Of the prompt, `[batch, states, width]`.
    pub states: Tensor<3>,
    /// Of what stands for no prompt (the empty text, or the negative prompt), in the same shape.
    pub empty: Tensor<3>,
}

impl Text {
    /// The same without prompts.
    pub fn unconditional(&self) -> Self {
        Self {
            states: self.empty.clone(),
            empty: self.empty.clone(),
        }
    }

    /// The samples of `self`, then those of `other`.
    pub fn concat(&self, other: &Self) -> Self {
        let join = |a: &Tensor<3>, b: &Tensor<3>| Tensor::cat(vec![a.clone(), b.clone()], 0);
        Self {
            states: join(&self.states, &other.states),
            empty: join(&self.empty, &other.empty),
        }
    }
}
