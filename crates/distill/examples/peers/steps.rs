//! Whole updates of the methods, as the program does them.

use burn::tensor::Device;
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::{CfgDenoiser, DiffusionModel, Inputs, PredictionKind, Schedule};
use fewstep_distill::method::{
    self, Batch, Denoising, GuidanceWeights, Halving, LossWeighting, NoisyImages, Objective,
    Progressive,
};
use fewstep_distill::optim::{OptimConfig, Stepper};
use fewstep_nn::{Backbone, UNetConfig, WEmbedding};
use serde::Deserialize;

/// An update: random draws, the teacher's calls, the student's forward and backward pass, the
/// optimiser and the average.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Step {
    method: Method,
    batch: usize,
    side: usize,
    config: UNetConfig,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Method {
    /// Denoising with dropped labels; AdamW and an average of the parameters.
    Teacher,
    /// Guidance distillation; Adam.
    StageOne,
    /// A halving; Adam.
    StageTwo,
}

impl Step {
    pub(crate) fn prepare(self) -> Box<dyn FnMut()> {
        let w = Some(WEmbedding {
            dim: 64,
            scale: 250.0,
        });
        let (student, optim) = match self.method {
            Method::Teacher => (
                self.model(None),
                "optimizer = \"adamw\"\nema = { decay = 0.999 }",
            ),
            Method::StageOne | Method::StageTwo => (self.model(w), ""),
        };
        let optim = format!("batch = {}\nlr = 1e-4\n{optim}", self.batch);
        let optim: OptimConfig = toml::from_str(&optim).expect("valid");
        let mut stepper = Stepper::new(student, optim, u64::MAX);
        let objective = self.objective(w);
        let batch = self.batch();
        Box::new(move || {
            stepper
                .update(objective.as_ref(), std::slice::from_ref(&batch), 1)
                .expect("finite");
        })
    }

    fn objective(&self, w: Option<WEmbedding>) -> Box<dyn Objective> {
        let weights = GuidanceWeights::Range([0.0, 4.0]);
        let weighting = LossWeighting::TruncatedSnr;
        match self.method {
            Method::Teacher => Box::new(Denoising {
                weighting,
                label_dropout: 0.1,
                drops_source: false,
                weights: None,
            }),
            Method::StageOne => Box::new(method::GuidanceDistillation {
                teacher: CfgDenoiser::new(self.model(None)),
                weights,
                weighting,
                images: NoisyImages::Data,
            }),
            Method::StageTwo => Box::new(Progressive {
                teacher: self.model(w),
                steps: 4,
                halving: Halving::Deterministic,
                target: method::TargetForm::Velocities,
                weights: Some(weights),
                weighting,
            }),
        }
    }

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

    fn batch(&self) -> Batch {
        let samples: Vec<u64> = (0..self.batch as u64).collect();
        let shape = [self.config.channels, self.side, self.side];
        Batch {
            images: random::normal(1, &samples, Purpose::InitialNoise, shape, &Device::flex()),
            inputs: Inputs::classes((0..self.batch as u32).map(|i| i % 10)),
            clock: 0,
            update: 0,
        }
    }
}
