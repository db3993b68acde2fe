//! Convolution against its definition in double precision.

use super::{Shape, bias_grad, forward, input_grad, weight_grad};
use crate::cpu::simd::Isa;
use crate::cpu::testing::{Sum, assert_same_bits, beyond_rounding, values};
use crate::cpu::weights::{Blocks, Weights};
use crate::q8::{self, BLOCK};
use half::{bf16, f16};
use proptest::prelude::*;

struct Inputs {
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    dy: Vec<f32>,
}

impl Inputs {
    fn new(shape: &Shape) -> Self {
        Self {
            x: values(1, shape.input_len()),
            weight: values(2, shape.weight_len()),
            bias: values(3, shape.channels_out),
            dy: values(4, shape.output_len()),
        }
    }
}

#[derive(Default)]
struct Exact {
    y: Vec<Sum>,
    dx: Vec<Sum>,
    dw: Vec<Sum>,
    db: Vec<Sum>,
}

/// Every product of the definition, once.
fn exact(s: &Shape, inputs: &Inputs) -> Exact {
    let Inputs {
        x,
        weight,
        bias,
        dy,
    } = inputs;
    let sums = |len| vec![Sum::default(); len];
    let (mut y, mut dx) = (sums(dy.len()), sums(x.len()));
    let (mut dw, mut db) = (sums(weight.len()), sums(bias.len()));
    let [height, width] = s.output();
    for at in 0..dy.len() {
        let (ox, oy) = (at % width, at / width % height);
        let (o, n) = (
            at / width / height % s.channels_out,
            at / width / height / s.channels_out,
        );
        y[at].add(f64::from(bias[o]));
        db[o].add(f64::from(dy[at]));
        for k in 0..weight.len() / s.channels_out {
            let [kernel_h, kernel_w] = s.kernel;
            let (kx, ky, c) = (
                k % kernel_w,
                k / kernel_w % kernel_h,
                k / kernel_w / kernel_h,
            );
            let inside = |axis: usize, o: usize, k: usize| {
                (o * s.stride + k)
                    .checked_sub(s.padding[axis])
                    .filter(|&i| i < s.size_in[axis])
            };
            let (Some(iy), Some(ix)) = (inside(0, oy, ky), inside(1, ox, kx)) else {
                continue;
            };
            let from = ((n * s.channels_in + c) * s.size_in[0] + iy) * s.size_in[1] + ix;
            let k = o * (weight.len() / s.channels_out) + k;
            y[at].add(f64::from(x[from]) * f64::from(weight[k]));
            dx[from].add(f64::from(dy[at]) * f64::from(weight[k]));
            dw[k].add(f64::from(dy[at]) * f64::from(x[from]));
        }
    }
    Exact { y, dx, dw, db }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let sizes = ([1..=3_usize, 1..=40, 1..=40], [1..=18_usize, 1..=18]);
    let kernel = prop_oneof![
        4 => Just(([3, 3], [1, 1])),
        2 => Just(([1, 1], [0, 0])),
        2 => ([1..=7_usize, 1..=7_usize], [0..=3_usize, 0..=3_usize]),
        1 => (Just([3, 3]), [0..=2_usize, 0..=2_usize]),
    ];
    (sizes, kernel, 1..=3_usize).prop_filter_map("the kernel fits", |(sizes, kernel, stride)| {
        let ([batch, channels_in, channels_out], size_in) = sizes;
        let (kernel, padding) = kernel;
        let fits = (0..2).all(|axis| kernel[axis] <= size_in[axis] + 2 * padding[axis]);
        fits.then_some(Shape {
            batch,
            channels_in,
            channels_out,
            size_in,
            kernel,
            stride,
            padding,
        })
    })
}

fn check(shape: &Shape) -> Result<(), TestCaseError> {
    let inputs = Inputs::new(shape);
    let Inputs {
        x,
        weight,
        bias,
        dy,
    } = &inputs;
    let exact = exact(shape, &inputs);
    for isa in Isa::available() {
        let gradients = weight_grad(isa, shape, x, dy);
        let results = [
            (
                "output",
                forward(isa, shape, x, weight[..].into(), Some(bias)),
                &exact.y,
            ),
            (
                "input's gradient",
                input_grad(isa, shape, dy, weight),
                &exact.dx,
            ),
            ("weight's gradient", gradients.weight, &exact.dw),
            ("bias's gradient", gradients.bias, &exact.db),
            (
                "bias's gradient alone",
                bias_grad(shape.channels_out, shape.output().iter().product(), dy),
                &exact.db,
            ),
        ];
        for (name, ours, exact) in results {
            let far = beyond_rounding(&ours, exact);
            prop_assert!(far.is_none(), "{isa:?}: {name} {}", far.unwrap_or_default());
        }
    }
    Ok(())
}

