//! GELU as a gate, forward and backward.

use super::simd::math::normal_tail;
use super::simd::{Isa, Kernel, Lanes};
use rayon::prelude::*;

/// Numbers of the result that a task has at least.
const LEAST: usize = 1 << 14;

/// Beyond this, the normal distribution has nothing left in single precision.
const FAR: f32 = 14.0;

/// 1 / sqrt(2 π).
const DENSITY: f32 = 0.398_942_3;

/// For each row of `row` numbers, its first half times GELU of its second.
pub(crate) fn geglu(isa: Isa, x: &[f32], row: usize) -> Vec<f32> {
    let width = row / 2;
    let rows = LEAST.div_ceil(width);
    let mut y = vec![0.0; x.len() / 2];
    let parts = y.par_chunks_mut(rows * width).zip(x.par_chunks(rows * row));
    parts.for_each(|(y, x)| isa.run(Forward { x, width, y }));
    y
}

/// The gradient of [`geglu`].
pub(crate) fn geglu_grad(isa: Isa, x: &[f32], dy: &[f32], row: usize) -> Vec<f32> {
    let width = row / 2;
    let rows = LEAST.div_ceil(width);
    let mut dx = vec![0.0; x.len()];
    let parts = dx.par_chunks_mut(rows * row).zip(x.par_chunks(rows * row));
    let parts = parts.zip(dy.par_chunks(rows * width));
    parts.for_each(|((dx, x), dy)| isa.run(Backward { x, dy, width, dx }));
    dx
}

struct Forward<'a> {
    x: &'a [f32],
    width: usize,
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let rows = self.y.chunks_exact_mut(self.width);
        for (y, x) in rows.zip(self.x.chunks_exact(2 * self.width)) {
            let (values, gates) = x.split_at(self.width);
            let gates = values.chunks(V::N).zip(gates.chunks(V::N));
            for (y, (value, gate)) in y.chunks_mut(V::N).zip(gates) {
                let [value, gate] = [value, gate].map(load::<V>);
                store(value.mul(gelu(gate)), y);
            }
        }
    }
}

struct Backward<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    width: usize,
    dx: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let row = 2 * self.width;
        let rows = self.dx.chunks_exact_mut(row).zip(self.x.chunks_exact(row));
        for ((dx, x), dy) in rows.zip(self.dy.chunks_exact(self.width)) {
            let ((values, gates), (d_values, d_gates)) =
                (x.split_at(self.width), dx.split_at_mut(self.width));
            let gates = values.chunks(V::N).zip(gates.chunks(V::N));
            let to = d_values.chunks_mut(V::N).zip(d_gates.chunks_mut(V::N));
            for ((dy, (value, gate)), (d_value, d_gate)) in dy.chunks(V::N).zip(gates).zip(to) {
                let [dy, value, gate] = [dy, value, gate].map(load::<V>);
                store(dy.mul(gelu(gate)), d_value);
                store(dy.mul(value).mul(slope(gate)), d_gate);
            }
        }
    }
}

/// x Φ(x): as Φ(x) = 1 − Φ(−x), it is max(x, 0) − |x| Φ(−|x|).
#[inline(always)]
fn gelu<V: Lanes>(x: V) -> V {
    let zero = V::splat(0.0);
    let size = x.max(zero.sub(x)).min(V::splat(FAR));
    let (tail, _) = normal_tail(size);
    x.max(zero).sub(size.mul(tail))
}

/// The derivative of x Φ(x): Φ(x) + x φ(x).
#[inline(always)]
fn slope<V: Lanes>(x: V) -> V {
    let [zero, one, half] = [0.0, 1.0, 0.5].map(V::splat);
    let size = x.max(zero.sub(x)).min(V::splat(FAR));
    let (tail, bell) = normal_tail(size);
    // Where x is so small that this is not ±1, Φ is 1/2 anyway.
    let sign = x.mul(V::splat(1e30)).max(zero.sub(one)).min(one);
    let below = sign.mul_add(half.sub(tail), half);
    let density = bell.mul(V::splat(DENSITY));
    sign.mul(size).mul_add(density, below)
}

/// As many floats as there are, at most a register's, then zeros.
#[inline(always)]
fn load<V: Lanes>(from: &[f32]) -> V {
    // SAFETY: the slice has as many floats as are read.
    unsafe {
        match from.len() == V::N {
            true => V::load(from.as_ptr()),
            false => V::load_first(from.as_ptr(), from.len()),
        }
    }
}

