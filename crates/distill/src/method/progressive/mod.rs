//! Stage two: one step of the student for two of the teacher.

use super::{
    Batch, Cost, Draws, GuidanceWeights, Loss, Objective, Student, Weighting, diffuse,
    velocity_loss,
};
use burn::tensor::Tensor;
use fewstep_diffusion::{Denoiser, Inputs, NoiseLevel, per_sample};
use serde::{Deserialize, Serialize};

/// For which sampler a halving prepares the student.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Halving {
    /// The deterministic N-step sampler: t = i/N goes to (i − 1)/N.
    #[default]
    Deterministic,
    /// The stochastic N-step sampler: t = i/N goes to (i − 2)/N, twice as far.
    Stochastic,
    /// Reversed DDIM: t = i/N goes up to (i + 1)/N.
    Encoder,
}

/// Halves the number of sampling steps of a w-conditioned model.
///
/// # Source
/// Alg. 2 of 2202.00512 and Alg. 2 of 2210.03142; section 3.2 of the latter for the stochastic variant, 4.3 for
/// the encoder.
///
/// # Objective
/// Two deterministic teacher steps t → t' → t'' from z_t ~ q(z_t | x) give z_{t''}; the target is the prediction
/// whose single step t → t'' lands there. As a velocity it is ṽ = (z_{t''} − cos δ z_t) / sin δ with
/// δ = φ_{t''} − φ_t, and x̃ = α_t z_t − σ_t ṽ is the papers' formula. The loss is ω(λ_t) ‖x̃ − x̂_η(z_t, w, c)‖².
///
/// # Departures from the paper
/// A step to t'' = 0 ends at the clean image (φ = 0), which is the predecessor's rule "the last target is the
/// teacher's x̂". For the stochastic variant the paper does not print its edge cases; by the lengths of the jumps,
/// t = 1/N takes the teacher's single jump to 0, and t = 2/N ends at 0 too. An encoder starts at the image without
/// noise, as it does when it is used; schedules of latent models have noticeable noise at t = 0.
pub struct Progressive<T> {
    /// The frozen teacher: the stage-one student or the result of the last halving; for the ablation that
    /// skips stage one, the guided pair.
    pub teacher: T,
    /// Number of steps N of the student.
    pub steps: usize,
    /// The sampler to prepare for.
    pub halving: Halving,
    /// Which w; none for a teacher without guidance.
    pub weights: Option<GuidanceWeights>,
    /// ω.
    pub weighting: Weighting,
}

/// Where a sample starts, where the teacher's first step takes it, and where the second ends.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Path {
    start: f64,
    middle: f64,
    end: NoiseLevel,
}

impl<T: Denoiser> Progressive<T> {
    /// The path of the i-th of N grid points. Times are quotients of integers over 2N.
    fn path(&self, index: usize) -> Path {
        let time = |half_steps: usize| half_steps as f64 / (2 * self.steps) as f64;
        let level = |half_steps: usize| match half_steps {
            0 => NoiseLevel::CLEAN,
            _ => self.teacher.schedule().at(time(half_steps)),
        };
        let down = 2 * (index + 1);
        let up = 2 * index;
        let (start, middle, end) = match self.halving {
            Halving::Deterministic => (down, down - 1, down - 2),
            // No sub-division for the last jump: the first step stays where it is.
            Halving::Stochastic if down == 2 => (2, 2, 0),
            Halving::Stochastic => (down, down - 2, down - 4),
            Halving::Encoder => (up, up + 1, up + 2),
        };
        Path {
            start: time(start),
            middle: time(middle),
            end: level(end),
        }
    }

    /// The noise that a sample has where its path starts. An encoder is given the image itself.
    fn noise_at(&self, path: &Path) -> NoiseLevel {
        match self.halving {
            Halving::Encoder if path.start == 0.0 => NoiseLevel::CLEAN,
            _ => self.teacher.schedule().at(path.start),
        }
    }

    /// ṽ: the velocity whose one step from `z_t` along each path lands where the teacher's two steps do.
    fn target(&self, z_t: &Tensor<4>, paths: &[Path], inputs: &Inputs) -> Tensor<4> {
        let schedule = self.teacher.schedule();
        let starts: Vec<f64> = paths.iter().map(|p| p.start).collect();
        let middles: Vec<f64> = paths.iter().map(|p| p.middle).collect();
        let ends: Vec<NoiseLevel> = paths.iter().map(|p| p.end).collect();
        let first = self.teacher.predict(z_t.clone(), &starts, inputs);
        let z_middle = first.ddim(&schedule.levels(&middles));
        let second = self.teacher.predict(z_middle, &middles, inputs);
        let z_end = second.ddim(&ends);
        let turn = |f: fn(f64) -> f64| {
            let delta =
                |(path, start): (&Path, &f64)| f(path.end.angle - schedule.at(*start).angle);
            per_sample(paths.iter().zip(&starts).map(delta), &z_t.device())
        };
        (z_end - z_t.clone() * turn(f64::cos)) / turn(f64::sin)
    }
}

