//! EDM's second-order sampler, without and with churn.

use super::noise::{StepNoise, renoise};
use super::observer::{Calls, Cancelled, Observer};
use crate::{Denoiser, Inputs, NoiseLevel, Prediction, Schedule, TimeGrid};
use burn::tensor::Tensor;

/// Where σ/α falls further than this in one step, only the newer prediction of the denoiser is
/// used.
const LARGEST_FALL: f64 = 4.0;

/// EDM's deterministic Heun sampler (2206.00364, Alg. 1) on x̄ = z / α and σ̄ = σ / α of a
/// variance-preserving model: an Euler step in σ̄, then the trapezoidal rule with a second network
/// call at its end. The last step is only the Euler step. 2N − 1 network calls. Returns z at the
/// grid's last time.
///
/// Departure from the paper: the trapezoid is for grids on which σ̄ falls gently. From t to s it
/// moves x̄_s by ½(r − 1)(x̂_s − x̂_t), r = σ̄_t / σ̄_s, which grows without bound with r, while no
/// prediction between x̂_t and x̂_s could move it by more than (1 − 1/r)(x̂_s − x̂_t). Where r is
/// above 4 (3.8 is the most on EDM's own grid of 18 steps; it is 2000 in the first of 16 steps from
/// a log-SNR of −20), that bound is the step, and x̂_s the data term of all of it.
///
/// # Errors
/// When the observer stops it.
pub fn heun(
    denoiser: &dyn Denoiser,
    noise: Tensor<4>,
    inputs: &Inputs,
    grid: &TimeGrid,
    observer: Observer<'_>,
) -> Result<Tensor<4>, Cancelled> {
    let as_it_is = |_: usize, z, t| (z, t);
    walk(denoiser, noise, inputs, grid, observer, as_it_is)
}

/// How much noise [`heun_churn`] adds before a step. σ̄ = σ / α.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Churn {
    /// S_churn: the amount over the whole run; a step of N raises σ̄ by the factor 1 + min(S_churn
    /// / N, √2 − 1).
    pub amount: f64,
    /// S_tmin: no churn below this σ̄.
    pub sigma_min: f64,
    /// S_tmax: no churn above this σ̄.
    pub sigma_max: f64,
    /// S_noise: standard deviation of the added noise, slightly above 1 to make up for lost detail.
    pub noise: f64,
}

impl Default for Churn {
    /// EDM's settings for ImageNet-64 (Table 5 of the paper).
    fn default() -> Self {
        Self {
            amount: 40.0,
            sigma_min: 0.05,
            sigma_max: 50.0,
            noise: 1.003,
        }
    }
}

impl Churn {
    /// t̂ ≥ t, the time at which σ̄ is (1 + γ) σ̄_t; at most 1.
    fn raised(&self, schedule: &Schedule, t: f64, steps: usize) -> f64 {
        let sigma = schedule.at(t).angle.tan();
        if !(self.sigma_min..=self.sigma_max).contains(&sigma) {
            return t;
        }
        let gamma = (self.amount / steps as f64).min(2f64.sqrt() - 1.0);
        let raised = NoiseLevel {
            angle: ((1.0 + gamma) * sigma).atan(),
        };
        schedule.time_of_log_snr(raised.log_snr()).max(t)
    }
}

/// EDM's stochastic sampler (2206.00364, Alg. 2): [`heun`] with noise added before each step, as
/// much as raises σ̄ by the factor 1 + γ; the step then starts from the raised level. 2N − 1
/// network calls.
///
/// # Errors
/// When the observer stops it.
pub fn heun_churn(
    denoiser: &dyn Denoiser,
    noise: Tensor<4>,
    inputs: &Inputs,
    grid: &TimeGrid,
    churn: Churn,
    fresh: &StepNoise,
    observer: Observer<'_>,
) -> Result<Tensor<4>, Cancelled> {
    let (schedule, steps) = (denoiser.schedule(), grid.steps());
    let raise = |index: usize, z: Tensor<4>, t: f64| match churn.raised(schedule, t, steps) {
        t_hat if t_hat > t => {
            let added = fresh.draw(index, &z) * churn.noise;
            let z = renoise(z, schedule.at(t), schedule.at(t_hat), added);
            (z, t_hat)
        }
        _ => (z, t),
    };
    walk(denoiser, noise, inputs, grid, observer, raise)
}

/// Each step starts from the z and the time that `start` makes of its number, z and time.
fn walk(
    denoiser: &dyn Denoiser,
    noise: Tensor<4>,
    inputs: &Inputs,
    grid: &TimeGrid,
    observer: Observer<'_>,
    start: impl Fn(usize, Tensor<4>, f64) -> (Tensor<4>, f64),
) -> Result<Tensor<4>, Cancelled> {
    let batch = noise.dims()[0];
    let total = grid.steps();
    let mut calls = Calls {
        denoiser,
        inputs,
        observer,
        total,
    };
    let mut z = noise;
    for (index, (t, s)) in grid.pairs().enumerate() {
        let (from, t) = start(index, z, t);
        let prediction = calls.predict(index, from, t)?;
        z = if index + 1 == total {
            prediction.ddim(&vec![denoiser.schedule().at(s); batch])
        } else {
            trapezoid(denoiser, &prediction, s, inputs)
        };
    }
    Ok(z)
}

