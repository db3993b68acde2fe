//! The operations of the networks, forward and backward.

use super::compare::{self, Row, Values, error, tensor, values};
use burn::tensor::{DType, Device, FloatDType, Tensor};
use fewstep_diffusion::random::{Purpose, generator};
use fewstep_kernels::update::{self, AdamStep, Decay, SquaredNorm};
use fewstep_kernels::{Film, maps};
use fewstep_nn::Precision;
use rand_distr::{Distribution, StandardNormal};
use std::time::Instant;

/// An operation on tensors with four dimensions.
struct Operation {
    name: &'static str,
    /// Shapes of the inputs. Parameters have leading dimensions of 1, which are dropped.
    shapes: Vec<[usize; 4]>,
    /// The inputs that are parameters, which stay in f32 in any precision.
    parameters: &'static [usize],
    compute: fn(&[Tensor<4>]) -> Tensor<4>,
}

fn vector(x: &Tensor<4>) -> Tensor<1> {
    x.clone().flatten(0, 3)
}

fn matrix(x: &Tensor<4>) -> Tensor<2> {
    let [_, _, rows, columns] = x.dims();
    x.clone().reshape([rows, columns])
}

fn conv(x: &[Tensor<4>], stride: usize, padding: usize) -> Tensor<4> {
    let bias = x.get(2).map(vector);
    fewstep_kernels::conv2d(x[0].clone(), x[1].clone(), bias, stride, [padding; 2])
}

fn norm_silu(x: &[Tensor<4>], groups: usize) -> Tensor<4> {
    let film = x.get(3).zip(x.get(4)).map(|(scale, shift)| Film {
        scale: matrix(scale),
        shift: matrix(shift),
    });
    let (gamma, beta) = (vector(&x[1]), vector(&x[2]));
    fewstep_kernels::group_norm_silu(x[0].clone(), gamma, beta, groups, 1e-5, film)
}

fn all() -> Vec<Operation> {
    let parameter = |n| [1, 1, 1, n];
    let film = |batch, n| [1, 1, batch, n];
    let conv3 = |from: usize, to: usize, size: usize| {
        vec![[4, from, size, size], [to, from, 3, 3], parameter(to)]
    };
    vec![
        Operation {
            name: "convolution 3x3, 32 to 64 channels",
            shapes: conv3(32, 64, 16),
            parameters: &[1, 2],
            compute: |x| conv(x, 1, 1),
        },
        Operation {
            name: "convolution 3x3, 3 to 32 channels",
            shapes: conv3(3, 32, 9),
            parameters: &[1, 2],
            compute: |x| conv(x, 1, 1),
        },
        Operation {
            name: "convolution 3x3, 40 to 3 channels",
            shapes: conv3(40, 3, 8),
            parameters: &[1, 2],
            compute: |x| conv(x, 1, 1),
        },
        Operation {
            name: "convolution 3x3 with stride 2",
            shapes: conv3(32, 64, 16),
            parameters: &[1, 2],
            compute: |x| conv(x, 2, 1),
        },
        Operation {
            name: "convolution 1x1 without bias",
            shapes: vec![[3, 64, 8, 8], [32, 64, 1, 1]],
            parameters: &[1],
            compute: |x| conv(x, 1, 0),
        },
        Operation {
            name: "group norm",
            shapes: vec![[2, 64, 8, 8], parameter(64), parameter(64)],
            parameters: &[1, 2],
            compute: |x| {
                fewstep_kernels::group_norm(x[0].clone(), vector(&x[1]), vector(&x[2]), 32, 1e-6)
            },
        },
        Operation {
            name: "group norm and SiLU, 8 channels a group",
            shapes: vec![[3, 64, 16, 16], parameter(64), parameter(64)],
            parameters: &[1, 2],
            compute: |x| norm_silu(x, 8),
        },
        Operation {
            name: "group norm, FiLM and SiLU, 10 a group",
            shapes: vec![
                [3, 40, 5, 7],
                parameter(40),
                parameter(40),
                film(3, 40),
                film(3, 40),
            ],
            parameters: &[1, 2],
            compute: |x| norm_silu(x, 4),
        },
        Operation {
            name: "group norm, FiLM and SiLU, 3 a group",
            shapes: vec![
                [5, 12, 6, 6],
                parameter(12),
                parameter(12),
                film(5, 12),
                film(5, 12),
            ],
            parameters: &[1, 2],
            compute: |x| norm_silu(x, 4),
        },
        Operation {
            name: "self-attention, 256 tokens",
            shapes: vec![[2, 4, 256, 32]; 3],
            parameters: &[],
            compute: |x| fewstep_kernels::attention(x[0].clone(), x[1].clone(), x[2].clone()),
        },
        Operation {
            name: "attention to 77 of 40 dimensions",
            shapes: vec![[2, 2, 100, 40], [2, 2, 77, 40], [2, 2, 77, 40]],
            parameters: &[],
            compute: |x| fewstep_kernels::attention(x[0].clone(), x[1].clone(), x[2].clone()),
        },
        Operation {
            name: "linear layer",
            shapes: vec![[1, 2, 33, 48], [1, 1, 48, 20], parameter(20)],
            parameters: &[1, 2],
            compute: |x| {
                let bias = Some(vector(&x[2]));
                fewstep_kernels::linear(x[0].clone(), matrix(&x[1]), bias)
            },
        },
        Operation {
            name: "SiLU",
            shapes: vec![[1, 1, 7, 130]],
            parameters: &[],
            compute: |x| fewstep_kernels::silu(x[0].clone()),
        },
        Operation {
            name: "halved resolution",
            shapes: vec![[2, 24, 8, 6]],
            parameters: &[],
            compute: |x| maps::halve(x[0].clone()),
        },
        Operation {
            name: "doubled resolution",
            shapes: vec![[2, 24, 4, 6]],
            parameters: &[],
            compute: |x| maps::double(x[0].clone()),
        },
        Operation {
            name: "joined channels, as tokens and back",
            shapes: vec![[2, 24, 4, 6], [2, 9, 4, 6]],
            parameters: &[],
            compute: |x| maps::to_map(maps::to_tokens(maps::concat(x.to_vec())), 4, 6),
        },
    ]
}

