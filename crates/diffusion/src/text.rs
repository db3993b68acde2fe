//! What a model that attends to text is told.

use burn::tensor::{FloatDType, Tensor, TensorData};

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

    /// The same without the prompts of some samples: of those for which it is false, one for each.
    pub fn keep(&self, keep: impl IntoIterator<Item = bool>) -> Self {
        let device = self.states.device();
        let [batch, _, _] = self.states.dims();
        let keep: Vec<f32> = keep
            .into_iter()
            .map(|keep| f32::from(u8::from(keep)))
            .collect();
        let keep = Tensor::<3>::from_data(TensorData::new(keep, [batch, 1, 1]), &device);
        let drop = keep.clone() * -1.0 + 1.0;
        Self {
            states: self.states.clone() * keep + self.empty.clone() * drop,
            empty: self.empty.clone(),
        }
    }

    /// The same states rounded to this type.
    pub fn cast(self, dtype: FloatDType) -> Self {
        Self {
            states: self.states.cast(dtype),
            empty: self.empty.cast(dtype),
        }
    }

    /// Some of the samples.
    pub fn narrow(&self, start: usize, count: usize) -> Self {
        let part = |states: &Tensor<3>| states.clone().narrow(0, start, count);
        Self {
            states: part(&self.states),
            empty: part(&self.empty),
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