/// x̄_s = x̄_t + (σ̄_s − σ̄_t) ½(d_t + d_s) with d = (x̄ − x̂) / σ̄, written on z and in x̂, where
/// nothing is large: the Euler step is DDIM's, and the correction to it ½(r − 1) α_s (x̂_s − x̂_t).
fn trapezoid(denoiser: &dyn Denoiser, at_t: &Prediction, s: f64, inputs: &Inputs) -> Tensor<4> {
    let batch = at_t.levels().len();
    let (from, to) = (at_t.levels()[0], denoiser.schedule().at(s));
    let euler = at_t.ddim(&vec![to; batch]);
    let at_s = denoiser.predict(euler.clone(), &vec![s; batch], inputs);
    let r = from.angle.tan() / to.angle.tan();
    let share = if r <= LARGEST_FALL {
        (r - 1.0) / 2.0
    } else {
        1.0 - 1.0 / r
    };
    euler + (at_s.x() - at_t.x()) * (share * to.alpha())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytic::{Gaussian, GaussianDenoiser};
    use crate::per_sample;
    use burn::tensor::Device;

    const DATA: Gaussian = Gaussian { mu: 0.3, s: 0.5 };

    /// x̂ and v̂ of one number.
    fn predicted(level: NoiseLevel, z: f64) -> (f64, f64) {
        let (a, b) = DATA.velocity(level);
        let v = a * z + b;
        (level.alpha() * z - level.sigma() * v, v)
    }

    fn turned(from: NoiseLevel, to: NoiseLevel, (z, v): (f64, f64)) -> f64 {
        let delta = to.angle - from.angle;
        delta.cos() * z + delta.sin() * v
    }

    /// Three steps of which the first falls far, by hand, with and without churn.
    #[test]
    fn steps_are_those_by_hand() {
        let schedule = Schedule::default();
        let model = GaussianDenoiser::unconditional(schedule.clone(), DATA);
        let (grid, fresh) = (TimeGrid::uniform_from(0.9, 3), StepNoise::new(5, vec![0]));
        let start = per_sample([0.8], &Device::flex());
        let number = |tensor: Tensor<4>| f64::from(tensor.into_scalar::<f32>());
        let churn = Churn {
            amount: 0.6,
            noise: 1.5,
            ..Churn::default()
        };
        for churned in [false, true] {
            let mut z = 0.8;
            for (index, (t, s)) in grid.pairs().enumerate() {
                let (mut from, to) = (schedule.at(t), schedule.at(s));
                if churned {
                    // σ/α grows by 0.6 in three steps, and the noise in it is 1.5 times as large.
                    let angle = (1.2 * from.angle.tan()).atan();
                    let raised = NoiseLevel { angle };
                    let scale = raised.alpha() / from.alpha();
                    let added = (raised.sigma().powi(2) - (scale * from.sigma()).powi(2)).sqrt();
                    let noise = number(fresh.draw(index, &start));
                    z = scale * z + added * noise * 1.5;
                    from = raised;
                }
                let (x, v) = predicted(from, z);
                let euler = turned(from, to, (z, v));
                let r = from.angle.tan() / to.angle.tan();
                let share = if r <= 4.0 {
                    (r - 1.0) / 2.0
                } else {
                    1.0 - 1.0 / r
                };
                z = match index {
                    2 => euler,
                    _ => euler + (predicted(to, euler).0 - x) * share * to.alpha(),
                };
            }
            let (none, ignore) = (Inputs::default(), &mut super::super::ignore);
            let made = match churned {
                false => heun(&model, start.clone(), &none, &grid, ignore),
                true => heun_churn(&model, start.clone(), &none, &grid, churn, &fresh, ignore),
            };
            let made = number(made.expect("to its end"));
            assert!((made - z).abs() < 1e-4, "{made} for {z}");
        }
    }

    /// σ/α grows by the amount over the steps, at most by √2, and only inside the range.
    #[test]
    fn churn_raises_the_noise_as_edm_says() {
        let schedule = Schedule::default();
        let churn = Churn::default();
        let of = |t: f64| schedule.at(t).angle.tan();
        let time = |sigma: f64| {
            let angle = sigma.atan();
            schedule.time_of_log_snr(NoiseLevel { angle }.log_snr())
        };
        for (steps, grown) in [(400, 1.1), (100, 1.4), (90, 2f64.sqrt()), (4, 2f64.sqrt())] {
            for sigma in [0.06, 1.0, 30.0] {
                let raised = of(churn.raised(&schedule, time(sigma), steps));
                assert!((raised / sigma - grown).abs() < 1e-9, "{raised} of {sigma}");
            }
            for sigma in [0.04, 60.0] {
                let t = time(sigma);
                assert_eq!(churn.raised(&schedule, t, steps), t);
            }
        }
    }
}
