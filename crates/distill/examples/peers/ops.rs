//! The workloads.

use crate::implementation::Implementation;
use crate::steps::Step;
use crate::unet::{Config, UNet};
use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Distribution, Tensor};
use serde::Deserialize;

/// One line of input.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Workload {
    /// Whether the gradients of all inputs are computed too; for a network, a whole training step.
    backward: bool,
    #[serde(flatten)]
    operation: Operation,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Operation {
    Conv2d {
        x: [usize; 4],
        channels_out: usize,
        kernel: usize,
        stride: usize,
    },
    GroupNormSilu {
        x: [usize; 4],
        groups: usize,
    },
    Attention {
        q: [usize; 4],
    },
    Unet {
        batch: usize,
        size: usize,
        config: Config,
    },
    Step(Box<Step>),
}

impl Workload {
    /// Makes the inputs; what is returned computes once.
    pub(crate) fn prepare(self, implementation: Implementation) -> Box<dyn FnMut()> {
        let device = if self.backward {
            Device::flex().autodiff()
        } else {
            Device::flex()
        };
        match self.operation {
            Operation::Conv2d {
                x,
                channels_out,
                kernel,
                stride,
            } => {
                let leaves = (
                    self.leaf(x, &device),
                    self.leaf([channels_out, x[1], kernel, kernel], &device),
                    self.leaf([channels_out], &device),
                );
                self.timed(move || {
                    let (x, weight, bias) = leaves.clone();
                    implementation.conv2d(x, weight, Some(bias), stride)
                })
            }
            Operation::GroupNormSilu { x, groups } => {
                let parameter = || self.leaf([x[1]], &device);
                let leaves = (self.leaf(x, &device), parameter(), parameter());
                self.timed(move || {
                    let (x, gamma, beta) = leaves.clone();
                    implementation.group_norm(x, gamma, beta, groups, true)
                })
            }
            Operation::Attention { q } => {
                let leaf = || self.leaf(q, &device);
                let (q, k, v) = (leaf(), leaf(), leaf());
                self.timed(move || implementation.attention(q.clone(), k.clone(), v.clone()))
            }
            Operation::Unet {
                batch,
                size,
                ref config,
            } => network(
                implementation,
                config,
                [batch, config.channels, size, size],
                self.backward,
            ),
            Operation::Step(step) => step.prepare(),
        }
    }

    fn leaf<const D: usize>(&self, shape: [usize; D], device: &Device) -> Tensor<D> {
        let x = Tensor::random(shape, Distribution::Normal(0.0, 0.5), device);
        if self.backward { x.require_grad() } else { x }
    }

    fn timed(&self, forward: impl Fn() -> Tensor<4> + 'static) -> Box<dyn FnMut()> {
        let backward = self.backward;
        Box::new(move || {
            let y = forward();
            if backward {
                drop(y.sum().backward());
            }
        })
    }
}

/// A forward pass, or one step of training on a squared error.
fn network(
    implementation: Implementation,
    config: &Config,
    shape: [usize; 4],
    train: bool,
) -> Box<dyn FnMut()> {
    let device = Device::flex().autodiff();
    let model = UNet::new(config, implementation, &device);
    let input = |device: &Device| {
        let times: Vec<f32> = (0..shape[0]).map(|i| i as f32 * 10.0).collect();
        let times = Tensor::<1>::from_floats(times.as_slice(), device);
        (
            Tensor::random(shape, Distribution::Normal(0.0, 1.0), device),
            times,
        )
    };
    if !train {
        let model = model.valid();
        let (x, times) = input(&Device::flex());
        return Box::new(move || drop(model.forward(x.clone(), times.clone())));
    }
    let (x, times) = input(&device);
    let target = Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device);
    let mut optimiser = AdamConfig::new().with_epsilon(1e-5).init();
    let mut slot = Some(model);
    Box::new(move || {
        let model = slot.take().expect("put back by the last call");
        let error = model.forward(x.clone(), times.clone()) - target.clone();
        let loss = error.square().mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        slot = Some(optimiser.step(1e-4, model, gradients));
    })
}
