//! Kernels that blur and kernels that ring.

use crate::ImageShape;
use crate::condition::random::{between, uniform};
use rand_chacha::ChaCha8Rng;
use std::f64::consts::PI;

/// A square kernel of odd side whose weights sum to 1.
pub(super) struct Kernel {
    side: usize,
    weights: Vec<f64>,
}

/// How the weights of a blur fall with the distance d, where d² is the quadratic form of its
/// covariance.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fall {
    /// exp(−½ d^{2β}): the normal kernel for β = 1, flatter or more pointed for others.
    Exponential(f64),
    /// 1 / (1 + d^{2β}): a plateau.
    Plateau(f64),
}

impl Kernel {
    /// A blur: round (82 %) or stretched along some direction, normal (70 %), of other powers (15
    /// %), or with a plateau (15 %).
    pub(super) fn blur(sigma: [f64; 2], random: &mut ChaCha8Rng) -> Self {
        let side = any_side(random);
        let kind = uniform(random);
        // Shares of (round, stretched): normal .45, .25; powers .12, .03; plateaus .12, .03.
        let (round, shape) = match kind {
            k if k < 0.45 => (true, 0),
            k if k < 0.70 => (false, 0),
            k if k < 0.82 => (true, 1),
            k if k < 0.85 => (false, 1),
            k if k < 0.97 => (true, 2),
            _ => (false, 2),
        };
        let first = between(sigma, random);
        let (second, turn) = match round {
            true => (first, 0.0),
            false => (between(sigma, random), between([-PI, PI], random)),
        };
        let pick = |ends: [f64; 2], random: &mut ChaCha8Rng| match uniform(random) < 0.5 {
            true => between([ends[0], 1.0], random),
            false => between([1.0, ends[1]], random),
        };
        let fall = match shape {
            0 => Fall::Exponential(1.0),
            1 => Fall::Exponential(pick([0.5, 4.0], random)),
            _ => Fall::Plateau(pick([1.0, 2.0], random)),
        };
        Self::falling(side, [first, second], turn, fall)
    }

    /// A low-pass filter that cuts at a random frequency and rings: ω J₁(ω r) / (2π r).
    pub(super) fn sinc(random: &mut ChaCha8Rng) -> Self {
        let side = any_side(random);
        let lowest = if side < 13 { PI / 3.0 } else { PI / 5.0 };
        Self::ringing(side, between([lowest, PI], random))
    }

    fn falling(side: usize, sigma: [f64; 2], turn: f64, fall: Fall) -> Self {
        let (sin, cos) = turn.sin_cos();
        Self::from_weights(side, |y, x| {
            let along = (cos * x + sin * y) / sigma[0];
            let across = (cos * y - sin * x) / sigma[1];
            let squared = along * along + across * across;
            match fall {
                Fall::Exponential(beta) => (-0.5 * squared.powf(beta)).exp(),
                Fall::Plateau(beta) => 1.0 / (1.0 + squared.powf(beta)),
            }
        })
    }

    fn ringing(side: usize, omega: f64) -> Self {
        Self::from_weights(side, |y, x| match y.hypot(x) {
            0.0 => omega * omega / (4.0 * PI),
            r => omega * bessel_j1(omega * r) / (2.0 * PI * r),
        })
    }

    fn from_weights(side: usize, weight: impl Fn(f64, f64) -> f64) -> Self {
        let half = (side / 2) as f64;
        let weights: Vec<f64> = (0..side * side)
            .map(|i| weight((i / side) as f64 - half, (i % side) as f64 - half))
            .collect();
        let total: f64 = weights.iter().sum();
        Self {
            side,
            weights: weights.into_iter().map(|w| w / total).collect(),
        }
    }

    /// Filters every channel; beyond its border an image is mirrored.
    pub(super) fn apply(&self, values: &mut [f32], shape: ImageShape) {
        let (height, width) = (shape.height, shape.width);
        let half = (self.side / 2) as isize;
        for plane in values.chunks_exact_mut(height * width) {
            let source = plane.to_vec();
            for (i, value) in plane.iter_mut().enumerate() {
                let (y, x) = ((i / width) as isize, (i % width) as isize);
                let sum: f64 = (0..self.side * self.side)
                    .map(|k| {
                        let dy = (k / self.side) as isize - half;
                        let dx = (k % self.side) as isize - half;
                        let place = mirror(y + dy, height) * width + mirror(x + dx, width);
                        self.weights[k] * f64::from(source[place])
                    })
                    .sum();
                *value = (sum as f32).clamp(0.0, 1.0);
            }
        }
    }
}

