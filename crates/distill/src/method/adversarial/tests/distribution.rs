//! What the student's images are in the end.

use super::*;
use crate::method::{Batch, Peer, STUDENT, Simulation, TrainedSteps};
use crate::optim::{Ema, OptimConfig, PlayerState, Stepper};
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::{TimeGrid, sampler};

const SHAPE: [usize; 3] = [1, 2, 2];

/// Where real and guided images overlap: a discriminator learns the ratio of densities only there.
const TIMES: [f64; 2] = [0.5, 0.98];

/// Images of the data: their class's mean and width.
fn data(clock: u64, count: usize) -> Batch {
    let batch = batch(clock, count, SHAPE);
    let samples: Vec<u64> = (clock..clock + count as u64).collect();
    let noise = random::normal(55, &samples, Purpose::InitialNoise, SHAPE, &Device::flex());
    let classes = batch.inputs.classes.iter().flatten();
    let means = classes.map(|class| MEANS[class.expect("a class") as usize]);
    let means = per_sample(means.collect::<Vec<_>>(), &Device::flex());
    Batch {
        images: noise * WIDTH + means,
        ..batch
    }
}

/// Student and discriminator in turns: for every class and w the student's images have the mean μ_c +
/// w (μ_c − μ) and the width of the data as the teacher guides them.
#[test]
fn the_student_reaches_the_guided_data() {
    const BATCH: usize = 128;
    const TURNS: u64 = 600;
    let optim = |lr| OptimConfig {
        clip: 100.0,
        ema: Some(Ema::Decay(0.98)),
        ..OptimConfig::of(BATCH, lr)
    };
    for (steps, slope) in [(1, -0.4), (2, 0.3)] {
        let simulation = Simulation {
            clip: false,
            trained: TrainedSteps::Last,
            ..simulation(steps)
        };
        let objective = Adversarial {
            teacher: teacher(),
            simulation,
            times: TIMES,
        };
        let tells = Discriminating {
            simulation,
            learnt: Discrimination {
                times: TIMES,
                penalty: Penalty {
                    weight: 0.1,
                    noise: 0.05,
                },
            },
        };
        let mut student = Stepper::new(model(Lines::slope(slope)), optim(0.01), TURNS);
        let judge = model(Quadratic::of(1, |_| 0.0));
        let mut judge = Stepper::new(judge, optim(0.05), 3 * TURNS);
        for update in 0..3 * TURNS {
            let batch = [data(update * BATCH as u64, BATCH)];
            if update % 3 == 0 {
                let model = PlayerState::model(&judge);
                let peer = Peer {
                    name: DISCRIMINATOR,
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
            judge
                .update_among(&[peer], &tells, (&batch, SEED + 1), &mut || {})
                .expect("finite");
        }
        let student = model(student.result());
        let samples: Vec<u64> = (0..1000).collect();
        let noise = random::normal(9, &samples, Purpose::InitialNoise, SHAPE, &Device::flex());
        let mut wrong = vec![];
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
                let what = format!(
                    "{steps} steps, class {class}, w {w}: {average:.3} ± {width:.3} for {expected:.3} ± {WIDTH}"
                );
                println!("{what}");
                if (average - expected).abs() > 0.06 || (width / WIDTH - 1.0).abs() > 0.12 {
                    wrong.push(what);
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
