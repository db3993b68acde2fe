//! The one face that samplers and methods see of a network.

use crate::{Prediction, PredictionKind, Schedule, Text};
use burn::tensor::{FloatDType, Tensor};

/// What a denoiser is told besides the noisy picture and the time. One value per sample each.
#[derive(Clone, Debug, Default)]
pub struct Conditioning {
    /// Class of each sample; a sample with `None` is unconditional (the null class ∅).
    /// Without the list the model has no classes.
    pub classes: Option<Vec<Option<u32>>>,
    /// Guidance weight w of each sample, for models that take it (or for [`Guided`](crate::Guided)).
    pub w: Option<Vec<f64>>,
    /// A condition image for each sample, `[batch, channels, height, width]`, of the size that the model was
    /// trained with: a small picture to enlarge, edges, a depth map. Without it a model is its base.
    pub hint: Option<Tensor<4>>,
    /// What a model that attends to text is told.
    pub text: Option<Text>,
    /// Maps that go into the network beside z, `[batch, channels, height, width]`: what is known of a picture that is
    /// to be filled in. Both branches of guidance see them.
    pub beside: Option<Tensor<4>>,
}

impl Conditioning {
    /// Every sample of one class each.
    pub fn classes(classes: impl IntoIterator<Item = u32>) -> Self {
        Self {
            classes: Some(classes.into_iter().map(Some).collect()),
            ..Self::default()
        }
    }

    /// The same with condition images.
    pub fn with_hint(mut self, hint: Tensor<4>) -> Self {
        self.hint = Some(hint);
        self
    }

    /// The same with a guidance weight per sample.
    pub fn with_w(mut self, w: Vec<f64>) -> Self {
        self.w = Some(w);
        self
    }

    /// The same without guidance weight.
    pub fn without_w(mut self) -> Self {
        self.w = None;
        self
    }

    /// The same with every class and every text replaced by ∅. The condition images stay: guidance is towards class and
    /// text.
    pub fn unconditional(&self) -> Self {
        Self {
            classes: self.classes.as_ref().map(|c| vec![None; c.len()]),
            text: self.text.as_ref().map(Text::unconditional),
            ..self.clone()
        }
    }

    /// The same with its tensors rounded to this type.
    pub fn cast(self, dtype: FloatDType) -> Self {
        let map = |map: Option<Tensor<4>>| map.map(|map| map.cast(dtype));
        Self {
            hint: map(self.hint),
            beside: map(self.beside),
            text: self.text.map(|text| text.cast(dtype)),
            ..self
        }
    }

    /// The samples of `self`, then those of `other`.
    pub fn concat(&self, other: &Self) -> Self {
        fn join<T: Clone>(a: &Option<Vec<T>>, b: &Option<Vec<T>>) -> Option<Vec<T>> {
            Some([a.as_deref()?, b.as_deref()?].concat())
        }
        let text = self.text.as_ref().zip(other.text.as_ref());
        let hint = self.hint.clone().zip(other.hint.clone());
        let beside = self.beside.clone().zip(other.beside.clone());
        Self {
            classes: join(&self.classes, &other.classes),
            w: join(&self.w, &other.w),
            hint: hint.map(|(a, b)| Tensor::cat(vec![a, b], 0)),
            text: text.map(|(a, b)| a.concat(b)),
            beside: beside.map(|(a, b)| Tensor::cat(vec![a, b], 0)),
        }
    }
}

/// A network: noisy pictures in, something of the same shape out.
pub trait Network: Sync {
    /// # Shapes
    /// - `z` and output: `[batch, channels, height, width]`
    /// - `time`: one value per sample, in the network's units (see [`Schedule::network_time`])
    fn forward(&self, z: Tensor<4>, time: &[f64], conditioning: &Conditioning) -> Tensor<4>;

    /// Whether a forward pass in training draws from the framework's generator (dropout). Such passes must come one
    /// after another to be reproducible.
    fn draws(&self) -> bool {
        false
    }
}

/// Predicts the clean picture (and with it the noise and the velocity) from a noisy one.
pub trait Denoiser: Sync {
    /// # Shapes
    /// - `z`: `[batch, channels, height, width]`
    /// - `t`: one time in [0, 1] per sample
    fn predict(&self, z: Tensor<4>, t: &[f64], conditioning: &Conditioning) -> Prediction;

    /// The schedule by which times are read.
    fn schedule(&self) -> &Schedule;

    /// Network evaluations that one sample of one [`predict`](Denoiser::predict) costs.
    fn network_calls(&self) -> usize {
        1
    }
}

impl<D: Denoiser + ?Sized> Denoiser for &D {
    fn predict(&self, z: Tensor<4>, t: &[f64], conditioning: &Conditioning) -> Prediction {
        (**self).predict(z, t, conditioning)
    }
    fn schedule(&self) -> &Schedule {
        (**self).schedule()
    }
    fn network_calls(&self) -> usize {
        (**self).network_calls()
    }
}

impl<D: Denoiser + ?Sized> Denoiser for Box<D> {
    fn predict(&self, z: Tensor<4>, t: &[f64], conditioning: &Conditioning) -> Prediction {
        (**self).predict(z, t, conditioning)
    }
    fn schedule(&self) -> &Schedule {
        (**self).schedule()
    }
    fn network_calls(&self) -> usize {
        (**self).network_calls()
    }
}

/// A network with all that is needed to read its output.
#[derive(Clone, Debug)]
pub struct DiffusionModel<N> {
    /// The network.
    pub network: N,
    /// The schedule it was trained with.
    pub schedule: Schedule,
    /// What its output stands for.
    pub prediction: PredictionKind,
}

