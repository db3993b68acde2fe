//! The one face that samplers and methods see of a network.

use crate::{Prediction, PredictionKind, Schedule};
use burn::tensor::Tensor;

/// What a denoiser is told besides the noisy picture and the time. One value per sample each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditioning {
    /// Class of each sample; a sample with `None` is unconditional (the null class ∅).
    /// Without the list the model has no classes.
    pub classes: Option<Vec<Option<u32>>>,
    /// Guidance weight w of each sample, for models that take it (or for [`Guided`](crate::Guided)).
    pub w: Option<Vec<f64>>,
}

impl Conditioning {
    /// Every sample of one class each.
    pub fn classes(classes: impl IntoIterator<Item = u32>) -> Self {
        Self {
            classes: Some(classes.into_iter().map(Some).collect()),
            w: None,
        }
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

    /// The same with every class replaced by ∅.
    pub fn unconditional(&self) -> Self {
        Self {
            classes: self.classes.as_ref().map(|c| vec![None; c.len()]),
            w: self.w.clone(),
        }
    }

    /// The samples of `self`, then those of `other`.
    pub fn concat(&self, other: &Self) -> Self {
        fn join<T: Clone>(a: &Option<Vec<T>>, b: &Option<Vec<T>>) -> Option<Vec<T>> {
            Some([a.as_deref()?, b.as_deref()?].concat())
        }
        Self {
            classes: join(&self.classes, &other.classes),
            w: join(&self.w, &other.w),
        }
    }
}

/// A network: noisy pictures in, something of the same shape out.
pub trait Network {
    /// # Shapes
    /// - `z` and output: `[batch, channels, height, width]`
    /// - `time`: one value per sample, in the network's units (see [`Schedule::network_time`])
    fn forward(&self, z: Tensor<4>, time: &[f64], conditioning: &Conditioning) -> Tensor<4>;
}

/// Predicts the clean picture (and with it the noise and the velocity) from a noisy one.
pub trait Denoiser {
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
