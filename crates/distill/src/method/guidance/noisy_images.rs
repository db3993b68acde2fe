//! The noisy images that the student learns on.

use crate::method::{Batch, Draws, diffuse};
use burn::tensor::Tensor;
use fewstep_diffusion::{Clipped, Denoiser, Inputs};

/// Where the noisy images of an update come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoisyImages {
    /// The data's images with noise (algorithm 1 of 2210.03142).
    Data,
    /// The teacher, guided by the w of each sample: the noise itself, moved to the sample's time by
    /// DDIM steps of equal length. What the student sees in training is what it will see in
    /// sampling, and of the data it only needs what the teacher is conditioned on.
    Teacher {
        /// DDIM steps for a sample, wherever its time is.
        steps: usize,
        /// Whether images are clipped to [-1, 1] between steps, as they are in sampling.
        clip: bool,
    },
}

impl NoisyImages {
    /// The teacher's where a recipe gives the steps, and the data's where it does not.
    pub(super) fn of(trajectory_steps: Option<usize>, clip: bool) -> Self {
        trajectory_steps.map_or(Self::Data, |steps| Self::Teacher { steps, clip })
    }

    /// `[batch, channels, height, width]`, at these times.
    pub(super) fn draw(
        self,
        teacher: &dyn Denoiser,
        draws: Draws,
        batch: &Batch,
        inputs: &Inputs,
        times: &[f64],
    ) -> Tensor<4> {
        let schedule = teacher.schedule();
        let noise = draws.noise(&batch.images);
        let Self::Teacher { steps, clip } = self else {
            return diffuse(batch.images.clone(), noise, &schedule.levels(times));
        };
        let times_after = |step: usize| -> Vec<f64> {
            let left = (steps - step) as f64 / steps as f64;
            times.iter().map(|t| t + (1.0 - t) * left).collect()
        };
        (0..steps).fold(noise, |z, step| {
            let from = times_after(step);
            let prediction = match clip {
                true => Clipped::to_images(teacher).predict(z, &from, inputs),
                false => teacher.predict(z, &from, inputs),
            };
            prediction.ddim(&schedule.levels(&times_after(step + 1)))
        })
    }

    /// How often the teacher predicts for them.
    pub(super) fn predictions(self) -> usize {
        match self {
            Self::Data => 0,
            Self::Teacher { steps, .. } => steps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use fewstep_diffusion::analytic::{Component, Coupling, Gaussian, MixtureDenoiser};
    use fewstep_diffusion::{
        BetaSchedule, NoiseLevel, Prediction, PredictionKind, Schedule, ScheduleConfig, per_sample,
    };

    const TIMES: [f64; 4] = [0.9, 0.5, 0.2, 1.0];

    /// A teacher whose images are all w: its trajectories are straight in α and σ, so that DDIM
    /// steps of any number are exact.
    struct AllW(Schedule);

    impl Denoiser for AllW {
        fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
            let w = inputs.w.clone().expect("w");
            let x = z.zeros_like() + per_sample(w, &z.device());
            Prediction::new(PredictionKind::X, x, z, self.0.levels(t))
        }

        fn schedule(&self) -> &Schedule {
            &self.0
        }
    }

    /// Images that no teacher makes: what depends on them is far off.
    fn batch() -> Batch {
        Batch {
            images: Tensor::full([4, 1, 2, 2], 5.0, &Device::flex()),
            inputs: Inputs::classes(vec![0; 4]).with_w(vec![-0.5, 0.25, 3.0, 0.75]),
            clock: 8,
            update: 8,
        }
    }

    /// What the teacher's noisy images differ by from the clean image that is expected for each
    /// sample, with the noise of the batch.
    fn off(teacher: &dyn Denoiser, images: NoisyImages, clean: [f64; 4], noise_by: f64) -> f32 {
        let batch = batch();
        let draws = Draws::new(3, &batch);
        let levels = teacher.schedule().levels(&TIMES);
        let z = images.draw(teacher, draws, &batch, &batch.inputs, &TIMES);
        let device = z.device();
        let of_clean = levels.iter().zip(clean).map(|(l, x)| l.alpha() * x);
        let spread = |l: &NoiseLevel| l.sigma().hypot(l.alpha() * noise_by);
        let of_noise = per_sample(levels.iter().map(spread), &device);
        let expected = draws.noise(&z) * of_noise + per_sample(of_clean, &device);
        (z - expected).abs().max().into_scalar()
    }

    /// A table of 1000 timesteps, which ends without signal.
    fn table() -> Schedule {
        let config = ScheduleConfig::Discrete {
            betas: BetaSchedule::ScaledLinear,
            beta_start: 0.00085,
            beta_end: 0.012,
            steps: 1000,
            zero_terminal_snr: true,
            clean_end: true,
        };
        Schedule::new(config).expect("valid")
    }

    #[test]
    fn the_data_is_noised() {
        let teacher = AllW(Schedule::default());
        assert!(off(&teacher, NoisyImages::of(None, true), [5.0; 4], 0.0) < 1e-6);
    }

    /// Each sample walks with its own w to its own time, and the data's images are not looked at.
    /// The cosine schedule has a little signal at t = 1: the noise alone is off by it.
    #[test]
    fn the_teacher_walks_from_the_noise_with_the_w_of_each_sample() {
        let cosine = Schedule::default;
        for (schedule, steps) in [
            (cosine(), 1),
            (cosine(), 2),
            (cosine(), 5),
            (table(), 1),
            (table(), 5),
        ] {
            let teacher = AllW(schedule);
            let images = |clip| NoisyImages::of(Some(steps), clip);
            let free = off(&teacher, images(false), [-0.5, 0.25, 3.0, 0.75], 0.0);
            assert!(free < 2e-4, "{steps} steps: {free}");
            let clipped = off(&teacher, images(true), [-0.5, 0.25, 1.0, 0.75], 0.0);
            assert!(clipped < 2e-4, "{steps} steps, clipped: {clipped}");
        }
    }

    /// The trajectories of a normal distribution are known: α μ + √(σ² + α² s²) ε. Many short steps
    /// follow them, few do not.
    #[test]
    fn more_steps_are_nearer_to_the_trajectory() {
        let gaussian = Gaussian { mu: 0.5, s: 0.4 };
        let part = Component {
            weight: 1.0,
            gaussian,
        };
        let teacher = MixtureDenoiser::new(Schedule::default(), Coupling::Pixel, &[vec![part]]);
        let by = |steps| off(&teacher, NoisyImages::of(Some(steps), false), [0.5; 4], 0.4);
        let errors = [1, 4, 16, 64].map(by);
        assert!(errors.is_sorted_by(|a, b| *b < 0.5 * a), "{errors:?}");
        assert!(errors[3] < 0.02, "{errors:?}");
    }
}
