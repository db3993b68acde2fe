//! The one interface through which samplers and methods call a network.

use crate::{Inputs, Prediction, PredictionKind, Schedule};
use burn::tensor::Tensor;

/// A network: noisy images in, something of the same shape out.
pub trait Network: Sync {
    /// # Shapes
    /// - `z` and output: `[batch, channels, height, width]`
    /// - `time`: one value per sample, in the network's units (see [`Schedule::network_time`])
    fn forward(&self, z: Tensor<4>, time: &[f64], inputs: &Inputs) -> Tensor<4>;

    /// Whether a forward pass in training draws from the framework's generator (dropout). Its
    /// forward passes must then run one after another to be reproducible.
    fn has_dropout(&self) -> bool {
        false
    }

    /// What a discriminator says of noisy images, in the same shapes as [`forward`](Self::forward):
    /// the log of how much likelier each is to be a real one than a generated one, by each of its
    /// heads, `[batch, heads]`. None for networks that are no discriminators.
    fn logits(&self, _z: Tensor<4>, _time: &[f64], _inputs: &Inputs) -> Option<Tensor<2>> {
        None
    }
}

/// Predicts the clean image (and with it the noise and the velocity) from a noisy one.
pub trait Denoiser: Sync {
    /// # Shapes
    /// - `z`: `[batch, channels, height, width]`
    /// - `t`: one time in [0, 1] per sample
    fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction;

    /// The schedule by which times are read.
    fn schedule(&self) -> &Schedule;

    /// Network evaluations that one sample of one [`predict`](Denoiser::predict) costs.
    fn network_calls(&self) -> usize {
        1
    }

    /// What a discriminator says of noisy images, in the same shapes as [`predict`](Self::predict);
    /// see [`Network::logits`].
    fn logits(&self, _z: Tensor<4>, _t: &[f64], _inputs: &Inputs) -> Option<Tensor<2>> {
        None
    }
}

impl<D: Denoiser + ?Sized> Denoiser for &D {
    fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
        (**self).predict(z, t, inputs)
    }
    fn schedule(&self) -> &Schedule {
        (**self).schedule()
    }
    fn network_calls(&self) -> usize {
        (**self).network_calls()
    }
    fn logits(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Option<Tensor<2>> {
        (**self).logits(z, t, inputs)
    }
}

impl<D: Denoiser + ?Sized> Denoiser for Box<D> {
    fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
        (**self).predict(z, t, inputs)
    }
    fn schedule(&self) -> &Schedule {
        (**self).schedule()
    }
    fn network_calls(&self) -> usize {
        (**self).network_calls()
    }
    fn logits(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Option<Tensor<2>> {
        (**self).logits(z, t, inputs)
    }
}

/// A network with everything that is needed to interpret its output.
#[derive(Clone, Debug)]
pub struct DiffusionModel<N> {
    /// The network.
    pub network: N,
    /// The schedule it was trained with.
    pub schedule: Schedule,
    /// What its output means.
    pub prediction: PredictionKind,
}

impl<N> DiffusionModel<N> {
    /// Another network whose output means the same.
    pub fn with_network<M>(self, network: M) -> DiffusionModel<M> {
        DiffusionModel {
            network,
            schedule: self.schedule,
            prediction: self.prediction,
        }
    }
}

impl<N: Network> Denoiser for DiffusionModel<N> {
    fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
        let time: Vec<f64> = t.iter().map(|&t| self.schedule.network_time(t)).collect();
        let output = self.network.forward(z.clone(), &time, inputs);
        Prediction::new(self.prediction, output, z, self.schedule.levels(t))
    }

    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn logits(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Option<Tensor<2>> {
        let time: Vec<f64> = t.iter().map(|&t| self.schedule.network_time(t)).collect();
        self.network.logits(z, &time, inputs)
    }
}

/// Forces x̂ into a range: for sampling and evaluation in pixel space, and for a teacher whose
/// targets are to be what it samples; never for the network in training.
#[derive(Clone, Debug)]
pub struct Clipped<D> {
    inner: D,
    low: f64,
    high: f64,
}

impl<D> Clipped<D> {
    /// Clips to [-1, 1], the range of images.
    pub fn to_images(inner: D) -> Self {
        Self {
            inner,
            low: -1.0,
            high: 1.0,
        }
    }
}

