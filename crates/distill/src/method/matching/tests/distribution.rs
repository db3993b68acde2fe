//! What the student's images are in the end.

use super::*;
use crate::method::{Peer, STUDENT};
use crate::optim::{Ema, OptimConfig, PlayerState, Stepper};
use burn::tensor::Device;
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::{Inputs, TimeGrid, sampler};

/// Student and fake score in turns: the student's images have the mean μ_c + w (μ_c − μ) and the
/// width of the guided teacher's, for every class and w. Of two steps the last one learns: a fake
/// score that is a line cannot tell the images of two steps from those of one.
#[test]
fn the_student_reaches_the_guided_distribution() {
    const BATCH: usize = 128;
    const TURNS: u64 = 300;
    let shape = [1, 2, 2];
    let start = |slope: f64, (lr, warmup): (f64, u64), total: u64| {
        let optim = OptimConfig {
            clip: 100.0,
            warmup,
            ema: Some(Ema::Decay(0.9)),
            ..OptimConfig::of(BATCH, lr)
        };
        Stepper::new(model(Lines::slope(slope)), optim, total)
    };
    // A width is as good with either sign: the student starts well on one side, and waits for the fake
    // score.
    for (steps, slope) in [(1, -0.4), (2, 0.3)] {
        let objective = DistributionMatching {
            simulation: Simulation {
                clip: false,
                trained: TrainedSteps::Last,
                ..simulation(steps)
            },
            ..matching(steps, 1.0)
        };
        let follow = FakeScore {
            simulation: objective.simulation,
            weighting: LossWeighting::SnrPlusOne,
            gan: None,
        };
        let (mut student, mut fake) = (
            start(slope, (0.02, 50), TURNS),
            start(0.0, (0.1, 0), 3 * TURNS),
        );
        for update in 0..3 * TURNS {
            let batch = [batch(update * BATCH as u64, BATCH, shape)];
            if update % 3 == 0 {
                let model = PlayerState::model(&fake);
                let peer = Peer {
                    name: FAKE_SCORE,
                    model: &*model,
                };
                let drawn = (&batch[..], SEED);
                student
                    .update_among(&[peer], &objective, drawn, &mut || {})
                    .expect("finite");
            }
            let model = PlayerState::model(&student);
            let peer = Peer {
                name: STUDENT,
                model: &*model,
            };
            fake.update_among(&[peer], &follow, (&batch, SEED + 1), &mut || {})
                .expect("finite");
        }
        let student = model(student.result());
        let samples: Vec<u64> = (0..1000).collect();
        let noise = random::normal(9, &samples, Purpose::InitialNoise, shape, &Device::flex());
        for (class, mu) in MEANS.into_iter().enumerate() {
            for w in [0.0, 1.0, 2.0] {
                let inputs = Inputs::classes(samples.iter().map(|_| class as u32));
                let inputs = inputs.with_w(vec![w; samples.len()]);
                let (grid, ignore) = (TimeGrid::uniform(steps), &mut sampler::ignore);
                let x = sampler::deterministic(&student, noise.clone(), &inputs, &grid, ignore);
                let x = values(x.expect("nothing cancels it"));
                let average = mean(x.iter().copied());
                let width = mean(x.iter().map(|x| (x - average).powi(2))).sqrt();
                let expected = mu + w * (mu - MEAN_OF_ALL);
                let what = format!("{steps} steps, class {class}, w {w}: {average} ± {width}");
                println!("{what} for {expected} ± {WIDTH}");
                assert!((average - expected).abs() < 0.04, "{what} for {expected}");
                assert!(
                    (width / WIDTH - 1.0).abs() < 0.1,
                    "{what} for a width of {WIDTH}"
                );
            }
        }
    }
}
