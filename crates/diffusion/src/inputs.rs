//! What a network is given next to the noisy image and the time.

use crate::{PromptEmbeds, TextEmbeds, TimeIds};
use burn::tensor::{FloatDType, Tensor};

/// The conditioning of a batch, one value per sample each. `M` stores images and `E` prompt
/// embeddings: tensors on a device, or arrays on the host for a loader.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs<M = Tensor<4>, E = TextEmbeds> {
    /// Class of each sample; a sample with `None` is unconditional (the null class ∅).
    /// None for models without classes.
    pub classes: Option<Vec<Option<u32>>>,
    /// Guidance weight w of each sample, for models that take it (or for
    /// [`CfgDenoiser`](crate::CfgDenoiser)).
    pub w: Option<Vec<f64>>,
    /// Guidance scale of the source image of each sample, for
    /// [`InstructDenoiser`](crate::InstructDenoiser), where it is not the model's; 1 is none.
    pub image_scale: Option<Vec<f64>>,
    /// Embeddings of the prompts, for models that attend to text.
    pub prompt: Option<PromptEmbeds<E>>,
    /// Sizes and crop of each image, for models that take them (SDXL). Both branches of guidance
    /// get them.
    pub time_ids: Option<Vec<TimeIds>>,
    /// A control image for each sample, `[batch, channels, height, width]`, of the size that the
    /// model was trained with: a small image to enlarge, edges, a depth map. Without it a
    /// ControlNet is not called.
    pub control: Option<M>,
    /// Channels that are concatenated to z, `[batch, channels, height, width]`: for inpainting, the
    /// mask and the latents of the masked image; for editing by instruction, those of the source
    /// image. Both branches of guidance towards a prompt get them.
    pub concat: Option<M>,
}

impl<M, E> Default for Inputs<M, E> {
    fn default() -> Self {
        Self {
            classes: None,
            w: None,
            image_scale: None,
            prompt: None,
            time_ids: None,
            control: None,
            concat: None,
        }
    }
}

impl Inputs {
    /// Every sample of one class each.
    pub fn classes(classes: impl IntoIterator<Item = u32>) -> Self {
        Self {
            classes: Some(classes.into_iter().map(Some).collect()),
            ..Self::default()
        }
    }

    /// The same with control images.
    pub fn with_control(mut self, control: Tensor<4>) -> Self {
        self.control = Some(control);
        self
    }

    /// The same with a guidance weight per sample.
    pub fn with_w(mut self, w: Vec<f64>) -> Self {
        self.w = Some(w);
        self
    }

    /// The same without guidance: neither a weight nor a scale of the source image.
    pub fn without_guidance(mut self) -> Self {
        self.w = None;
        self.image_scale = None;
        self
    }

    /// The same with every class and every prompt replaced by ∅. The control images stay: guidance
    /// is towards class and prompt.
    pub fn unconditional(&self) -> Self {
        Self {
            classes: self.classes.as_ref().map(|c| vec![None; c.len()]),
            prompt: self.prompt.as_ref().map(PromptEmbeds::unconditional),
            ..self.clone()
        }
    }

    /// The same with zeros for the channels that are concatenated to z: without source image.
    pub fn without_source(mut self) -> Self {
        self.concat = self.concat.map(|concat| concat.zeros_like());
        self
    }

    /// The same with its tensors rounded to this type.
    pub fn cast(self, dtype: FloatDType) -> Self {
        let map = |map: Option<Tensor<4>>| map.map(|map| map.cast(dtype));
        Self {
            control: map(self.control),
            concat: map(self.concat),
            prompt: self.prompt.map(|prompt| prompt.cast(dtype)),
            ..self
        }
    }

    /// `count` of the samples, from `start`.
    pub fn narrow(&self, start: usize, count: usize) -> Self {
        fn part<T: Clone>(all: &Option<Vec<T>>, start: usize, count: usize) -> Option<Vec<T>> {
            Some(all.as_ref()?[start..start + count].to_vec())
        }
        let maps = |maps: &Tensor<4>| maps.clone().narrow(0, start, count);
        Self {
            classes: part(&self.classes, start, count),
            w: part(&self.w, start, count),
            image_scale: part(&self.image_scale, start, count),
            prompt: self.prompt.as_ref().map(|p| p.narrow(start, count)),
            time_ids: part(&self.time_ids, start, count),
            control: self.control.as_ref().map(maps),
            concat: self.concat.as_ref().map(maps),
        }
    }