pub(super) fn check(device: &Device, precision: Precision, only: &str, add: &mut impl FnMut(Row)) {
    // One value is rounded by 2⁻⁸ in bf16; the error of a sum is relative to its largest value.
    let allowed = match precision {
        Precision::F32 => 1e-5,
        Precision::Bf16 | Precision::F16 => 2e-2,
    };
    for operation in all() {
        if !operation.name.contains(only) {
            continue;
        }
        let inputs = inputs(&operation.shapes);
        let exact = forward_and_backward(&operation, &inputs, FloatDType::F32, &Device::flex());
        let start = Instant::now();
        let ours = forward_and_backward(&operation, &inputs, precision.dtype(), device);
        let no_graph = forward(&operation, &inputs, precision.dtype(), device);
        let seconds = start.elapsed().as_secs_f64();
        let error = error(&exact, &ours).max(compare::error(&vec![exact[0].clone()], &no_graph));
        add(Row {
            name: operation.name.into(),
            precision: precision.to_string(),
            error,
            allowed,
            seconds,
        });
    }
    if precision == Precision::F32 && "update of Adam".contains(only) {
        let start = Instant::now();
        let exact = adam_update(&Device::flex());
        let ours = adam_update(device);
        add(Row {
            name: "update of Adam, average, norm".into(),
            precision: precision.to_string(),
            error: error(&exact, &ours),
            allowed,
            seconds: start.elapsed().as_secs_f64(),
        });
    }
}

fn inputs(shapes: &[[usize; 4]]) -> Values {
    let draw = |(index, shape): (usize, &[usize; 4])| {
        let rng = generator(1, index as u64, Purpose::Initialisation);
        let values = Distribution::<f32>::sample_iter(StandardNormal, rng);
        values.take(shape.iter().product()).collect()
    };
    shapes.iter().enumerate().map(draw).collect()
}

/// The inputs on a device, rounded to the precision that it computes in.
fn on_device(
    operation: &Operation,
    inputs: &Values,
    dtype: FloatDType,
    device: &Device,
) -> Vec<Tensor<4>> {
    let each = inputs.iter().zip(&operation.shapes).enumerate();
    each.map(|(index, (values, shape))| {
        let parameter = operation.parameters.contains(&index);
        let dtype = if parameter { FloatDType::F32 } else { dtype };
        tensor(values, *shape, dtype, device)
    })
    .collect()
}

fn forward(operation: &Operation, inputs: &Values, dtype: FloatDType, device: &Device) -> Values {
    let inputs = on_device(operation, inputs, dtype, device);
    vec![values((operation.compute)(&inputs).cast(FloatDType::F32))]
}

/// The output, and the gradients of the sum of its squares.
fn forward_and_backward(
    operation: &Operation,
    inputs: &Values,
    dtype: FloatDType,
    device: &Device,
) -> Values {
    let device = device.clone().autodiff();
    let inputs = on_device(operation, inputs, dtype, &device);
    let inputs: Vec<_> = inputs.into_iter().map(Tensor::require_grad).collect();
    let y = (operation.compute)(&inputs);
    debug_assert!(y.dtype() == DType::F32 || dtype != FloatDType::F32);
    let y = y.cast(FloatDType::F32);
    let gradients = y.clone().square().mean().backward();
    let mut all = vec![values(y.inner())];
    all.extend(inputs.iter().map(|input| {
        let gradient = input.grad(&gradients);
        gradient.map_or_else(Vec::new, |gradient| values(gradient.cast(FloatDType::F32)))
    }));
    all
}

/// A parameter and its moments after an update, the average of two tensors, and the norm of them
/// all.
fn adam_update(device: &Device) -> Values {
    let shape = [1, 3, 5, 77];
    let all = inputs(&[shape; 4]);
    let mut all: Vec<_> = all
        .iter()
        .map(|v| tensor(v, shape, FloatDType::F32, device))
        .collect();
    all[3] = all[3].clone().square();
    let step = AdamStep {
        lr: 0.01,
        beta: [0.9, 0.999],
        correction: [0.2, 0.02],
        epsilon: 1e-8,
        decay: Decay::Decoupled(0.1),
    };
    let fused = update::adam(&all[0], &all[1], [&all[2], &all[3]], step);
    let [parameter, m, v] = fused.unwrap_or_else(|| {
        // Adam (1412.6980) and AdamW (1711.05101), as the papers write them.
        let m = all[2].clone() * 0.9 + all[1].clone() * 0.1;
        let v = all[3].clone() * 0.999 + all[1].clone().square() * 0.001;
        let delta = (m.clone() / 0.2) / ((v.clone() / 0.02).sqrt() + 1e-8);
        [all[0].clone() * (1.0 - 0.01 * 0.1) - delta * 0.01, m, v]
    });
    let mut norm = SquaredNorm::default();
    all.iter().for_each(|tensor| norm.add(tensor.clone()));
    norm.add(vector(&all[1]));
    let average = update::mix(all[0].clone(), all[1].clone(), 0.7);
    let mut results: Values = [parameter, m, v, average].map(values).into();
    results.push(values(norm.sum()));
    results
}
