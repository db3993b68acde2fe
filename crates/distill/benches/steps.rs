//! One training step of a teacher and of each stage, one of conditional distillation beside its
//! network calls alone, and one sampling call of teacher and student, at two sizes. Throughput is
//! in images per second.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::{
    CfgDenoiser, Denoiser, DiffusionModel, Inputs, PredictionKind, Schedule, TimeGrid, sampler,
};
use fewstep_distill::method::{
    self, Batch, Codi, Cost, Denoising, GuidanceWeights, Halving, Loss, LossWeighting, NoisyImages,
    Objective, OdeStep, Progressive, Student,
};
use fewstep_distill::optim::{OptimConfig, Stepper};
use fewstep_nn::{Backbone, Fusion, Initial, UNetConfig, WEmbedding};

/// A network, its images, and how many of them at a time.
struct Size {
    name: &'static str,
    config: UNetConfig,
    side: usize,
    batch: usize,
}

fn sizes() -> [Size; 2] {
    let config = |channels, patch, widths: [usize; 2], attention| UNetConfig {
        channels,
        patch,
        widths: widths.to_vec(),
        blocks: 1,
        attention,
        head: 16,
        groups: 16,
        classes: 10,
        ..UNetConfig::default()
    };
    [
        Size {
            name: "fashion-mnist",
            config: config(1, 2, [32, 64], vec![false, false]),
            side: 32,
            batch: 64,
        },
        Size {
            name: "cifar10-small",
            config: config(3, 2, [64, 96], vec![false, true]),
            side: 32,
            batch: 32,
        },
    ]
}

impl Size {
    fn model(&self, w: Option<WEmbedding>) -> DiffusionModel<Backbone> {
        let config = UNetConfig {
            w,
            ..self.config.clone()
        };
        DiffusionModel {
            network: Backbone::new(&config.into(), 1, &Device::flex()).expect("valid"),
            schedule: Schedule::default(),
            prediction: PredictionKind::V,
        }
    }

    fn student(&self) -> DiffusionModel<Backbone> {
        self.model(Some(WEmbedding {
            dim: 64,
            scale: 250.0,
        }))
    }

    /// A model with a new ControlNet for images a quarter as large.
    fn conditional(&self) -> DiffusionModel<Backbone> {
        let model = self.model(None);
        let image = [self.config.channels, self.side, self.side];
        let [height, width] = [self.side / 4; 2];
        let control = [self.config.channels, height, width];
        let network = model.network.config();
        let config = network.controlnet_for(control, image, Fusion::ZeroConv);
        let network = model.network.with_controlnet(&config, Initial::Base, 1);
        DiffusionModel {
            network: network.expect("valid"),
            ..model
        }
    }

    fn controls(&self) -> Tensor<4> {
        let quarter = self.side / 4;
        self.noise().narrow(2, 0, quarter).narrow(3, 0, quarter)
    }

    fn noise(&self) -> Tensor<4> {
        let samples: Vec<u64> = (0..self.batch as u64).collect();
        let shape = [self.config.channels, self.side, self.side];
        random::normal(1, &samples, Purpose::InitialNoise, shape, &Device::flex())
    }

    fn classes(&self) -> Vec<u32> {
        (0..self.batch as u32).map(|i| i % 10).collect()
    }
}

fn training(c: &mut Criterion) {
    let mut group = c.benchmark_group("training step");
    group.sample_size(10);
    for size in sizes() {
        group.throughput(Throughput::Elements(size.batch as u64));
        let weights = GuidanceWeights::Range([0.0, 4.0]);
        let weighting = LossWeighting::TruncatedSnr;
        let teacher = Denoising {
            weighting,
            label_dropout: 0.1,
            drops_source: false,
            weights: None,
        };
        let stage_one = method::GuidanceDistillation {
            teacher: CfgDenoiser::new(size.model(None)),
            weights,
            weighting,
            images: NoisyImages::Data,
        };
        let stage_two = Progressive {
            teacher: size.student(),
            steps: 4,
            halving: Halving::Deterministic,
            target: method::TargetForm::Velocities,
            weights: Some(weights),
            weighting,
        };
        let methods: [(&str, &dyn Objective); 3] = [
            ("teacher", &teacher),
            ("stage one", &stage_one),
            ("stage two", &stage_two),
        ];
        let batch = Batch {
            images: size.noise(),
            inputs: Inputs::classes(size.classes()),
            clock: 0,
            update: 0,
        };
        let optim = format!("batch = {}\nlr = 1e-4", size.batch);
        for (name, objective) in methods {
            let optim = toml::from_str(&optim).expect("valid");
            let mut stepper = Stepper::new(size.student(), optim, u64::MAX);
            group.bench_function(BenchmarkId::new(name, size.name), |b| {
                b.iter(|| {
                    stepper
                        .update(objective, std::slice::from_ref(&batch), 1)
                        .expect("finite")
                });
            });
        }
    }
}