impl<N: Network> Denoiser for DiffusionModel<N> {
    fn predict(&self, z: Tensor<4>, t: &[f64], conditioning: &Conditioning) -> Prediction {
        let time: Vec<f64> = t.iter().map(|&t| self.schedule.network_time(t)).collect();
        let output = self.network.forward(z.clone(), &time, conditioning);
        Prediction::new(self.prediction, output, z, self.schedule.levels(t))
    }

    fn schedule(&self) -> &Schedule {
        &self.schedule
    }
}

/// Forces x̂ into a range: for sampling and evaluation in pixel space only, never for a loss or a
/// distillation target.
#[derive(Clone, Debug)]
pub struct Clipped<D> {
    inner: D,
    low: f64,
    high: f64,
}

impl<D> Clipped<D> {
    /// Clips to [-1, 1], the range of pictures.
    pub fn to_pictures(inner: D) -> Self {
        Self {
            inner,
            low: -1.0,
            high: 1.0,
        }
    }
}

impl<D: Denoiser> Denoiser for Clipped<D> {
    fn predict(&self, z: Tensor<4>, t: &[f64], conditioning: &Conditioning) -> Prediction {
        let prediction = self.inner.predict(z, t, conditioning);
        prediction.clipped(self.low, self.high)
    }

    fn schedule(&self) -> &Schedule {
        self.inner.schedule()
    }

    fn network_calls(&self) -> usize {
        self.inner.network_calls()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytic::{Gaussian, GaussianDenoiser};
    use crate::per_sample;
    use burn::tensor::Device;
    use std::sync::Mutex;

    fn values(tensor: Tensor<4>) -> Vec<f32> {
        tensor.into_data().try_to_vec().expect("f32 data")
    }

    #[test]
    fn the_unconditional_twin_keeps_all_but_the_classes() {
        let hint = per_sample([0.1, 0.2], &Device::flex());
        let conditioning = Conditioning::classes([3, 1])
            .with_w(vec![0.5, 2.0])
            .with_hint(hint.clone());
        let twin = conditioning.unconditional();
        assert_eq!(twin.classes, Some(vec![None, None]));
        assert_eq!(twin.w, Some(vec![0.5, 2.0]));
        assert_eq!(twin.hint.map(values), Some(values(hint)));
        assert_eq!(Conditioning::default().unconditional().classes, None);
    }

    #[test]
    fn concat_joins_what_both_have() {
        let image = |value| per_sample([value], &Device::flex());
        let a = Conditioning::classes([3])
            .with_w(vec![0.5])
            .with_hint(image(0.1));
        let b = Conditioning::classes([1, 2]);
        let full = b
            .clone()
            .with_w(vec![1.0, 2.0])
            .with_hint(per_sample([0.2, 0.3], &Device::flex()));
        let joined = a.concat(&full);
        assert_eq!(joined.classes, Some(vec![Some(3), Some(1), Some(2)]));
        assert_eq!(joined.w, Some(vec![0.5, 1.0, 2.0]));
        assert_eq!(joined.hint.map(values), Some(vec![0.1, 0.2, 0.3]));
        // A weight or an image for some samples alone would be given to the wrong ones.
        assert_eq!(a.concat(&b).w, None);
        assert!(a.concat(&b).hint.is_none());
    }

    /// Notes the times that it is given; answers with a constant.
    struct Constant {
        output: f64,
        times: Mutex<Vec<f64>>,
    }

    impl Network for Constant {
        fn forward(&self, z: Tensor<4>, time: &[f64], _: &Conditioning) -> Tensor<4> {
            self.times.lock().expect("whole").extend(time);
            z.zeros_like() + self.output
        }
    }

    #[test]
    fn a_model_gives_its_network_its_own_time_and_reads_its_own_kind() {
        let z = per_sample([0.3, -0.2], &Device::flex());
        for (prediction, read) in [
            (
                PredictionKind::X,
                Prediction::x as fn(&Prediction) -> Tensor<4>,
            ),
            (PredictionKind::Eps, Prediction::eps),
            (PredictionKind::V, Prediction::v),
        ] {
            let model = DiffusionModel {
                network: Constant {
                    output: 0.7,
                    times: Mutex::default(),
                },
                schedule: Schedule::default(),
                prediction,
            };
            let answer = model.predict(z.clone(), &[0.5, 1.0], &Conditioning::default());
            assert_eq!(values(read(&answer)), [0.7, 0.7]);
            assert_eq!(values(answer.z()), values(z.clone()));
            let times = model.network.times.lock().expect("whole");
            assert!((times[0] - 500.0).abs() < 0.1 && (times[1] - 1000.0).abs() < 0.1);
        }
    }

    #[test]
    fn clipping_keeps_pictures_in_range_and_costs_nothing() {
        let wide = Gaussian { mu: 0.0, s: 3.0 };
        let model = GaussianDenoiser::unconditional(Schedule::default(), wide);
        let (z, t) = (per_sample([-2.0, 0.1, 2.0], &Device::flex()), [0.3; 3]);
        let none = Conditioning::default();
        let free = values(model.predict(z.clone(), &t, &none).x());
        assert!(free[0] < -1.0 && free[2] > 1.0);
        let clipped = Clipped::to_pictures(&model);
        let x = values(clipped.predict(z, &t, &none).x());
        assert_eq!([x[0], x[2]], [-1.0, 1.0]);
        assert!((x[1] - free[1]).abs() < 1e-6);
        assert_eq!(clipped.network_calls(), model.network_calls());
        assert_eq!(clipped.schedule(), model.schedule());
    }
}
