//! What a text encoder makes of prompts.

use burn::tensor::{FloatDType, Tensor, TensorData};

/// The output of a text encoder for the prompts of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptEmbeds<E = TextEmbeds> {
    /// The embeddings of each prompt.
    pub cond: E,
    /// Those of the empty or the negative prompt, in the same shape.
    pub uncond: E,
}

/// The embeddings of texts.
#[derive(Clone, Debug)]
pub struct TextEmbeds {
    /// The states of each text, `[texts, tokens, width]`.
    pub states: Tensor<3>,
    /// One embedding of each whole text, `[texts, features]`, for models that take it (SDXL).
    pub pooled: Option<Tensor<2>>,
}

impl From<Tensor<3>> for TextEmbeds {
    fn from(states: Tensor<3>) -> Self {
        Self {
            states,
            pooled: None,
        }
    }
}

impl TextEmbeds {
    /// The same with other states and another pooled embedding.
    fn map(
        self,
        states: impl FnOnce(Tensor<3>) -> Tensor<3>,
        pooled: impl FnOnce(Tensor<2>) -> Tensor<2>,
    ) -> Self {
        Self {
            states: states(self.states),
            pooled: self.pooled.map(pooled),
        }
    }

    /// Number of texts.
    pub fn texts(&self) -> usize {
        self.states.dims()[0]
    }

    /// Zeros in the same shape: the empty prompt of SDXL.
    pub fn zeros_like(&self) -> Self {
        self.clone().map(|s| s.zeros_like(), |p| p.zeros_like())
    }

    /// One text as a batch of this many.
    pub fn expand(self, texts: usize) -> Self {
        let [_, tokens, width] = self.states.dims();
        self.map(
            |states| states.expand([texts, tokens, width]),
            |pooled| {
                let [_, features] = pooled.dims();
                pooled.expand([texts, features])
            },
        )
    }

    /// `count` of the texts, from `start`.
    pub fn narrow(&self, start: usize, count: usize) -> Self {
        self.clone()
            .map(|s| s.narrow(0, start, count), |p| p.narrow(0, start, count))
    }

    /// The texts of all, one after another; the pooled embeddings only if all have them.
    ///
    /// # Panics
    /// When there are none.
    pub fn cat(all: Vec<Self>) -> Self {
        let (states, pooled): (Vec<_>, Vec<_>) =
            all.into_iter().map(|e| (e.states, e.pooled)).unzip();
        let pooled: Option<Vec<_>> = pooled.into_iter().collect();
        Self {
            states: Tensor::cat(states, 0),
            pooled: pooled.map(|pooled| Tensor::cat(pooled, 0)),
        }
    }

    /// Each text by itself.
    pub fn split(&self) -> Vec<Self> {
        (0..self.texts()).map(|text| self.narrow(text, 1)).collect()
    }

    /// The same with its states rounded to this type. The pooled embedding goes into the embedding
    /// of the time, which is always computed in f32.
    pub fn cast(self, dtype: FloatDType) -> Self {
        self.map(|states| states.cast(dtype), |pooled| pooled)
    }

    /// The texts of `self` where `keep` is 1, and those of `other` where it is 0.
    fn blend(&self, other: &Self, keep: &Tensor<2>) -> Self {
        let drop = keep.clone() * -1.0 + 1.0;
        let [wide_keep, wide_drop] = [keep, &drop].map(|w| w.clone().unsqueeze_dim::<3>(2));
        let pooled = self.pooled.clone().zip(other.pooled.clone());
        Self {
            states: self.states.clone() * wide_keep + other.states.clone() * wide_drop,
            pooled: pooled.map(|(ours, theirs)| ours * keep.clone() + theirs * drop),
        }
    }
}

impl PromptEmbeds {
    /// The same without prompts.
    pub fn unconditional(&self) -> Self {
        Self {
            cond: self.uncond.clone(),
            uncond: self.uncond.clone(),
        }
    }

    /// The same without the prompts of the samples whose `keep` is false.
    pub fn keep(&self, keep: impl IntoIterator<Item = bool>) -> Self {
        let keep = keep.into_iter().map(|keep| f32::from(u8::from(keep)));
        let values = TensorData::new(keep.collect(), [self.cond.texts(), 1]);
        let keep = Tensor::<2>::from_data(values, &self.cond.states.device());
        Self {
            cond: self.cond.blend(&self.uncond, &keep),
            uncond: self.uncond.clone(),
        }
    }

    /// The same rounded to this type.
    pub fn cast(self, dtype: FloatDType) -> Self {
        Self {
            cond: self.cond.cast(dtype),
            uncond: self.uncond.cast(dtype),
        }
    }

    /// `count` of the samples, from `start`.
    pub fn narrow(&self, start: usize, count: usize) -> Self {
        Self {
            cond: self.cond.narrow(start, count),
            uncond: self.uncond.narrow(start, count),
        }
    }

    /// The samples of `self`, then those of `other`.
    pub fn cat(&self, other: &Self) -> Self {
        let join = |a: &TextEmbeds, b: &TextEmbeds| TextEmbeds::cat(vec![a.clone(), b.clone()]);
        Self {
            cond: join(&self.cond, &other.cond),
            uncond: join(&self.uncond, &other.uncond),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    /// Texts of two states of one feature and a pooled embedding of two, which count up from `base`.
    fn embeds(base: f32, texts: usize) -> TextEmbeds {
        let values = |offset: f32| -> Vec<f32> {
            (0..2 * texts).map(|i| base + offset + i as f32).collect()
        };
        let device = Device::flex();
        TextEmbeds {
            states: Tensor::from_data(TensorData::new(values(0.0), [texts, 2, 1]), &device),
            pooled: Some(Tensor::from_data(
                TensorData::new(values(0.5), [texts, 2]),
                &device,
            )),
        }
    }

    fn values(embeds: TextEmbeds) -> [Vec<f32>; 2] {
        let pooled = embeds.pooled.expect("a pooled embedding").into_data();
        [embeds.states.into_data(), pooled].map(|data| data.try_to_vec().expect("f32"))
    }

    #[test]
    fn pooled_embeddings_go_where_the_states_go() {
        let prompt = PromptEmbeds {
            cond: embeds(10.0, 2),
            uncond: embeds(90.0, 2),
        };
        let kept = prompt.keep([false, true]);
        assert_eq!(
            values(kept.cond),
            [vec![90.0, 91.0, 12.0, 13.0], vec![90.5, 91.5, 12.5, 13.5]]
        );
        assert_eq!(values(prompt.unconditional().cond), values(embeds(90.0, 2)));
        let joined = prompt.cat(&prompt.narrow(1, 1));
        assert_eq!(
            values(joined.cond.narrow(1, 2)),
            [vec![12.0, 13.0, 12.0, 13.0], vec![12.5, 13.5, 12.5, 13.5]]
        );
        let split = joined.uncond.split();
        assert_eq!(split.len(), 3);
        assert_eq!(
            values(split[2].clone().expand(2)),
            [vec![92.0, 93.0, 92.0, 93.0], vec![92.5, 93.5, 92.5, 93.5]]
        );
        assert_eq!(values(split[0].zeros_like()), [vec![0.0; 2], vec![0.0; 2]]);
    }
}