#[inline(always)]
fn store<V: Lanes>(values: V, to: &mut [f32]) {
    // SAFETY: the slice has as many floats as are written.
    unsafe {
        match to.len() == V::N {
            true => values.store(to.as_mut_ptr()),
            false => values.store_first(to.as_mut_ptr(), to.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{assert_same_bits, values};
    use std::f64::consts::{PI, SQRT_2};

    fn exact(x: f64) -> f64 {
        x * 0.5 * libm::erfc(-x / SQRT_2)
    }

    fn exact_slope(x: f64) -> f64 {
        0.5 * libm::erfc(-x / SQRT_2) + x * (-x * x / 2.0).exp() / (2.0 * PI).sqrt()
    }

    /// Gates from -20 to 20, and so many values.
    fn inputs(rows: usize, width: usize) -> Vec<f32> {
        let (values, gates) = (values(1, rows * width), values(2, rows * width));
        let rows = values.chunks(width).zip(gates.chunks(width));
        rows.flat_map(|(values, gates)| {
            let gates = gates.iter().map(|gate| 40.0 * gate);
            values.iter().copied().chain(gates).collect::<Vec<_>>()
        })
        .collect()
    }

    #[test]
    fn gates_are_those_of_the_normal_distribution() {
        for isa in Isa::available() {
            for width in [1, 15, 16, 37, 300] {
                let x = inputs(40, width);
                let y = geglu(isa, &x, 2 * width);
                let rows = y.chunks(width).zip(x.chunks(2 * width));
                for (y, (value, gate)) in rows.flat_map(|(y, x)| y.iter().zip(pairs(x))) {
                    let expected = value * exact(gate);
                    let near = 3e-7 * value.abs() * gate.abs().max(1.0);
                    assert!((f64::from(*y) - expected).abs() <= near, "{isa:?}: {gate}");
                }
            }
        }
    }

    fn pairs(x: &[f32]) -> impl Iterator<Item = (f64, f64)> {
        let (values, gates) = x.split_at(x.len() / 2);
        let pairs = values.iter().zip(gates);
        pairs.map(|(value, gate)| (f64::from(*value), f64::from(*gate)))
    }

    #[test]
    fn gradients_are_the_derivatives() {
        for isa in Isa::available() {
            for width in [1, 37, 300] {
                let (x, dy) = (inputs(40, width), values(3, 40 * width));
                let dx = geglu_grad(isa, &x, &dy, 2 * width);
                for ((dx, x), dy) in dx
                    .chunks(2 * width)
                    .zip(x.chunks(2 * width))
                    .zip(dy.chunks(width))
                {
                    for (((of_value, of_gate), (value, gate)), dy) in
                        pairs(dx).zip(pairs(x)).zip(dy)
                    {
                        let dy = f64::from(*dy);
                        let near = 3e-7 * dy.abs() * gate.abs().max(1.0);
                        assert!(
                            (of_value - dy * exact(gate)).abs() <= near,
                            "{isa:?}: {gate}"
                        );
                        let expected = dy * value * exact_slope(gate);
                        assert!((of_gate - expected).abs() <= near, "{isa:?}: {gate}");
                    }
                }
            }
        }
    }

    #[test]
    fn extreme_gates_are_shut_or_open() {
        for isa in Isa::available() {
            let y = geglu(isa, &[1.0, 1.0, 1.0, 1.0, -1e30, 1e30, 0.0, -0.0], 8);
            assert!(
                y[0].abs() < 1e-30 && y[1] == 1e30 && y[2] == 0.0 && y[3] == 0.0,
                "{y:?}"
            );
            assert!(geglu(isa, &[1.0, f32::NAN], 2)[0].is_nan());
            let dx = geglu_grad(isa, &[1.0, 1.0, 1.0, -1e30, 0.0, 1e30], &[1.0; 3], 6);
            assert!(
                dx[3].abs() < 1e-30 && dx[4] == 0.5 && dx[5] == 1.0,
                "{dx:?}"
            );
        }
    }

    #[test]
    fn threads_do_not_change_the_result() {
        let (x, dy) = (values(1, 190 * 2 * 300), values(2, 190 * 300));
        assert_same_bits(|| {
            let isa = Isa::best();
            vec![geglu(isa, &x, 600), geglu_grad(isa, &x, &dy, 600)]
        });
    }
}