impl<D: Denoiser> Denoiser for Clipped<D> {
    fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
        let prediction = self.inner.predict(z, t, inputs);
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
    use crate::{CfgDenoiser, InstructDenoiser, ScheduleConfig, per_sample};
    use burn::tensor::Device;
    use std::sync::Mutex;

    fn values(tensor: Tensor<4>) -> Vec<f32> {
        tensor.into_data().try_to_vec().expect("f32 data")
    }

    /// Records the times that it is given and returns a constant.
    struct Constant {
        output: f64,
        times: Mutex<Vec<f64>>,
    }

    impl Network for Constant {
        fn forward(&self, z: Tensor<4>, time: &[f64], _: &Inputs) -> Tensor<4> {
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
            let answer = model.predict(z.clone(), &[0.5, 1.0], &Inputs::default());
            assert_eq!(values(read(&answer)), [0.7, 0.7]);
            assert_eq!(values(answer.z()), values(z.clone()));
            let times = model.network.times.lock().expect("whole");
            assert!((times[0] - 500.0).abs() < 0.1 && (times[1] - 1000.0).abs() < 0.1);
        }
    }

    #[test]
    fn clipping_keeps_images_in_range_and_costs_nothing() {
        let wide = Gaussian { mu: 0.0, s: 3.0 };
        let model = GaussianDenoiser::unconditional(Schedule::default(), wide);
        let (z, t) = (per_sample([-2.0, 0.1, 2.0], &Device::flex()), [0.3; 3]);
        let none = Inputs::default();
        let free = values(model.predict(z.clone(), &t, &none).x());
        assert!(free[0] < -1.0 && free[2] > 1.0);
        let clipped = Clipped::to_images(&model);
        let x = values(clipped.predict(z, &t, &none).x());
        assert_eq!([x[0], x[2]], [-1.0, 1.0]);
        assert!((x[1] - free[1]).abs() < 1e-6);
        assert_eq!(clipped.network_calls(), model.network_calls());
        assert_eq!(clipped.schedule(), model.schedule());
    }

    /// A model that is none of the usual: its schedule, its calls and its logits show.
    struct Judge(Schedule);

    impl Denoiser for Judge {
        fn predict(&self, z: Tensor<4>, t: &[f64], _: &Inputs) -> Prediction {
            Prediction::new(PredictionKind::V, z.clone(), z, self.0.levels(t))
        }
        fn schedule(&self) -> &Schedule {
            &self.0
        }
        fn network_calls(&self) -> usize {
            5
        }
        fn logits(&self, z: Tensor<4>, t: &[f64], _: &Inputs) -> Option<Tensor<2>> {
            Some(z.flatten::<2>(1, 3) * t[0])
        }
    }

    /// What stands for another denoiser, or guides it, is read by its schedule.
    #[test]
    fn wrapped_denoisers_stay_what_they_are() {
        let config = ScheduleConfig::Cosine {
            log_snr_min: -5.0,
            log_snr_max: 5.0,
        };
        let judge = Judge(Schedule::new(config).expect("valid"));
        fn facts<D: Denoiser>(denoiser: D) -> (Schedule, usize, Option<Vec<f32>>) {
            let z = per_sample([0.5, -1.0], &Device::flex());
            let logits = denoiser.logits(z, &[0.5; 2], &Inputs::default());
            let logits = logits.map(|l| l.into_data().try_to_vec().expect("f32 data"));
            (
                denoiser.schedule().clone(),
                denoiser.network_calls(),
                logits,
            )
        }
        let schedule = judge.0.clone();
        let logits = Some(vec![0.25, -0.5]);
        let stands_for: [(Schedule, usize, Option<Vec<f32>>); 2] =
            [facts(&judge), facts(Box::new(&judge))];
        for facts in stands_for {
            assert_eq!(facts, (schedule.clone(), 5, logits.clone()));
        }
        let guided = facts(CfgDenoiser::new(&judge));
        assert_eq!((guided.0, guided.1), (schedule.clone(), 10));
        let edits = facts(InstructDenoiser::new(&judge, 1.5));
        assert_eq!((edits.0, edits.1), (schedule.clone(), 15));
        let clipped = facts(Clipped::to_images(&judge));
        assert_eq!((clipped.0, clipped.1), (schedule, 5));
    }
}
