//! What an objective says that it costs is what it calls: plans and progress are made of these numbers.

use burn::tensor::{Device, Tensor};
use fewstep_diffusion::analytic::{Gaussian, GaussianDenoiser};
use fewstep_diffusion::{CfgDenoiser, Denoiser, Inputs, Prediction, Schedule};
use fewstep_distill::method::{
    Adapt, Adversarial, Balanced, Batch, Boundary, Codi, Consistency, Cost, DISCRIMINATOR,
    Denoising, Discriminating, Discrimination, Distance, DistributionMatching, FAKE_SCORE,
    FakeScore, GuidanceDistillation, GuidanceWeights, Halving, LossWeighting, NoisyImages,
    Objective, OdeStep, Peer, Penalty, Progressive, STUDENT, Simulation, Solver, Student,
    TargetForm, TimePairs, Times, TrainedSteps,
};
use std::sync::{Arc, Mutex};

const BATCH: usize = 4;
const STEPS: usize = 3;
const RANGE: GuidanceWeights = GuidanceWeights::Range([-0.5, 2.0]);

/// What was called, in evaluations of one sample.
#[derive(Clone, Copy, Debug, Default)]
struct Calls {
    online: usize,
    frozen: usize,
    /// In the largest of the calls without gradient.
    largest_frozen: usize,
    /// Discriminators.
    judged: usize,
    /// Whether the last call of the network in training had others after it.
    frozen_after: bool,
}

type Shared = Arc<Mutex<Calls>>;

/// A model that counts its calls.
#[derive(Clone)]
struct Counted {
    model: GaussianDenoiser,
    is_online: bool,
    calls: Shared,
}

impl Denoiser for Counted {
    fn predict(&self, z: Tensor<4>, t: &[f64], inputs: &Inputs) -> Prediction {
        let branches = t.len() / BATCH;
        let mut calls = self.calls.lock().expect("whole");
        match self.is_online {
            true => calls.online += branches,
            false => {
                calls.frozen += branches;
                calls.largest_frozen = calls.largest_frozen.max(branches);
            }
        }
        calls.frozen_after = !self.is_online && calls.online > 0;
        self.model.predict(z, t, inputs)
    }

    fn schedule(&self) -> &Schedule {
        self.model.schedule()
    }

    fn logits(&self, z: Tensor<4>, t: &[f64], _: &Inputs) -> Option<Tensor<2>> {
        let mut calls = self.calls.lock().expect("whole");
        calls.judged += t.len() / BATCH;
        calls.largest_frozen = calls.largest_frozen.max(1);
        Some(z.flatten::<2>(1, 3).mean_dim(1))
    }
}

/// Everything that an objective can call, with one count.
struct Cast {
    calls: Shared,
}

impl Cast {
    fn new() -> Self {
        Self {
            calls: Shared::default(),
        }
    }

    fn model(&self, is_online: bool) -> Counted {
        let gaussian = |mu| Gaussian { mu, s: 0.5 };
        let classes = vec![gaussian(0.3), gaussian(-0.2)];
        Counted {
            model: GaussianDenoiser::new(Schedule::default(), classes, gaussian(0.0)),
            is_online,
            calls: self.calls.clone(),
        }
    }

    /// Guided, where the student is.
    fn teacher(&self, weights: Option<GuidanceWeights>) -> Box<dyn Denoiser> {
        match weights {
            Some(_) => Box::new(CfgDenoiser::new(self.model(false))),
            None => Box::new(self.model(false)),
        }
    }

    /// The calls of one loss. Of the student's, `simulated` are without gradient, one sample each.
    fn calls_of(&self, objective: &dyn Objective, simulated: usize) -> Calls {
        let (online, frozen) = (self.model(true), self.model(false));
        let peer = |name| Peer {
            name,
            model: &frozen,
        };
        let student = Student {
            online: &online,
            target: &frozen,
            others: &[peer(STUDENT), peer(FAKE_SCORE), peer(DISCRIMINATOR)],
        };
        let batch = Batch {
            images: Tensor::ones([BATCH, 1, 1, 2], &Device::flex()) * 0.3,
            inputs: Inputs::classes([0, 1, 0, 1]),
            clock: 8,
            update: 8,
        };
        objective.loss(student, &batch, 3);
        let mut calls = *self.calls.lock().expect("whole");
        calls.online -= simulated;
        calls.frozen += simulated;
        calls.largest_frozen = calls.largest_frozen.max(simulated.min(1));
        calls
    }
}

/// Of an objective of which `simulated` calls of the student are without gradient.
fn assert_counted(what: &str, simulated: usize, objective: impl Fn(&Cast) -> Box<dyn Objective>) {
    let cast = Cast::new();
    let objective = objective(&cast);
    let calls = cast.calls_of(objective.as_ref(), simulated);
    let called = Cost {
        frozen: calls.frozen,
        trained: calls.online,
        largest_frozen: calls.largest_frozen,
        judged: calls.judged,
        frozen_during_graph: calls.frozen_after,
    };
    assert_eq!(objective.cost(), called, "{what}");
}

