//! The loss of a halving.

#[cfg(test)]
mod tests;

use super::Halving;
use crate::method::{
    Batch, Cost, Draws, GuidanceWeights, Loss, LossWeighting, Objective, Student, diffuse,
    velocity_loss,
};
use burn::tensor::Tensor;
use fewstep_diffusion::{Denoiser, Inputs, NoiseLevel, per_sample};

/// E ω(λ_t) ‖x̃ − x̂_η(z_t, w, c)‖², where x̃ is the prediction whose one step lands where two of
/// the teacher's do (alg. 2 of 2202.00512 and of 2210.03142).
pub struct Progressive<T> {
    /// The frozen teacher: the stage-one student or the result of the last halving; for the
    /// ablation that skips stage one, the guided pair.
    pub teacher: T,
    /// Number of steps N of the student.
    pub steps: usize,
    /// The sampler to prepare for.
    pub halving: Halving,
    /// Which w; none for a teacher without guidance.
    pub weights: Option<GuidanceWeights>,
    /// ω.
    pub weighting: LossWeighting,
    /// How the target is computed.
    pub target: TargetForm,
}

/// How ṽ is computed. Both are the same number, to rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetForm {
    /// From the teacher's two velocities: (sin δ₁ sin δ₂ z_t + sin δ₁ cos δ₂ v₁ + sin δ₂ v₂) /
    /// sin(δ₁ + δ₂), where δ₁ and δ₂ are the angles of its two steps.
    #[default]
    Velocities,
    /// From where the two steps land: (z_{t''} − cos δ z_t) / sin δ, which loses digits where steps
    /// are short; that of version 0.1.0.
    Difference,
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

    /// ṽ: the velocity whose one step from `z_t` along each path lands where the teacher's two
    /// steps do.
    fn target(&self, z_t: &Tensor<4>, paths: &[Path], inputs: &Inputs) -> Tensor<4> {
        let schedule = self.teacher.schedule();
        let starts: Vec<f64> = paths.iter().map(|p| p.start).collect();
        let middles: Vec<f64> = paths.iter().map(|p| p.middle).collect();
        let first = self.teacher.predict(z_t.clone(), &starts, inputs);
        let z_middle = first.ddim(&schedule.levels(&middles));
        let second = self.teacher.predict(z_middle, &middles, inputs);
        // Of each sample, from the angles of the first step, the second, and both.
        let of_angles = |f: fn([f64; 3]) -> f64| {
            let factor = |path: &Path| {
                let [start, middle] = [path.start, path.middle].map(|t| schedule.at(t).angle);
                let end = path.end.angle;
                f([middle - start, end - middle, end - start])
            };
            per_sample(paths.iter().map(factor), &z_t.device())
        };
        match self.target {
            TargetForm::Velocities => {
                let of_z = of_angles(|[one, two, both]| one.sin() * two.sin() / both.sin());
                let of_first = of_angles(|[one, two, both]| one.sin() * two.cos() / both.sin());
                let of_second = of_angles(|[_, two, both]| two.sin() / both.sin());
                z_t.clone() * of_z + first.v() * of_first + second.v() * of_second
            }
            TargetForm::Difference => {
                let ends: Vec<NoiseLevel> = paths.iter().map(|p| p.end).collect();
                let cos = of_angles(|[_, _, both]| both.cos());
                let sin = of_angles(|[_, _, both]| both.sin());
                (second.ddim(&ends) - z_t.clone() * cos) / sin
            }
        }
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
            largest_frozen: self.teacher.network_calls(),
            ..Cost::default()
        }
    }
}
