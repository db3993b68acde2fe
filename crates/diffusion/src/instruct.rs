//! Guidance towards a source image and a prompt, as a denoiser around another one.

use crate::{Denoiser, Inputs, Prediction, PredictionKind, Schedule, per_sample};
use burn::tensor::Tensor;

/// The guided model of InstructPix2Pix (Eq. 3 of 2211.09800), for networks that see a source image:
/// ε̂ = ε̂_∅ + s_I (ε̂_I − ε̂_∅) + (1 + w) (ε̂_IT − ε̂_I), where ε̂_IT sees image and prompt, ε̂_I the image
/// and the empty prompt, and ε̂_∅ neither: zeros in place of the image's latents. All three go in one
/// batched call of the inner model. w and s_I of each sample are [`Inputs::w`] (0 where there is
/// none) and [`Inputs::image_scale`] (that of the denoiser where there is none), and are not passed
/// on. The same combination holds for v̂, since its weights add up to 1.
#[derive(Clone, Debug)]
pub struct InstructDenoiser<D> {
    inner: D,
    image_scale: f64,
}

impl<D> InstructDenoiser<D> {
    /// Guides a model that was trained with dropped prompts and dropped source images; s_I is
    /// `image_scale` where a sample has no other.
    pub fn new(inner: D, image_scale: f64) -> Self {
        Self { inner, image_scale }
    }
}

impl<D: Denoiser> Denoiser for InstructDenoiser<D> {
    fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
        let batch = t.len();
        let of = |given: &Option<Vec<f64>>, default| {
            let given = given.clone().unwrap_or_else(|| vec![default; batch]);
            per_sample(given, &z.device())
        };
        let (w, s_i) = (
            of(&inputs.w, 0.0),
            of(&inputs.image_scale, self.image_scale),
        );
        let both = inputs.clone().without_guidance();
        let image = both.unconditional();
        let neither = image.clone().without_source();
        let all = both.cat(&image).cat(&neither);
        let zzz = z.clone().repeat_dim(0, 3);
        let v = self.inner.predict(zzz, &[t, t, t].concat(), &all).v();
        let [v_it, v_i, v_0] = [0, 1, 2].map(|branch| v.clone().narrow(0, branch * batch, batch));
        let v = v_it.clone() + (v_it - v_i.clone()) * w + (v_i - v_0) * (s_i - 1.0);
        Prediction::new(PredictionKind::V, v, z, self.schedule().levels(t))
    }

    fn schedule(&self) -> &Schedule {
        self.inner.schedule()
    }

    fn network_calls(&self) -> usize {
        3 * self.inner.network_calls()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PromptEmbeds, TextEmbeds};
    use burn::tensor::{Device, Tensor};

    /// What the branches of [`Sums`] see of a sample: z, its source image and its prompt.
    const Z: f64 = 0.5;
    const IMAGE: f64 = 0.25;
    const PROMPT: f64 = 2.0;
    const EMPTY: f64 = -1.0;

    /// A model whose v is 1 z + 3 (source image) + 7 (prompt), so that the weight of each shows.
    struct Sums(Schedule);

    impl Denoiser for Sums {
        fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
            assert_eq!((&inputs.w, &inputs.image_scale), (&None, &None));
            let image = inputs.concat.clone().expect("a source image");
            let prompt = inputs.prompt.clone().expect("a prompt").cond.states;
            let v = z.clone() + image * 3.0 + prompt.unsqueeze_dim::<4>(3) * 7.0;
            Prediction::new(PredictionKind::V, v, z, self.schedule().levels(t))
        }
        fn schedule(&self) -> &Schedule {
            &self.0
        }
    }

    fn text(value: f64) -> TextEmbeds {
        let states = Tensor::full([2, 1, 1], value, &Device::flex());
        TextEmbeds {
            states,
            pooled: None,
        }
    }

    fn map(value: f64) -> Tensor<4> {
        per_sample([value; 2], &Device::flex())
    }

    fn inputs(w: [f64; 2]) -> Inputs {
        Inputs {
            w: Some(w.to_vec()),
            prompt: Some(PromptEmbeds {
                cond: text(PROMPT),
                uncond: text(EMPTY),
            }),
            concat: Some(map(IMAGE)),
            ..Inputs::default()
        }
    }

    /// v of both samples, against the combination of the paper.
    fn assert_guided(default: f64, inputs: &Inputs, (w, s_i): ([f64; 2], [f64; 2])) {
        let model = InstructDenoiser::new(Sums(Schedule::default()), default);
        assert_eq!(model.network_calls(), 3);
        let v = model.predict(map(Z), &[0.5; 2], inputs).v();
        let v = v.into_data().try_to_vec::<f32>().expect("f32 data");
        let of = |image: f64, prompt: f64| Z + 3.0 * image + 7.0 * prompt;
        let (both, image, neither) = (of(IMAGE, PROMPT), of(IMAGE, EMPTY), of(0.0, EMPTY));
        for (sample, v) in v.into_iter().enumerate() {
            let expected =
                neither + s_i[sample] * (image - neither) + (1.0 + w[sample]) * (both - image);
            assert!((f64::from(v) - expected).abs() < 1e-4, "{v} for {expected}");
        }
    }

    /// Every sample has its own weights, and each branch what it must see.
    #[test]
    fn the_weights_of_the_branches_are_those_of_the_paper() {
        let (w, s_i) = ([2.0, 0.0], [1.5, 1.0]);
        let inputs = Inputs {
            image_scale: Some(s_i.to_vec()),
            ..inputs(w)
        };
        assert_guided(7.0, &inputs, (w, s_i));
    }

    #[test]
    fn samples_without_a_scale_have_that_of_the_denoiser() {
        let w = [2.0, -0.5];
        assert_guided(1.75, &inputs(w), (w, [1.75; 2]));
    }
}
