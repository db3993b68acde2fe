//! Random draws of a batch, and noisy images made from them.

use super::{Batch, LossWeighting};
use crate::error::RecipeError;
use burn::tensor::Tensor;
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::{NoiseLevel, Schedule, per_sample};

/// The random draws of a batch: pure functions of the seed, each sample's number and the purpose.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    pub(super) seed: u64,
    pub(super) clock: u64,
    pub(super) update: u64,
    pub(super) batch: usize,
}

impl Draws {
    /// The draws of a batch.
    pub fn new(seed: u64, batch: &Batch) -> Self {
        Self {
            seed,
            clock: batch.clock,
            update: batch.update,
            batch: batch.len(),
        }
    }

    /// The draws of a batch whose samples all draw as the first of the update does.
    pub(super) fn uniform_of_update(self, purpose: Purpose) -> impl Iterator<Item = f64> {
        std::iter::repeat_n(random::uniform(self.seed, self.update, purpose), self.batch)
    }

    fn samples(self) -> impl Iterator<Item = u64> {
        self.clock..self.clock + self.batch as u64
    }

    /// A number in [0, 1) per sample.
    pub fn uniform(self, purpose: Purpose) -> impl Iterator<Item = f64> {
        self.samples()
            .map(move |sample| random::uniform(self.seed, sample, purpose))
    }

    /// A number in `0..count` per sample.
    pub(super) fn index(self, count: usize) -> impl Iterator<Item = usize> {
        self.uniform(Purpose::TrainingTime)
            .map(move |u| ((u * count as f64) as usize).min(count - 1))
    }

    /// Times for a method that is free to take any: uniform in [0, 1), or uniform over the
    /// timesteps of a discrete schedule.
    pub fn times(self, schedule: &Schedule) -> Vec<f64> {
        match schedule.train_steps() {
            None => self.uniform(Purpose::TrainingTime).collect(),
            Some(steps) => self
                .index(steps)
                .map(|k| (k + 1) as f64 / steps as f64)
                .collect(),
        }
    }

    /// Times between `min` and `max`: any of them, or a timestep of a discrete schedule.
    pub fn times_within(self, [min, max]: [f64; 2], schedule: &Schedule) -> Vec<f64> {
        let uniform = self.uniform(Purpose::TrainingTime);
        match schedule.train_steps() {
            None => uniform.map(|u| min + (max - min) * u).collect(),
            Some(steps) => {
                let first = ((min * steps as f64).ceil() as usize).clamp(1, steps);
                let last = ((max * steps as f64).floor() as usize).clamp(first, steps);
                let count = last - first + 1;
                let step = |u: f64| first + ((u * count as f64) as usize).min(count - 1);
                uniform.map(|u| step(u) as f64 / steps as f64).collect()
            }
        }
    }

    /// ε of each sample, shaped as these images.
    pub fn noise(self, like: &Tensor<4>) -> Tensor<4> {
        self.normal(Purpose::TrainingNoise, like)
    }

    /// Standard normal numbers for a purpose, shaped as these images.
    pub fn normal(self, purpose: Purpose, like: &Tensor<4>) -> Tensor<4> {
        let [_, channels, height, width] = like.dims();
        let samples: Vec<u64> = self.samples().collect();
        let shape = [channels, height, width];
        random::normal(self.seed, &samples, purpose, shape, &like.device())
    }
}

/// Checks the range that [`Draws::times_within`] draws from.
pub(super) fn check_times([min, max]: [f64; 2]) -> Result<(), RecipeError> {
    match (0.0..1.0).contains(&min) && max > min && max <= 1.0 {
        true => Ok(()),
        false => Err(RecipeError::new(
            "times",
            format!(
                "`times` is [{min}, {max}]: it must be [min, max] with 0 <= min < max <= 1, such as [0.02, 0.98]"
            ),
        )),
    }
}