impl<T: Denoiser> Objective for Progressive<T> {
    fn loss(&self, student: Student<'_>, batch: &Batch, seed: u64) -> Loss {
        let draws = Draws::new(seed, batch);
        let paths: Vec<Path> = draws.index(self.steps).map(|i| self.path(i)).collect();
        let times: Vec<f64> = paths.iter().map(|p| p.start).collect();
        let levels = self.teacher.schedule().levels(&times);
        let starts: Vec<NoiseLevel> = paths.iter().map(|p| self.noise_at(p)).collect();
        let z_t = diffuse(batch.images.clone(), draws.noise(&batch.images), &starts);
        let inputs = Inputs {
            w: self.weights.map(|weights| weights.draw(draws)),
            ..batch.inputs.clone()
        };
        let target = self.target(&z_t, &paths, &inputs);
        let predicted = student.online.predict(z_t, &times, &inputs).v();
        Loss {
            per_sample: velocity_loss(predicted, target, self.weighting, &levels),
            times,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            frozen: 2 * self.teacher.network_calls(),
            trained: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use fewstep_diffusion::analytic::{Component, Coupling, Gaussian, MixtureDenoiser};
    use fewstep_diffusion::random::{self, Purpose};
    use fewstep_diffusion::{Prediction, PredictionKind, Schedule};

    const BATCH: usize = 6;

    /// A teacher that is not linear in z.
    fn teacher() -> MixtureDenoiser {
        let part = |mu, s| Component {
            weight: 1.0,
            gaussian: Gaussian { mu, s },
        };
        let classes = [vec![part(-0.7, 0.1), part(0.4, 0.2)]];
        MixtureDenoiser::new(Schedule::default(), Coupling::Pixel, &classes)
    }

    fn halving(halving: Halving, steps: usize) -> Progressive<MixtureDenoiser> {
        Progressive {
            teacher: teacher(),
            steps,
            halving,
            weights: Some(GuidanceWeights::Single(0.0)),
            weighting: Weighting::TruncatedSnr,
        }
    }

    fn noise() -> Tensor<4> {
        let samples: Vec<u64> = (0..BATCH as u64).collect();
        random::normal(
            1,
            &samples,
            Purpose::TrainingNoise,
            [1, 2, 2],
            &Device::flex(),
        )
    }

    fn inputs() -> Inputs {
        Inputs::classes(vec![0; BATCH])
    }

    fn assert_close(a: Tensor<4>, b: Tensor<4>, tolerance: f32, what: &str) {
        let difference = (a - b).abs().max().into_scalar::<f32>();
        assert!(difference < tolerance, "{what}: off by {difference}");
    }

    /// The student's single step along the target lands where the teacher's two steps do.
    #[test]
    fn one_step_lands_where_two_do() {
        for kind in [
            Halving::Deterministic,
            Halving::Stochastic,
            Halving::Encoder,
        ] {
            let method = halving(kind, 4);
            for index in 0..4 {
                let path = method.path(index);
                let z_t = noise();
                let target = method.target(&z_t, &[path; BATCH], &inputs());
                let schedule = method.teacher.schedule();
                let student = Prediction::new(
                    PredictionKind::V,
                    target,
                    z_t.clone(),
                    vec![schedule.at(path.start); BATCH],
                );
                let middle = vec![schedule.at(path.middle); BATCH];
                let first = method.teacher.predict(z_t, &[path.start; BATCH], &inputs());
                let z_middle = first.ddim(&middle);
                let times = vec![path.middle; BATCH];
                let second = method.teacher.predict(z_middle, &times, &inputs());
                let ends = vec![path.end; BATCH];
                let what = format!("{kind:?}, grid point {index}");
                assert_close(student.ddim(&ends), second.ddim(&ends), 1e-5, &what);
            }
        }
    }

    /// x̃ = α_t z_t − σ_t ṽ is the papers' (z_{t''} − (σ_{t''}/σ_t) z_t) / (α_{t''} − (σ_{t''}/σ_t) α_t).
    #[test]
    fn the_velocity_form_is_the_papers_formula() {
        let method = halving(Halving::Deterministic, 4);
        let path = method.path(2);
        let z_t = noise();
        let target = method.target(&z_t, &[path; BATCH], &inputs());
        let (t, end) = (method.teacher.schedule().at(path.start), path.end);
        let middle = vec![method.teacher.schedule().at(path.middle); BATCH];
        let first = method
            .teacher
            .predict(z_t.clone(), &[path.start; BATCH], &inputs());
        let times = vec![path.middle; BATCH];
        let second = method
            .teacher
            .predict(first.ddim(&middle), &times, &inputs());
        let z_end = second.ddim(&[end; BATCH]);
        let ratio = end.sigma() / t.sigma();
        let papers = (z_end - z_t.clone() * ratio) / (end.alpha() - ratio * t.alpha());
        assert_close(z_t * t.alpha() - target * t.sigma(), papers, 1e-4, "x̃");
    }

    /// The first grid point learns the teacher's own x̂: after half a step (deterministic), at once (stochastic).
    #[test]
    fn the_last_step_learns_the_teachers_image() {
        for (kind, middle) in [(Halving::Deterministic, 0.125), (Halving::Stochastic, 0.25)] {
            let method = halving(kind, 4);
            let path = method.path(0);
            assert_eq!(
                (path.start, path.middle, path.end),
                (0.25, middle, NoiseLevel::CLEAN)
            );
            let z_t = noise();
            let target = method.target(&z_t, &[path; BATCH], &inputs());
            let t = method.teacher.schedule().at(path.start);
            let first = method
                .teacher
                .predict(z_t.clone(), &[path.start; BATCH], &inputs());
            let z = first.ddim(&[method.teacher.schedule().at(middle); BATCH]);
            let expected = method.teacher.predict(z, &[middle; BATCH], &inputs()).x();
            let x_tilde = z_t * t.alpha() - target * t.sigma();
            assert_close(x_tilde, expected, 1e-4, &format!("{kind:?}"));
        }
    }

    /// Remembers what it is asked, and answers as the teacher.
    struct Witness {
        teacher: MixtureDenoiser,
        seen: std::sync::Mutex<Vec<(f64, Vec<f32>)>>,
    }

    impl Denoiser for Witness {
        fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
            let values: Vec<f32> = z.clone().into_data().try_to_vec().expect("f32 data");
            let samples = values.chunks_exact(values.len() / t.len());
            let seen = t.iter().zip(samples).map(|(&t, z)| (t, z.to_vec()));
            self.seen.lock().expect("unpoisoned").extend(seen);
            self.teacher.predict(z, t, inputs)
        }
        fn schedule(&self) -> &Schedule {
            self.teacher.schedule()
        }
    }

    /// What an encoder sees at t = 0 is the image to the bit, whatever noise the schedule has there; later it is not.
    #[test]
    fn an_encoder_starts_at_the_image_itself() {
        let schedule = Schedule::new(fewstep_diffusion::ScheduleConfig::Discrete {
            betas: fewstep_diffusion::BetaSchedule::ScaledLinear,
            beta_start: 0.00085,
            beta_end: 0.012,
            steps: 1000,
            zero_terminal_snr: false,
            clean_end: false,
        })
        .expect("valid");
        assert!(schedule.at(0.0).sigma() > 0.02);
        let part = Component {
            weight: 1.0,
            gaussian: Gaussian { mu: 0.2, s: 0.3 },
        };
        let teacher = || MixtureDenoiser::new(schedule.clone(), Coupling::Pixel, &[vec![part]]);
        let witness = Witness {
            teacher: teacher(),
            seen: Default::default(),
        };
        let method = Progressive {
            teacher: teacher(),
            steps: 2,
            halving: Halving::Encoder,
            weights: Some(GuidanceWeights::Single(0.0)),
            weighting: Weighting::TruncatedSnr,
        };
        let batch = Batch {
            images: noise(),
            inputs: inputs(),
            clock: 0,
            update: 0,
        };
        let student = Student {
            online: &witness,
            target: &witness,
        };
        method.loss(student, &batch, 3);
        let images: Vec<f32> = noise().into_data().try_to_vec().expect("f32 data");
        let seen = witness.seen.into_inner().expect("unpoisoned");
        let starts = seen.iter().filter(|(t, _)| *t == 0.0).count();
        assert!(
            0 < starts && starts < BATCH,
            "{starts} of {BATCH} start at the image"
        );
        for ((t, z), image) in seen.iter().zip(images.chunks_exact(4)) {
            assert_eq!(*t == 0.0, z == image, "t = {t}");
        }
    }

    /// Jumps of the stochastic variant are twice as long, and the one from 2/N ends at 0.
    #[test]
    fn stochastic_jumps_are_twice_as_long() {
        let method = halving(Halving::Stochastic, 4);
        let path = method.path(3);
        assert_eq!((path.start, path.middle), (1.0, 0.75));
        assert_eq!(path.end, method.teacher.schedule().at(0.5));
        assert_eq!(method.path(1).end, NoiseLevel::CLEAN);
    }
}