#[test]
fn stages_cost_what_they_call() {
    let weighting = LossWeighting::TruncatedSnr;
    assert_counted("denoising", 0, |_| {
        Box::new(Denoising {
            weighting,
            label_dropout: 0.1,
            drops_source: false,
            weights: None,
        })
    });
    let walked = NoisyImages::Teacher {
        steps: 3,
        clip: true,
    };
    let guidance = |cast: &Cast, images| {
        Box::new(GuidanceDistillation {
            teacher: cast.teacher(Some(RANGE)),
            weights: RANGE,
            weighting,
            images,
        })
    };
    assert_counted("stage one", 0, |cast| guidance(cast, NoisyImages::Data));
    assert_counted("stage one, walked", 0, |cast| guidance(cast, walked));
    assert_counted("stage one, balanced", 0, |cast| {
        Box::new(Balanced {
            objective: guidance(cast, NoisyImages::Data),
            weights: RANGE,
        })
    });
    for target in [TargetForm::Velocities, TargetForm::Difference] {
        assert_counted("a halving", 0, |cast| {
            Box::new(Progressive {
                teacher: cast.teacher(Some(RANGE)),
                steps: 2,
                halving: Halving::Deterministic,
                weights: Some(RANGE),
                weighting,
                target,
            })
        });
    }
    assert_counted("adapting", 0, |cast| {
        Box::new(Adapt {
            teacher: cast.teacher(Some(RANGE)),
            steps: 2,
            substeps: 5,
            weights: Some(RANGE),
            weighting,
        })
    });
}

#[test]
fn consistency_costs_what_it_calls() {
    for solver in [Solver::Ddim, Solver::Heun] {
        assert_counted("consistency", 0, |cast| {
            Box::new(Consistency {
                teacher: cast.teacher(Some(RANGE)),
                pairs: TimePairs {
                    intervals: 4,
                    times: Times::Grid,
                    shared: false,
                },
                solver,
                boundary: Boundary::Plain,
                distance: Distance::L2,
                error_weight: LossWeighting::Uniform,
                weights: Some(RANGE),
            })
        });
    }
}

#[test]
fn conditional_distillation_costs_what_it_calls() {
    for weights in [None, Some(RANGE)] {
        for step in 0..3 {
            assert_counted("conditional distillation", 0, |cast| {
                let step = match step {
                    0 => OdeStep::Online,
                    1 => OdeStep::Average,
                    _ => OdeStep::Base(cast.model(false)),
                };
                Box::new(Codi {
                    weights,
                    ..Codi::on_grid(4, step)
                })
            });
        }
    }
}

fn simulation(steps: usize, weights: Option<GuidanceWeights>) -> Simulation {
    Simulation {
        steps,
        trained: TrainedSteps::Last,
        weights,
        clip: true,
    }
}

const TIMES: [f64; 2] = [0.1, 0.9];

#[test]
fn methods_of_two_players_cost_what_they_call() {
    for (steps, weights) in [(1, None), (STEPS, Some(RANGE))] {
        let simulation = simulation(steps, weights);
        for gan in [0.0, 0.5] {
            assert_counted("matching", steps - 1, |cast| {
                Box::new(DistributionMatching {
                    teacher: cast.teacher(weights),
                    simulation,
                    times: TIMES,
                    gan,
                })
            });
        }
        assert_counted("adversarial", steps - 1, |cast| {
            Box::new(Adversarial {
                teacher: cast.teacher(weights),
                simulation,
                times: TIMES,
            })
        });
        assert_counted("the fake score", 0, |_| {
            Box::new(FakeScore {
                simulation,
                weighting: LossWeighting::Uniform,
                gan: None,
            })
        });
    }
}

/// A discriminator's own calls are those of its frozen encoder. The heads of a fake score count as
/// one more pass through it, as measured.
#[test]
fn heads_cost_what_they_call() {
    let learnt = Discrimination {
        times: TIMES,
        penalty: Penalty::default(),
    };
    let simulation = simulation(STEPS, Some(RANGE));
    let discriminating = Discriminating { simulation, learnt };
    let cost = discriminating.cost();
    let calls = Cast::new().calls_of(&discriminating, 0);
    assert_eq!(cost.frozen, calls.frozen + calls.judged);
    assert_eq!((cost.trained, cost.largest_frozen), (0, 1));
    let score = |gan| FakeScore {
        simulation,
        weighting: LossWeighting::Uniform,
        gan,
    };
    let heads = score(Some((0.1, learnt)));
    let calls = Cast::new().calls_of(&heads, 0);
    assert_eq!(calls.judged, 3);
    assert_eq!(heads.cost().trained, score(None).cost().trained + 1);
    assert_eq!(heads.cost().frozen, calls.frozen);
}