/// z_t = α_t x + σ_t ε.
pub fn diffuse(x: Tensor<4>, noise: Tensor<4>, levels: &[NoiseLevel]) -> Tensor<4> {
    let device = x.device();
    let alpha = per_sample(levels.iter().map(|l| l.alpha()), &device);
    let sigma = per_sample(levels.iter().map(|l| l.sigma()), &device);
    x * alpha + noise * sigma
}

/// Mean over each image of ω (v̂ − v)², where ω is the weight in terms of v.
///
/// # Shapes
/// - `predicted`, `target`: `[batch, channels, height, width]`
/// - output: `[batch]`
pub fn velocity_loss(
    predicted: Tensor<4>,
    target: Tensor<4>,
    weighting: LossWeighting,
    levels: &[NoiseLevel],
) -> Tensor<1> {
    let weights = per_sample(
        levels.iter().map(|&level| weighting.on_v(level)),
        &target.device(),
    );
    let [batch, channels, height, width] = target.dims();
    let pixels = channels * height * width;
    let error = (predicted - target).square().reshape([batch, pixels]);
    (error.mean_dim(1) * weights.reshape([batch, 1])).squeeze_dim(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep_diffusion::{BetaSchedule, ScheduleConfig};

    fn draws(batch: usize) -> Draws {
        Draws {
            seed: 3,
            clock: 7,
            update: 7,
            batch,
        }
    }

    fn discrete(steps: usize) -> Schedule {
        Schedule::new(ScheduleConfig::Discrete {
            betas: BetaSchedule::Linear,
            beta_start: 1e-4,
            beta_end: 0.02,
            steps,
            zero_terminal_snr: false,
            clean_end: true,
        })
        .expect("valid")
    }

    /// Each of a table's timesteps about as often as another, the first and the last included.
    #[test]
    fn timesteps_are_drawn_evenly() {
        const DRAWN: usize = 6000;
        let draws = draws(DRAWN);
        for (times, first, last) in [
            (draws.times(&discrete(10)), 1, 10),
            (draws.times_within([0.0, 1.0], &discrete(10)), 1, 10),
            (draws.times_within([0.25, 0.79], &discrete(10)), 3, 7),
            (draws.times_within([0.3, 0.8], &discrete(10)), 3, 8),
            // Narrower than a timestep: the next one.
            (draws.times_within([0.31, 0.32], &discrete(10)), 4, 4),
        ] {
            let mut counts = [0usize; 12];
            for t in &times {
                let step = (t * 10.0).round();
                assert_eq!(*t, step / 10.0);
                counts[step as usize] += 1;
            }
            let expected = DRAWN / (last - first + 1);
            for (step, &count) in counts.iter().enumerate() {
                let drawn = (first..=last).contains(&step);
                let wrong = if drawn {
                    count.abs_diff(expected) > expected / 8
                } else {
                    count > 0
                };
                assert!(!wrong, "{first} to {last}: {counts:?}");
            }
        }
    }

    #[test]
    fn continuous_times_fill_their_range() {
        let draws = draws(2000);
        let times = draws.times_within([0.2, 0.6], &Schedule::default());
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        assert!(times.iter().all(|t| (0.2..0.6).contains(t)));
        assert!((mean - 0.4).abs() < 0.01, "{mean}");
        assert!(times.iter().any(|&t| t < 0.21) && times.iter().any(|&t| t > 0.59));
    }

    #[test]
    fn ranges_of_times_lie_in_zero_to_one() {
        for times in [[0.0, 1.0], [0.02, 0.98]] {
            assert_eq!(check_times(times), Ok(()));
        }
        for times in [
            [-0.1, 0.5],
            [0.5, 0.5],
            [0.5, 0.4],
            [0.5, 1.1],
            [f64::NAN, 0.5],
        ] {
            let refused = check_times(times).expect_err("refused");
            assert_eq!(refused.key, "times", "{times:?}");
        }
    }
}
