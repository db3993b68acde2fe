//! Our operations against the framework's stock ones, forward and with all gradients.
//!
//! `cargo bench -p fewstep-kernels`; against PyTorch: `tools/peers/compare.py`.

use burn::tensor::{Device, Distribution, Tensor, activation, module, ops::ConvOptions};
use criterion::{Criterion, criterion_group, criterion_main};
use fewstep_kernels as ours;

/// A function of some inputs of four axes and some of one.
type Operation<'a> = &'a dyn Fn(&[Tensor<4>], &[Tensor<1>]) -> Tensor<4>;

/// Times both implementations, forward and forward with the gradients of all inputs.
fn compare(
    criterion: &mut Criterion,
    name: &str,
    maps: &[[usize; 4]],
    vectors: &[usize],
    implementations: [(&str, Operation); 2],
) {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20);
    let normal = Distribution::Normal(0.0, 0.5);
    for (of, operation) in implementations {
        for backward in [false, true] {
            let device = if backward {
                Device::flex().autodiff()
            } else {
                Device::flex()
            };
            let maps = maps
                .iter()
                .map(|&shape| Tensor::<4>::random(shape, normal, &device));
            let maps: Vec<_> = maps
                .map(|x| if backward { x.require_grad() } else { x })
                .collect();
            let vectors = vectors
                .iter()
                .map(|&len| Tensor::<1>::random([len], normal, &device));
            let vectors: Vec<_> = vectors
                .map(|x| if backward { x.require_grad() } else { x })
                .collect();
            let what = if backward {
                "forward + backward"
            } else {
                "forward"
            };
            group.bench_function(format!("{what}/{of}"), |bencher| {
                bencher.iter(|| {
                    let y = operation(&maps, &vectors);
                    backward.then(|| y.sum().backward())
                });
            });
        }
    }
}

fn convolutions(criterion: &mut Criterion) {
    for (x @ [batch, from, size, _], to, stride) in [
        ([64, 32, 16, 16], 32, 1),
        ([64, 32, 16, 16], 64, 2),
        ([64, 64, 8, 8], 64, 1),
        ([16, 64, 32, 32], 64, 1),
        ([16, 128, 16, 16], 128, 1),
    ] {
        let name = format!("conv 3x3 stride {stride}, {batch}x{from} to {to}, {size}x{size}");
        let maps = [x, [to, from, 3, 3]];
        let stock = |m: &[Tensor<4>], v: &[Tensor<1>]| {
            let options = ConvOptions::new([stride; 2], [1, 1], [1, 1], 1);
            module::conv2d(m[0].clone(), m[1].clone(), Some(v[0].clone()), options)
        };
        let ours = |m: &[Tensor<4>], v: &[Tensor<1>]| {
            ours::conv2d(
                m[0].clone(),
                m[1].clone(),
                Some(v[0].clone()),
                stride,
                [1, 1],
            )
        };
        compare(
            criterion,
            &name,
            &maps,
            &[to],
            [("ours", &ours), ("stock", &stock)],
        );
    }
}

fn norms(criterion: &mut Criterion) {
    for (x @ [batch, channels, size, _], groups) in [([64, 32, 16, 16], 8), ([16, 128, 16, 16], 32)]
    {
        let name = format!("group norm + SiLU, {batch}x{channels}, {size}x{size}");
        let stock = |m: &[Tensor<4>], v: &[Tensor<1>]| {
            let x = m[0]
                .clone()
                .reshape([batch, groups, channels / groups * size * size]);
            let centred = x.clone() - x.mean_dim(2);
            let variance = centred.clone().square().mean_dim(2);
            let n = (centred / (variance + 1e-5).sqrt()).reshape(m[0].shape());
            let affine = |v: &Tensor<1>| v.clone().reshape([1, channels, 1, 1]);
            activation::silu(n * affine(&v[0]) + affine(&v[1]))
        };
        let ours = |m: &[Tensor<4>], v: &[Tensor<1>]| {
            ours::group_norm_silu(m[0].clone(), v[0].clone(), v[1].clone(), groups, 1e-5, None)
        };
        let vectors = [channels, channels];
        compare(
            criterion,
            &name,
            &[x],
            &vectors,
            [("ours", &ours), ("stock", &stock)],
        );
    }
}

fn attentions(criterion: &mut Criterion) {
    for q @ [batch, heads, tokens, dim] in [[64, 4, 64, 16], [16, 4, 256, 32]] {
        let name = format!("attention, {batch}x{heads} heads, {tokens} tokens of {dim}");
        let stock = |m: &[Tensor<4>], _: &[Tensor<1>]| {
            let (q, k, v) = (m[0].clone(), m[1].clone(), m[2].clone());
            module::attention(q, k, v, None, None, Default::default())
        };
        let ours = |m: &[Tensor<4>], _: &[Tensor<1>]| {
            ours::attention(m[0].clone(), m[1].clone(), m[2].clone())
        };
        compare(
            criterion,
            &name,
            &[q; 3],
            &[],
            [("ours", &ours), ("stock", &stock)],
        );
    }
}

criterion_group!(benches, convolutions, norms, attentions);
criterion_main!(benches);
