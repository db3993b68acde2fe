//! UniPC of order 2: a multistep predictor whose every step is corrected by the next network call.

use super::interval::Interval;
use super::observer::{Calls, Cancelled, Observer};
use crate::{Denoiser, Inputs, TimeGrid};
use burn::tensor::Tensor;

/// B(h) of UniPC, with −h for h because the solver works on x̂ (section 3.1 of 2302.04867).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UniPcBasis {
    /// B₁(h) = h: for unguided sampling with very few steps.
    Bh1,
    /// B₂(h) = e^h − 1: for guided sampling, and the better default.
    #[default]
    Bh2,
}

/// UniPC-2, data prediction (2302.04867, Algs. 1 and 2): the predictor UniP-2, each of whose steps
/// is corrected by UniC-2 once the network has answered at its end, so that the correction costs no
/// network call.
///
/// The first step and the last one are of first order, and the last is not corrected (there is no
/// call at the end of the grid), as in diffusers with `lower_order_final`. A step more than twice
/// as long in λ as the one before is of first order too. One network call a step. Returns z at the
/// grid's last time.
///
/// # Errors
/// When the observer stops it.
pub fn unipc(
    denoiser: &dyn Denoiser,
    noise: Tensor<4>,
    inputs: &Inputs,
    grid: &TimeGrid,
    basis: UniPcBasis,
    observer: Observer<'_>,
) -> Result<Tensor<4>, Cancelled> {
    let total = grid.steps();
    let levels = denoiser.schedule().levels(grid.times());
    let mut calls = Calls {
        denoiser,
        inputs,
        observer,
        total,
    };
    let mut z = noise;
    let mut before: Option<Solved> = None;
    for (index, (t, _)) in grid.pairs().enumerate() {
        let prediction = calls.predict(index, z, t)?;
        let x_hat = prediction.x();
        let corrected = match &before {
            Some(step) => step.corrected(x_hat.clone()),
            None => prediction.z(),
        };
        let interval = Interval::between(levels[index], levels[index + 1]);
        let slope = before
            .filter(|_| index + 1 < total)
            .and_then(|step| Slope::new(&step, interval, &x_hat));
        let step = Solved {
            z: corrected,
            x_hat,
            interval,
            slope,
            basis,
        };
        z = step.predicted();
        before = Some(step);
    }
    Ok(z)
}

/// All that the corrector needs to know of a step that the predictor has made.
struct Solved {
    z: Tensor<4>,
    x_hat: Tensor<4>,
    interval: Interval,
    /// None where the step is of first order.
    slope: Option<Slope>,
    basis: UniPcBasis,
}

/// What the step before says about the change of x̂.
struct Slope {
    /// r₁ = −h_before / h: where the earlier call lies, in steps.
    r: f64,
    /// D₁ / r₁ = (x̂_before − x̂) / r₁.
    d: Tensor<4>,
}

impl Slope {
    fn new(before: &Solved, interval: Interval, x_hat: &Tensor<4>) -> Option<Self> {
        let reach = interval.reach(&before.interval)?;
        Some(Self {
            r: -1.0 / reach,
            d: (x_hat.clone() - before.x_hat.clone()) * reach,
        })
    }
}

impl Solved {
    /// UniP: z_s with the order-2 coefficient ½.
    fn predicted(&self) -> Tensor<4> {
        let first_order = self.interval.step(self.z.clone(), self.x_hat.clone());
        match &self.slope {
            Some(slope) => first_order + slope.d.clone() * (0.5 * self.weight()),
            None => first_order,
        }
    }

    /// UniC: z_s again, now that x̂ at s is known.
    fn corrected(&self, x_hat_s: Tensor<4>) -> Tensor<4> {
        let first_order = self.interval.step(self.z.clone(), self.x_hat.clone());
        let change = x_hat_s - self.x_hat.clone();
        let residual = match &self.slope {
            None => change * 0.5,
            Some(slope) => {
                let (rho_1, rho_2) = self.coefficients(slope.r);
                slope.d.clone() * rho_1 + change * rho_2
            }
        };
        first_order + residual * self.weight()
    }

    /// −α_s B(−h).
    fn weight(&self) -> f64 {
        match self.basis {
            UniPcBasis::Bh1 => self.interval.alpha * self.interval.h,
            UniPcBasis::Bh2 => self.interval.gain,
        }
    }

    /// ρ of UniC-2: the solution of ρ₁ + ρ₂ = b₁, r₁ ρ₁ + ρ₂ = b₂ with b_k = k! h φ_{k+1}(h) / B(h)
    /// (Eq. 5 of the paper), at −h.
    fn coefficients(&self, r: f64) -> (f64, f64) {
        let h = -self.interval.h;
        let h_phi_2 = h.exp_m1() / h - 1.0;
        let h_phi_3 = h_phi_2 / h - 0.5;
        let b_of_h = match self.basis {
            UniPcBasis::Bh1 => h,
            UniPcBasis::Bh2 => h.exp_m1(),
        };
        let (b_1, b_2) = (h_phi_2 / b_of_h, 2.0 * h_phi_3 / b_of_h);
        let rho_1 = (b_1 - b_2) / (1.0 - r);
        (rho_1, b_1 - rho_1)
    }
}