/// The network calls of conditional distillation and nothing else: one of the target network, one
/// of the student with its backward pass.
struct CallsAlone;

impl Objective for CallsAlone {
    fn loss(&self, student: Student<'_>, batch: &Batch, _seed: u64) -> Loss {
        let times = vec![0.5; batch.len()];
        let inputs = &batch.inputs;
        let ask = |model: &dyn Denoiser| {
            let prediction = model.predict(batch.images.clone(), &times, inputs);
            prediction.v()
        };
        // Reading a value waits for it.
        ask(student.target).into_data();
        let output: Tensor<2> = ask(student.online).flatten(1, 3);
        Loss {
            per_sample: output.sum_dim(1).squeeze_dim(1),
            times,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            frozen: 1,
            trained: 1,
            largest_frozen: 1,
            frozen_during_graph: true,
            ..Cost::default()
        }
    }
}

fn conditional(c: &mut Criterion) {
    let mut group = c.benchmark_group("conditional step");
    group.sample_size(20);
    for size in sizes() {
        group.throughput(Throughput::Elements(size.batch as u64));
        let codi = Codi::<DiffusionModel<Backbone>>::on_grid(48, OdeStep::Online);
        assert_eq!(codi.cost(), CallsAlone.cost());
        let batch = Batch {
            images: size.noise(),
            inputs: Inputs::classes(size.classes()).with_control(size.controls()),
            clock: 0,
            update: 0,
        };
        let optim = format!(
            "batch = {}\nlr = 1e-6\nema = {{ decay = 0.999 }}",
            size.batch
        );
        let optim: OptimConfig = toml::from_str(&optim).expect("valid");
        type Part = fn(Backbone) -> Backbone;
        let parts: [(&str, Part); 2] = [
            ("codi", |network| network),
            ("pe-codi", Backbone::freeze_base),
        ];
        for (name, part) in parts {
            let cases: [(&str, &dyn Objective); 2] =
                [("", &codi), (", its network calls alone", &CallsAlone)];
            for (what, objective) in cases {
                let model = size.conditional();
                let mut stepper = Stepper::new(model, optim.clone(), u64::MAX).training(part);
                group.bench_function(BenchmarkId::new(format!("{name}{what}"), size.name), |b| {
                    b.iter(|| {
                        stepper
                            .update(objective, std::slice::from_ref(&batch), 1)
                            .expect("finite")
                    });
                });
            }
        }
    }
}

fn sampling(c: &mut Criterion) {
    let mut group = c.benchmark_group("sampling");
    group.sample_size(10);
    for size in sizes() {
        group.throughput(Throughput::Elements(size.batch as u64));
        let inputs = Inputs::classes(size.classes()).with_w(vec![1.0; size.batch]);
        let teacher = CfgDenoiser::new(size.model(None));
        let student = size.student();
        let student = DiffusionModel {
            network: student.network.valid(),
            ..student
        };
        let cases: [(&str, &dyn Denoiser, usize); 3] = [
            ("teacher 4 steps", &teacher, 4),
            ("student 4 steps", &student, 4),
            ("student 1 step", &student, 1),
        ];
        for (name, denoiser, steps) in cases {
            group.bench_function(BenchmarkId::new(name, size.name), |b| {
                let generate = || {
                    let noise = size.noise();
                    let grid = TimeGrid::uniform(steps);
                    sampler::deterministic(denoiser, noise, &inputs, &grid, &mut sampler::ignore)
                        .expect("not cancelled")
                };
                b.iter(|| generate().into_data());
            });
        }
    }
}

criterion_group!(benches, training, conditional, sampling);
criterion_main!(benches);