    /// The samples of `self`, then those of `other`.
    pub fn cat(&self, other: &Self) -> Self {
        fn join<T: Clone>(a: &Option<Vec<T>>, b: &Option<Vec<T>>) -> Option<Vec<T>> {
            Some([a.as_deref()?, b.as_deref()?].concat())
        }
        let maps = |a: &Option<Tensor<4>>, b: &Option<Tensor<4>>| {
            let both = a.clone().zip(b.clone());
            both.map(|(a, b)| Tensor::cat(vec![a, b], 0))
        };
        let prompts = self.prompt.as_ref().zip(other.prompt.as_ref());
        Self {
            classes: join(&self.classes, &other.classes),
            w: join(&self.w, &other.w),
            image_scale: join(&self.image_scale, &other.image_scale),
            prompt: prompts.map(|(a, b)| a.cat(b)),
            time_ids: join(&self.time_ids, &other.time_ids),
            control: maps(&self.control, &other.control),
            concat: maps(&self.concat, &other.concat),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::per_sample;
    use burn::tensor::Device;

    fn values(tensor: Tensor<4>) -> Vec<f32> {
        tensor.into_data().try_to_vec().expect("f32 data")
    }

    #[test]
    fn the_unconditional_twin_keeps_all_but_the_classes() {
        let control = per_sample([0.1, 0.2], &Device::flex());
        let inputs = Inputs::classes([3, 1])
            .with_w(vec![0.5, 2.0])
            .with_control(control.clone());
        let twin = inputs.unconditional();
        assert_eq!(twin.classes, Some(vec![None, None]));
        assert_eq!(twin.w, Some(vec![0.5, 2.0]));
        assert_eq!(twin.control.map(values), Some(values(control)));
        assert_eq!(Inputs::default().unconditional().classes, None);
    }

    #[test]
    fn cat_joins_what_both_have() {
        let image = |value| per_sample([value], &Device::flex());
        let a = Inputs::classes([3])
            .with_w(vec![0.5])
            .with_control(image(0.1));
        let b = Inputs::classes([1, 2]);
        let ids = [[8, 8], [8, 16], [16, 8]].map(TimeIds::whole);
        let a = Inputs {
            time_ids: Some(ids[..1].to_vec()),
            ..a
        };
        let b = Inputs {
            time_ids: Some(ids[1..].to_vec()),
            ..b
        };
        let full = b
            .clone()
            .with_w(vec![1.0, 2.0])
            .with_control(per_sample([0.2, 0.3], &Device::flex()));
        let joined = a.cat(&full);
        assert_eq!(joined.classes, Some(vec![Some(3), Some(1), Some(2)]));
        assert_eq!(joined.w, Some(vec![0.5, 1.0, 2.0]));
        assert_eq!(
            joined.control.clone().map(values),
            Some(vec![0.1, 0.2, 0.3])
        );
        assert_eq!(joined.time_ids, Some(ids.to_vec()));
        assert_eq!(joined.narrow(1, 2).time_ids, full.time_ids);
        assert_eq!(joined.unconditional().time_ids, joined.time_ids);
        // A weight or an image of only some samples would be given to the wrong ones.
        assert_eq!(a.cat(&b).w, None);
        assert!(a.cat(&b).control.is_none());
    }

    fn prompts(value: f32) -> PromptEmbeds {
        let text = |value: f32| TextEmbeds {
            states: Tensor::ones([2, 1, 1], &Device::flex()) * value,
            pooled: Some(Tensor::ones([2, 1], &Device::flex()) * value),
        };
        PromptEmbeds {
            cond: text(value),
            uncond: text(-value),
        }
    }

    /// Images and prompts are rounded, and only those: a pooled embedding joins the time's, in f32.
    #[test]
    fn casting_rounds_what_the_network_computes_with() {
        let image = || Some(per_sample([0.1, 0.2], &Device::flex()));
        let inputs = Inputs {
            control: image(),
            concat: image(),
            prompt: Some(prompts(0.1)),
            ..Inputs::classes([3, 1]).with_w(vec![0.1, 0.2])
        };
        let cast = inputs.clone().cast(FloatDType::BF16);
        let rounded = |value: f32| (value - 0.1).abs() > 1e-5 && (value - 0.1).abs() < 1e-3;
        let first = |tensor: Option<Tensor<4>>| {
            let data = tensor.expect("kept").into_data();
            data.iter::<f32>().next().expect("a value")
        };
        assert!(rounded(first(cast.control)) && rounded(first(cast.concat)));
        let prompt = cast.prompt.expect("kept");
        for (text, sign) in [(prompt.cond, 1.0), (prompt.uncond, -1.0)] {
            let state = text
                .states
                .into_data()
                .iter::<f32>()
                .next()
                .expect("a value");
            assert!(rounded(sign * state), "{state}");
            let pooled = text.pooled.expect("kept").into_data();
            assert_eq!(pooled.iter::<f32>().next(), Some(sign * 0.1));
        }
        assert_eq!((cast.classes, cast.w), (inputs.classes, inputs.w));
    }

    /// Guidance is neither of a branch without it, and a branch without source image sees zeros.
    #[test]
    fn branches_are_without_what_they_do_not_see() {
        let inputs = Inputs {
            image_scale: Some(vec![1.5, 2.0]),
            concat: Some(per_sample([0.1, 0.2], &Device::flex())),
            ..Inputs::classes([3, 1]).with_w(vec![0.5, 2.0])
        };
        let plain = inputs.clone().without_guidance();
        assert_eq!((plain.w, plain.image_scale), (None, None));
        assert_eq!(plain.classes, inputs.classes);
        let part = inputs.narrow(1, 1);
        assert_eq!(
            (part.w, part.image_scale),
            (Some(vec![2.0]), Some(vec![2.0]))
        );
        assert_eq!(part.concat.map(values), Some(vec![0.2]));
        let joined = inputs.cat(&inputs);
        assert_eq!(joined.image_scale, Some(vec![1.5, 2.0, 1.5, 2.0]));
        assert_eq!(joined.concat.map(values), Some(vec![0.1, 0.2, 0.1, 0.2]));
        let blind = inputs.without_source();
        assert_eq!(blind.concat.map(values), Some(vec![0.0, 0.0]));
    }
}
