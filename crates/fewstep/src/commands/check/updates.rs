//! One update of every method on a small network.

use super::compare::{Row, Values, error};
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor};
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::{CfgDenoiser, Denoiser, DiffusionModel, Inputs, PredictionKind, Schedule};
use fewstep_distill::method::{
    Adapt, Adversarial, Batch, Boundary, Codi, Consistency, Cost, DISCRIMINATOR, Denoising,
    Distance, DistributionMatching, FAKE_SCORE, FakeScore, GuidanceDistillation, GuidanceWeights,
    Halving, Loss, LossWeighting, NoisyImages, Objective, OdeStep, Peer, Progressive, STUDENT,
    Simulation, Solver, Student, TargetForm, TimePairs, Times, TrainedSteps,
};
use fewstep_distill::optim::{Ema, OptimConfig, Stepper};
use fewstep_kernels::device::can_store;
use fewstep_nn::{
    Backbone, BackboneConfig, Discriminator, Fusion, Initial, Precision, Resampling, UNetConfig,
    WEmbedding,
};
use std::time::Instant;

const SIDE: usize = 16;
const BATCH: usize = 8;
const CLASSES: usize = 3;

/// A method by name, the type of its teacher's weights, and its objective with a teacher.
type Case = (&'static str, Precision, NewObjective);

type NewObjective = fn(DiffusionModel<Backbone>) -> Box<dyn Objective>;

const W: WEmbedding = WEmbedding {
    dim: 32,
    scale: 250.0,
};

const RANGE: GuidanceWeights = GuidanceWeights::Range([0.0, 4.0]);

const METHODS: [Case; 13] = [
    ("denoising", Precision::F32, |_| {
        Box::new(Denoising {
            weighting: LossWeighting::TruncatedSnr,
            label_dropout: 0.1,
            drops_source: false,
            weights: None,
        })
    }),
    ("stage one", Precision::F32, stage_one),
    ("stage one, teacher in bf16", Precision::Bf16, stage_one),
    ("halving, deterministic", Precision::F32, |teacher| {
        halving(teacher, Halving::Deterministic)
    }),
    ("halving, stochastic", Precision::F32, |teacher| {
        halving(teacher, Halving::Stochastic)
    }),
    ("halving, encoder", Precision::F32, |teacher| {
        halving(teacher, Halving::Encoder)
    }),
    ("CoDi", Precision::F32, |_| codi(OdeStep::Online)),
    ("CoDi with steps of the base", Precision::F32, |teacher| {
        codi(OdeStep::Base(teacher))
    }),
    ("consistency", Precision::F32, |teacher| {
        Box::new(Consistency {
            teacher: CfgDenoiser::new(teacher),
            pairs: PAIRS,
            solver: Solver::Ddim,
            boundary: Boundary::Plain,
            distance: Distance::L2,
            error_weight: LossWeighting::Uniform,
            weights: Some(RANGE),
        })
    }),
    ("matching, student", Precision::F32, |teacher| {
        let objective = DistributionMatching {
            teacher: CfgDenoiser::new(teacher.clone()),
            simulation: SIMULATION,
            times: [0.02, 0.98],
            gan: 0.0,
        };
        among(Box::new(objective), FAKE_SCORE, teacher)
    }),
    ("matching, fake score", Precision::F32, |teacher| {
        let objective = FakeScore {
            simulation: SIMULATION,
            weighting: LossWeighting::TruncatedSnr,
            gan: None,
        };
        among(Box::new(objective), STUDENT, teacher)
    }),
    ("adapting", Precision::F32, |teacher| {
        Box::new(Adapt {
            teacher: CfgDenoiser::new(teacher),
            steps: 2,
            substeps: 2,
            weights: Some(RANGE),
            weighting: LossWeighting::TruncatedSnr,
        })
    }),
    ("adversarial, student", Precision::F32, |teacher| {
        let objective = Adversarial {
            teacher: CfgDenoiser::new(teacher.clone()),
            simulation: SIMULATION,
            times: [0.02, 0.98],
        };
        let judge =
            teacher
                .clone()
                .with_network(Discriminator::new(teacher.network, 16, Some(W), 6));
        among(Box::new(objective), DISCRIMINATOR, judge)
    }),
];

const SIMULATION: Simulation = Simulation {
    steps: 2,
    trained: TrainedSteps::All,
    weights: Some(RANGE),
    clip: false,
};

/// An objective that sees another player, which does not move.
struct Among {
    objective: Box<dyn Objective>,
    name: &'static str,
    other: Box<dyn Denoiser>,
}

fn among(
    objective: Box<dyn Objective>,
    name: &'static str,
    other: impl Denoiser + 'static,
) -> Box<dyn Objective> {
    Box::new(Among {
        objective,
        name,
        other: Box::new(other),
    })
}

impl Objective for Among {
    fn loss(&self, student: Student<'_>, batch: &Batch, seed: u64) -> Loss {
        let others = [Peer {
            name: self.name,
            model: &*self.other,
        }];
        let student = Student {
            others: &others,
            ..student
        };
        self.objective.loss(student, batch, seed)
    }

    fn cost(&self) -> Cost {
        self.objective.cost()
    }
}

const PAIRS: TimePairs = TimePairs {
    intervals: 4,
    times: Times::Grid,
    shared: true,
};

fn stage_one(teacher: DiffusionModel<Backbone>) -> Box<dyn Objective> {
    Box::new(GuidanceDistillation {
        teacher: CfgDenoiser::new(teacher),
        weights: RANGE,
        weighting: LossWeighting::TruncatedSnr,
        images: NoisyImages::Data,
    })
}

fn halving(teacher: DiffusionModel<Backbone>, halving: Halving) -> Box<dyn Objective> {
    Box::new(Progressive {
        teacher,
        steps: 4,
        halving,
        weights: Some(RANGE),
        weighting: LossWeighting::TruncatedSnr,
        target: TargetForm::Velocities,
    })
}

fn codi(ode_step: OdeStep<DiffusionModel<Backbone>>) -> Box<dyn Objective> {
    Box::new(Codi::on_grid(PAIRS.intervals, ode_step))
}

pub(super) fn check(device: &Device, precision: Precision, only: &str, add: &mut impl FnMut(Row)) {
    let methods = METHODS.into_iter();
    for (name, stored, objective) in methods.filter(|(_, p, _)| can_store(device, p.dtype())) {
        for checkpointing in [false, true] {
            let what = if checkpointing { ", recomputed" } else { "" };
            let name = format!("update: {name}{what}");
            if !name.contains(only) {
                continue;
            }
            let exact = update(
                (objective, stored),
                checkpointing,
                Precision::F32,
                &Device::flex(),
            );
            let start = Instant::now();
            let ours = update((objective, stored), checkpointing, precision, device);
            add(Row {
                name,
                precision: precision.to_string(),
                error: error(&exact, &ours),
                // Losses pass through a whole network, and some targets through two.
                allowed: match precision {
                    Precision::F32 => 1e-4,
                    Precision::Bf16 | Precision::F16 => 5e-2,
                },
                seconds: start.elapsed().as_secs_f64(),
            });
        }
    }
}

/// The losses and the norm of the gradient of one update. Adam's first update has the sign of the
/// gradient only, so the parameters after it show nothing about rounding.
fn update(
    (objective, stored): (NewObjective, Precision),
    checkpointing: bool,
    precision: Precision,
    device: &Device,
) -> Values {
    let network = network(device).computing_in(precision);
    let model = |network| DiffusionModel {
        network,
        schedule: Schedule::default(),
        prediction: PredictionKind::V,
    };
    let objective = objective(model(network.clone().with_weight_dtype(stored)));
    let config = OptimConfig {
        batch: BATCH,
        gradient_checkpointing: checkpointing,
        ema: Some(Ema::Decay(0.99)),
        ..OptimConfig::of(BATCH, 1e-4)
    };
    let mut stepper = Stepper::new(model(network), config, 10);
    let reports = [0, BATCH as u64].map(|clock| {
        let report = stepper.update(&*objective, &[batch(clock, device)], 7);
        report.expect("numbers of a small network are finite")
    });
    let losses = reports.iter().flat_map(|report| &report.samples);
    let losses = losses.map(|&(_, loss)| loss as f32).collect();
    let norms = reports.iter().map(|report| report.gradient_norm as f32);
    vec![losses, norms.collect()]
}

/// With everything that pixel networks have: attention, blocks that resize, classes, w, and a
/// control image.
fn network(device: &Device) -> Backbone {
    let config = BackboneConfig::from(UNetConfig {
        channels: 3,
        widths: vec![32, 48],
        attention: vec![false, true],
        head: 16,
        groups: 16,
        resampling: Resampling::Block,
        classes: CLASSES,
        w: Some(W),
        ..UNetConfig::default()
    });
    let control = [3, SIDE, SIDE];
    let controlnet = config.controlnet_for(control, control, Fusion::ZeroConv);
    let network = Backbone::new(&config, 3, &Device::flex());
    let network =
        network.and_then(|network| network.with_controlnet(&controlnet, Initial::Base, 4));
    let network = network
        .expect("these numbers fit together")
        .map(&mut Perturb(0));
    network.to_device(device)
}

/// Changes every parameter, so that those that start at zero have an effect.
struct Perturb(u64);

impl ModuleMapper for Perturb {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.0 += 1;
        param.map(|value| {
            let (shape, device) = (value.dims(), value.device());
            let count: usize = shape.iter().product();
            let noise = random::normal(
                5,
                &[self.0],
                Purpose::Initialisation,
                [1, 1, count],
                &device,
            );
            value + noise.reshape(shape) * 0.02
        })
    }
}

fn batch(clock: u64, device: &Device) -> Batch {
    let samples: Vec<u64> = (clock..clock + BATCH as u64).collect();
    let images = |seed| {
        random::normal(
            seed,
            &samples,
            Purpose::InitialNoise,
            [3, SIDE, SIDE],
            device,
        )
    };
    Batch {
        images: images(11) * 0.5,
        inputs: Inputs::classes(
            samples
                .iter()
                .map(|sample| (sample % CLASSES as u64) as u32),
        )
        .with_control(images(12)),
        clock,
        update: clock,
    }
}