/// 7, 9, ... or 21.
fn any_side(random: &mut ChaCha8Rng) -> usize {
    7 + 2 * (uniform(random) * 8.0) as usize
}

/// An index into `0..length`, mirrored at both ends as often as needed: −1 is 1, `length` is
/// `length − 2`.
fn mirror(place: isize, length: usize) -> usize {
    let period = 2 * (length as isize - 1);
    if period == 0 {
        return 0;
    }
    let place = place.rem_euclid(period);
    place.min(period - place) as usize
}

/// J₁(x) = 1/π ∫₀^π cos(τ − x sin τ) dτ by the midpoint rule, which for a periodic integrand
/// converges faster than any power; 64 points are exact to rounding for |x| up to about 50.
fn bessel_j1(x: f64) -> f64 {
    const POINTS: usize = 64;
    let value = |i: usize| {
        let tau = PI * (i as f64 + 0.5) / POINTS as f64;
        (tau - x * tau.sin()).cos()
    };
    (0..POINTS).map(value).sum::<f64>() / POINTS as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    /// Values of the Bessel function by scipy.special.j1.
    #[test]
    fn the_bessel_function_is_right() {
        for (x, expected) in [
            (0.0, 0.0),
            (0.5, 0.242_268_457_674_873_9),
            (1.0, 0.440_050_585_744_933_5),
            (5.0, -0.327_579_137_591_465_2),
            (40.0, 0.126_038_318_037_584_74),
        ] {
            assert!(
                (bessel_j1(x) - expected).abs() < 1e-13,
                "{x}: {}",
                bessel_j1(x)
            );
        }
    }

    #[test]
    fn kernels_keep_the_brightness_and_their_symmetry() {
        for seed in 0..200 {
            let random = &mut ChaCha8Rng::seed_from_u64(seed);
            for kernel in [Kernel::blur([0.2, 3.0], random), Kernel::sinc(random)] {
                let total: f64 = kernel.weights.iter().sum();
                assert!((total - 1.0).abs() < 1e-9);
                assert!(kernel.side % 2 == 1 && (7..=21).contains(&kernel.side));
                let reversed = kernel.weights.iter().rev();
                assert!(
                    kernel
                        .weights
                        .iter()
                        .zip(reversed)
                        .all(|(a, b)| (a - b).abs() < 1e-9)
                );
            }
        }
    }

    /// The second moments of a normal kernel are those it was made of.
    #[test]
    fn a_stretched_blur_is_stretched_as_told() {
        let kernel = Kernel::falling(41, [4.0, 2.0], PI / 6.0, Fall::Exponential(1.0));
        let moment = |f: fn(f64, f64) -> f64| -> f64 {
            let place = |i: usize| ((i / 41) as f64 - 20.0, (i % 41) as f64 - 20.0);
            let terms = kernel.weights.iter().enumerate();
            terms.map(|(i, w)| w * f(place(i).0, place(i).1)).sum()
        };
        // Σ = R diag(16, 4) Rᵀ with a turn of 30°.
        let (xx, yy, xy) = (
            moment(|_, x| x * x),
            moment(|y, _| y * y),
            moment(|y, x| x * y),
        );
        assert!(
            (xx - 13.0).abs() < 0.05 && (yy - 7.0).abs() < 0.05,
            "{xx} {yy}"
        );
        assert!((xy - 12.0 * 0.75f64.sqrt() / 2.0).abs() < 0.05, "{xy}");
    }

    /// A sinc filter lets waves below its cut through and holds those above back.
    #[test]
    fn a_sinc_filter_cuts_frequencies() {
        let shape = ImageShape {
            channels: 1,
            height: 41,
            width: 41,
        };
        let left = |frequency: f64| {
            let wave = |i: usize| 0.5 + 0.4 * (frequency * (i % 41) as f64).cos();
            let mut values: Vec<f32> = (0..41 * 41).map(|i| wave(i) as f32).collect();
            Kernel::ringing(21, 1.2).apply(&mut values, shape);
            let middle = &values[20 * 41 + 10..20 * 41 + 31];
            let high = middle.iter().copied().fold(0.0, f32::max);
            let low = middle.iter().copied().fold(1.0, f32::min);
            (high - low) / 0.8
        };
        assert!(left(0.5) > 0.85, "{}", left(0.5));
        assert!(left(2.2) < 0.15, "{}", left(2.2));
    }

    #[test]
    fn places_are_mirrored() {
        let mirrored: Vec<usize> = (-3..6).map(|place| mirror(place, 3)).collect();
        assert_eq!(mirrored, [1, 2, 1, 0, 1, 2, 1, 0, 1]);
        assert_eq!(mirror(-5, 1), 0);
    }
}
