//! Both losses by hand in 64 bits, and a student of Gaussian classes that ends at the guided
//! teacher's distribution.

mod by_hand;
mod distribution;

use super::*;
use crate::method::start::testing::*;
use crate::method::{Batch, Draws, Simulation, TrainedSteps};
use fewstep_diffusion::analytic::GaussianDenoiser;
use fewstep_diffusion::{CfgDenoiser, Schedule};

/// With a teacher that is guided by w times a factor.
fn matching(
    steps: usize,
    factor: f64,
) -> DistributionMatching<ScaledGuidance<CfgDenoiser<GaussianDenoiser>>> {
    DistributionMatching {
        teacher: ScaledGuidance::new(teacher(), factor),
        simulation: simulation(steps),
        times: [0.02, 0.98],
        gan: 0.0,
    }
}

/// All samples of an update are at one step, whatever part of it they are in; over many updates it
/// is every step equally often, or always the last where only that learns.
#[test]
fn the_step_of_an_update_is_drawn_evenly() {
    let of = |clock, update| {
        let batch = Batch {
            clock,
            update,
            ..batch(0, 4, [1, 1, 1])
        };
        let draws = Draws::new(SEED, &batch);
        let last = Simulation {
            trained: TrainedSteps::Last,
            ..simulation(4)
        };
        assert_eq!(last.step(draws), 1);
        simulation(4).step(draws)
    };
    assert_eq!(of(32, 0), of(0, 0));
    let mut counts = [0; 5];
    (0..400).for_each(|update| counts[of(update, update)] += 1);
    assert_eq!(counts[0], 0);
    assert!(
        counts[1..].iter().all(|count| (70..130).contains(count)),
        "{counts:?}"
    );
}

/// Noise is added at the timesteps within the range, or anywhere in it on a continuous schedule.
#[test]
fn times_are_within_their_range() {
    let draws = Draws::new(SEED, &batch(0, 200, [1, 1, 1]));
    let mut times = draws.times_within([0.3, 0.7], &schedule());
    times.sort_by(f64::total_cmp);
    times.dedup();
    assert_eq!(times, [2.0, 3.0, 4.0].map(|k| k / TIMESTEPS as f64));
    let times = draws.times_within([0.3, 0.7], &Schedule::default());
    assert!(times.iter().all(|t| (0.3..0.7).contains(t)));
    assert!(times.iter().any(|t| *t < 0.32) && times.iter().any(|t| *t > 0.68));
}
