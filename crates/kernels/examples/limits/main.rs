//! How near each operation comes to what this machine can do: `cargo run --release --example
//! limits`.
//!
//! A shape's limit is the larger of two times: its multiply-adds at the peak rate of fused
//! multiply-adds, and its bytes, each tensor read or written once, at the rate at which buffers of
//! that size are copied. Both rates are measured here, with as many threads as the operations use.
//! Winograd convolution does fewer multiply-adds than the definition asks for, so its share may
//! exceed one.

mod machine;

use burn::tensor::{Device, Distribution, Tensor};
use machine::{Machine, fastest};

fn main() {
    // Memory and threads set up as in the program.
    fewstep_kernels::memory::keep_freed_blocks();
    fewstep_kernels::parallel_parts(vec![Machine::measure()], |machine| print_table(&machine));
}

fn print_table(machine: &Machine) {
    println!(
        "{} threads: {:.0} Gflop/s in fused multiply-adds; copies of 64 MiB move {:.0} GB/s (read and written)\n",
        machine.threads,
        machine.flops / 1e9,
        machine.bandwidth(64 << 20) / 1e9
    );
    println!("| operation | forward, ms | share of the limit | forward + backward, ms | share |");
    println!("|---|---|---|---|---|");
    for ([batch, from, size], to, kernel, stride) in [
        ([64, 4, 16], 32, 3, 1),
        ([64, 32, 16], 32, 3, 1),
        ([64, 64, 16], 32, 3, 1),
        ([64, 32, 16], 64, 3, 2),
        ([64, 64, 8], 64, 3, 1),
        ([64, 64, 16], 32, 1, 1),
        ([64, 32, 16], 4, 3, 1),
        ([16, 64, 32], 64, 3, 1),
        ([16, 128, 16], 128, 3, 1),
        ([16, 256, 8], 256, 3, 1),
        ([1, 320, 64], 320, 3, 1),
        ([1, 1280, 16], 1280, 3, 1),
        ([1, 1280, 8], 1280, 3, 1),
    ] {
        let out = size / stride;
        let multiply_adds = (batch * from * to * kernel * kernel * out * out) as f64;
        let (input, output) = (batch * from * size * size, batch * to * out * out);
        let of_stride = if stride > 1 { " stride 2" } else { "" };
        let work = Work {
            name: format!("conv {kernel}x{kernel}{of_stride}, {batch}x{from}→{to}, {size}x{size}"),
            flops: [2.0 * multiply_adds, 6.0 * multiply_adds],
            // Backward: the output's gradient twice, the input once, its gradient written.
            floats: [input + output, 3 * input + 3 * output],
        };
        let weight = [to, from, kernel, kernel];
        work.print(
            machine,
            &[[batch, from, size, size], weight],
            &[to],
            |m, v| {
                let bias = Some(v[0].clone());
                fewstep_kernels::conv2d(m[0].clone(), m[1].clone(), bias, stride, [kernel / 2; 2])
            },
        );
    }
    for ([batch, channels, size], groups) in
        [([64, 32, 16], 8), ([16, 128, 16], 32), ([16, 64, 32], 32)]
    {
        let n = batch * channels * size * size;
        let work = Work {
            name: format!("group norm + SiLU, {batch}x{channels}, {size}x{size}"),
            flops: [0.0; 2],
            floats: [2 * n, 5 * n],
        };
        let x = [batch, channels, size, size];
        work.print(machine, &[x], &[channels; 2], |m, v| {
            let (gamma, beta) = (v[0].clone(), v[1].clone());
            fewstep_kernels::group_norm_silu(m[0].clone(), gamma, beta, groups, 1e-5, None)
        });
    }
    for q @ [batch, heads, tokens, dim] in [[64, 4, 64, 16], [16, 4, 256, 32], [4, 8, 1024, 40]] {
        let product = (2 * batch * heads * tokens * tokens * dim) as f64;
        let n = batch * heads * tokens * dim;
        let work = Work {
            name: format!("attention, {batch}x{heads} heads, {tokens} tokens of {dim}"),
            // Two products forward; backward the scores once more and four.
            flops: [2.0 * product, 7.0 * product],
            floats: [4 * n, 12 * n],
        };
        work.print(machine, &[q; 3], &[], |m, _| {
            fewstep_kernels::attention(m[0].clone(), m[1].clone(), m[2].clone())
        });
    }
}

/// What an operation must do, forward, and forward and backward together.
struct Work {
    name: String,
    flops: [f64; 2],
    floats: [usize; 2],
}

impl Work {
    /// Times the operation on random inputs of these shapes and prints a row.
    fn print(
        &self,
        machine: &Machine,
        maps: &[[usize; 4]],
        vectors: &[usize],
        operation: impl Fn(&[Tensor<4>], &[Tensor<1>]) -> Tensor<4>,
    ) {
        let normal = Distribution::Normal(0.0, 0.5);
        let mut cells = String::new();
        for backward in [false, true] {
            let device = match backward {
                true => Device::flex().autodiff(),
                false => Device::flex(),
            };
            let maps = maps.iter().map(|&shape| {
                Tensor::<4>::random(shape, normal, &device).set_require_grad(backward)
            });
            let maps: Vec<_> = maps.collect();
            let vectors = vectors.iter().map(|&length| {
                Tensor::<1>::random([length], normal, &device).set_require_grad(backward)
            });
            let vectors: Vec<_> = vectors.collect();
            let seconds = fastest(|| {
                let y = operation(&maps, &vectors);
                if backward {
                    drop(y.sum().backward());
                }
            });
            let bytes = 4 * self.floats[usize::from(backward)];
            let limit = f64::max(
                self.flops[usize::from(backward)] / machine.flops,
                bytes as f64 / machine.bandwidth(bytes),
            );
            cells += &format!(" {:.2} | {:.2} |", seconds * 1e3, limit / seconds);
        }
        println!("| {} |{cells}", self.name);
    }
}