/// Weights stored in 16 bits, or in blocks, give the bits that the same numbers give in 32.
fn check_16_bits(shape: &Shape) -> Result<(), TestCaseError> {
    let Inputs {
        x, weight, bias, ..
    } = Inputs::new(shape);
    let f16s: Vec<f16> = weight.iter().copied().map(f16::from_f32).collect();
    let bf16s: Vec<bf16> = weight.iter().copied().map(bf16::from_f32).collect();
    let wide_f16: Vec<f32> = f16s.iter().map(|w| w.to_f32()).collect();
    let wide_bf16: Vec<f32> = bf16s.iter().map(|w| w.to_f32()).collect();
    for isa in Isa::available() {
        let y = |weight: Weights| forward(isa, shape, &x, weight, Some(&bias));
        prop_assert_eq!(y(Weights::F16(&f16s)), y(Weights::F32(&wide_f16)));
        prop_assert_eq!(y(Weights::Bf16(&bf16s)), y(Weights::F32(&wide_bf16)));
    }
    Ok(())
}

/// The same for weights in blocks of input channels.
fn check_blocks(shape: &Shape) -> Result<(), TestCaseError> {
    let Inputs { x, bias, .. } = Inputs::new(shape);
    let area = shape.kernel[0] * shape.kernel[1];
    let numbers: Vec<i8> = values(5, shape.weight_len())
        .iter()
        .map(|value| q8::rounded(*value, 250.0))
        .collect();
    let scales = values(6, shape.weight_len() / BLOCK);
    // Output channel, block, then kernel element.
    let wide: Vec<f32> = (0..numbers.len())
        .map(|at| {
            let (element, channel) = (at % area, at / area % shape.channels_in);
            let blocks = at / area / shape.channels_in * (shape.channels_in / BLOCK);
            f32::from(numbers[at]) * scales[(blocks + channel / BLOCK) * area + element]
        })
        .collect();
    let blocks = Blocks {
        numbers: &numbers,
        scales: &scales,
        behind: area,
    };
    for isa in Isa::available() {
        let y = |weight: Weights| forward(isa, shape, &x, weight, Some(&bias));
        prop_assert_eq!(y(Weights::Q8(blocks)), y(Weights::F32(&wide)));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn equals_its_definition(shape in shapes()) {
        check(&shape)?;
    }

    #[test]
    fn weights_of_16_bits_give_the_same_bits(shape in shapes()) {
        check_16_bits(&shape)?;
    }

    #[test]
    fn weights_in_blocks_give_the_same_bits(shape in shapes(), blocks in 1..3usize) {
        check_blocks(&Shape { channels_in: blocks * BLOCK, ..shape })?;
    }
}

const USUAL: Shape = Shape {
    batch: 2,
    channels_in: 32,
    channels_out: 64,
    size_in: [16, 16],
    kernel: [3, 3],
    stride: 1,
    padding: [1, 1],
};

const OF_ONE_ELEMENT: Shape = Shape {
    kernel: [1, 1],
    padding: [0, 0],
    ..USUAL
};

/// Of one element, in several blocks of rows and of columns, the last of which are smaller: with so many
/// input channels that the blocks are narrow, and with few. And with so many images that a task has more
/// rows than are computed at a time, of a whole map.
const POINTWISE: [Shape; 3] = [
    Shape {
        batch: 1,
        channels_in: 700,
        channels_out: 130,
        size_in: [16, 20],
        ..OF_ONE_ELEMENT
    },
    Shape {
        channels_in: 20,
        channels_out: 70,
        size_in: [16, 40],
        ..OF_ONE_ELEMENT
    },
    Shape {
        batch: 33,
        channels_in: 72,
        channels_out: 70,
        size_in: [4, 4],
        ..OF_ONE_ELEMENT
    },
];

#[test]
fn equals_its_definition_at_the_usual_sizes() {
    for shape in [
        USUAL,
        Shape {
            batch: 3,
            channels_in: 35,
            channels_out: 19,
            size_in: [11, 15],
            ..USUAL
        },
        Shape { stride: 2, ..USUAL },
        Shape {
            channels_in: 4,
            size_in: [32, 32],
            ..USUAL
        },
        Shape {
            channels_out: 4,
            size_in: [8, 8],
            ..USUAL
        },
        Shape {
            channels_in: 80,
            ..OF_ONE_ELEMENT
        },
        Shape {
            kernel: [4, 4],
            stride: 4,
            padding: [0, 0],
            ..USUAL
        },
        POINTWISE[0],
        POINTWISE[1],
    ] {
        check(&shape).expect("all results close");
        check_16_bits(&shape).expect("the same bits");
    }
}

#[test]
fn gives_the_same_bits_on_any_number_of_threads() {
    for shape in [
        USUAL,
        Shape {
            batch: 7,
            stride: 2,
            ..USUAL
        },
        POINTWISE[0],
        POINTWISE[1],
    ] {
        let Inputs {
            x,
            weight,
            bias,
            dy,
        } = Inputs::new(&shape);
        assert_same_bits(|| {
            let gradients = weight_grad(Isa::best(), &shape, &x, &dy);
            let y = forward(Isa::best(), &shape, &x, weight[..].into(), Some(&bias));
            let dx = input_grad(Isa::best(), &shape, &dy, &weight);
            vec![y, dx, gradients.weight, gradients.bias]
        });
    }
}
