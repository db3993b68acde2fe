//! Models that are linear in noisy image and condition, by their coefficients: those known in
//! closed form, those of trained students, and how far they are apart.

use crate::common::Table;
use fewstep_diffusion::analytic::{Gaussian, GaussianDenoiser};
use fewstep_diffusion::{NoiseLevel, Schedule};
use fewstep_distill::method::{Codi, ConsistencyTarget, OdeNoise, OdeStep};

/// Images are x ~ N(0.3, 0.6²), conditions c = 0.8 x + noise.
pub(crate) const PRIOR: Gaussian = Gaussian { mu: 0.3, s: 0.6 };
pub(crate) const SLOPE: f64 = 0.8;
pub(crate) const INTERVALS: usize = 4;

/// Coefficients of z, c and 1.
pub(crate) type Line = [f64; 3];

pub(crate) fn combine(terms: &[(f64, Line)]) -> Line {
    [0, 1, 2].map(|i| terms.iter().map(|(weight, line)| weight * line[i]).sum())
}

pub(crate) const Z: Line = [1.0, 0.0, 0.0];

/// E[x | z_t, c] for conditions with this much noise, by the product of three normal densities.
pub(crate) fn posterior_mean(level: NoiseLevel, noise: f64) -> Line {
    let (alpha, sigma) = (level.alpha(), level.sigma());
    let weights = [
        alpha / sigma.powi(2),
        SLOPE / noise.powi(2),
        PRIOR.mu / PRIOR.s.powi(2),
    ];
    let precision = (alpha / sigma).powi(2) + (SLOPE / noise).powi(2) + PRIOR.s.powi(-2);
    weights.map(|weight| weight / precision)
}

/// Where the losses of all times stand still: x̂ of each grid point 1..=D.
///
/// For a target that does not move, the best function of (z_t, c) is the mean of the target given
/// (z_t, c), and all is linear. With X for x̂_θ, m for E[x | z_t, c] and T for the mean of the
/// target, the derivative of k (ε̂_θ − T)² + g (x̂_θ − m)² is zero where k (α/σ) (T − ε̂_θ) + g (X
/// − m) = 0. T is linear in X again, through ẑ_s.
pub(crate) fn fixed_point(method: &Codi<GaussianDenoiser>, noise: f64) -> Vec<Line> {
    let schedule = Schedule::default();
    let (k, g) = (method.consistency, method.guidance);
    let mut images: Vec<Line> = vec![Z];
    for index in 1..=INTERVALS {
        let level = schedule.at(index as f64 / INTERVALS as f64);
        let earlier = schedule.at((index - 1) as f64 / INTERVALS as f64);
        let (alpha, sigma) = (level.alpha(), level.sigma());
        let mean = posterior_mean(level, noise);
        let mean_noise = combine(&[(1.0 / sigma, Z), (-alpha / sigma, mean)]);
        // ẑ_s = share · X + rest, on average.
        let base = posterior_mean(level, f64::INFINITY);
        let (share, rest) = match (&method.ode_step, method.ode_noise) {
            (OdeStep::Base(_), OdeNoise::True) => (
                0.0,
                combine(&[(earlier.alpha(), base), (earlier.sigma(), mean_noise)]),
            ),
            (OdeStep::Base(_), OdeNoise::Predicted) => {
                let eps = combine(&[(1.0 / sigma, Z), (-alpha / sigma, base)]);
                (
                    0.0,
                    combine(&[(earlier.alpha(), base), (earlier.sigma(), eps)]),
                )
            }
            (_, OdeNoise::True) => (earlier.alpha(), combine(&[(earlier.sigma(), mean_noise)])),
            (_, OdeNoise::Predicted) => (
                earlier.alpha() - earlier.sigma() * alpha / sigma,
                combine(&[(earlier.sigma() / sigma, Z)]),
            ),
        };
        // x̂ of the target at s: [p, q, r] on (ẑ_s, c, 1).
        let [p, q, r] = images[index - 1];
        let image = match method.consistent {
            ConsistencyTarget::Image => {
                let target = combine(&[(p, rest), (1.0, [0.0, q, r])]);
                let right = combine(&[(k, target), (g, mean)]);
                combine(&[(1.0 / (k + g - k * p * share), right)])
            }
            ConsistencyTarget::Noise => {
                let k = if index == 1 { 0.0 } else { k };
                let to_noise = earlier.alpha() / earlier.sigma();
                let slope = 1.0 / earlier.sigma() - to_noise * p;
                let target = combine(&[(slope, rest), (-to_noise, [0.0, q, r])]);
                let ratio = alpha / sigma;
                let right = combine(&[(k * ratio / sigma, Z), (-k * ratio, target), (g, mean)]);
                let left = k * ratio * ratio + k * ratio * slope * share + g;
                combine(&[(1.0 / left, right)])
            }
        };
        images.push(image);
    }
    images[1..].to_vec()
}

/// x̂ = α z − σ v̂ of a trained student at each grid point.
pub(crate) fn learnt(student: &Table) -> Vec<Line> {
    let schedule = Schedule::default();
    (1..=INTERVALS)
        .map(|index| {
            let level = schedule.at(index as f64 / INTERVALS as f64);
            let v = student.line(index, 0);
            combine(&[(level.alpha(), Z), (-level.sigma(), v)])
        })
        .collect()
}

pub(crate) fn assert_close(learnt: &[Line], expected: &[Line], tolerance: f64, what: &str) {
    for (index, (ours, theirs)) in learnt.iter().zip(expected).enumerate() {
        for (a, b) in ours.iter().zip(theirs) {
            let point = index + 1;
            assert!(
                (a - b).abs() < tolerance,
                "{what}, t = {point}/{INTERVALS}: {ours:?} for {theirs:?}"
            );
        }
    }
}

/// The largest difference of two sets of coefficients.
pub(crate) fn apart(a: &[Line], b: &[Line]) -> f64 {
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}
