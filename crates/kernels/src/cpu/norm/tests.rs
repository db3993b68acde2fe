//! Group normalisation against its definition in double precision.

use super::{Epilogue, Film, Shape, backward, forward};
use crate::cpu::simd::Isa;
use crate::cpu::testing::{assert_same_bits, beyond, values};
use proptest::prelude::*;

const EPS: f64 = 1e-5;

struct Inputs {
    x: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    dy: Vec<f32>,
}

impl Inputs {
    fn new(shape: &Shape) -> Self {
        let per_image = shape.batch * shape.channels;
        Self {
            x: values(1, shape.len())
                .iter()
                .map(|x| 6.0 * x + 1.0)
                .collect(),
            gamma: values(2, shape.channels),
            beta: values(3, shape.channels),
            scale: values(4, per_image),
            shift: values(5, per_image),
            dy: values(6, shape.len()),
        }
    }

    fn epilogue(&self, film: bool, silu: bool) -> Epilogue<'_> {
        let film = film.then_some(Film {
            scale: &self.scale,
            shift: &self.shift,
        });
        Epilogue {
            gamma: &self.gamma,
            beta: &self.beta,
            film,
            silu,
        }
    }
}

/// The output, then the gradients of the map, gamma, beta, scale and shift.
fn exact(shape: &Shape, inputs: &Inputs, film: bool, silu: bool) -> [Vec<f64>; 6] {
    let (count, per_group) = (shape.group_len(), shape.channels_per_group());
    let mut results = [
        shape.len(),
        shape.len(),
        shape.channels,
        shape.channels,
        inputs.scale.len(),
        inputs.scale.len(),
    ]
    .map(|len| vec![0.0; len]);
    let [y, dx, dgamma, dbeta, dscale, dshift] = &mut results;
    for group in 0..shape.batch * shape.groups {
        let x: Vec<f64> = inputs.x[group * count..][..count]
            .iter()
            .map(|&x| x.into())
            .collect();
        let mean = x.iter().sum::<f64>() / count as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count as f64;
        let inverse = 1.0 / (variance + EPS).sqrt();
        let mut dn = vec![0.0; count];
        for i in 0..count {
            let (at, channel) = (group * count + i, group * per_group + i / shape.area);
            let parameter = channel % shape.channels;
            let [gamma, beta] = [&inputs.gamma, &inputs.beta].map(|p| f64::from(p[parameter]));
            let [scale, shift] = [&inputs.scale, &inputs.shift]
                .map(|p| if film { f64::from(p[channel]) } else { 0.0 });
            let n = (x[i] - mean) * inverse;
            let h = (n * gamma + beta) * (1.0 + scale) + shift;
            let s = 1.0 / (1.0 + (-h).exp());
            y[at] = if silu { h * s } else { h };
            let slope = if silu { s + h * s * (1.0 - s) } else { 1.0 };
            let dh = f64::from(inputs.dy[at]) * slope;
            dshift[channel] += dh;
            dscale[channel] += dh * (n * gamma + beta);
            dbeta[parameter] += dh * (1.0 + scale);
            dgamma[parameter] += dh * (1.0 + scale) * n;
            dn[i] = dh * (1.0 + scale) * gamma;
        }
        let mean_of = |f: &dyn Fn(usize) -> f64| (0..count).map(f).sum::<f64>() / count as f64;
        let n = |i: usize| (x[i] - mean) * inverse;
        let (level, slope) = (mean_of(&|i| dn[i]), mean_of(&|i| dn[i] * n(i)));
        for i in 0..count {
            dx[group * count + i] = inverse * (dn[i] - level - n(i) * slope);
        }
    }
    results
}

fn ours(isa: Isa, shape: &Shape, inputs: &Inputs, film: bool, silu: bool) -> Vec<Vec<f32>> {
    let epilogue = inputs.epilogue(film, silu);
    let (y, moments) = forward(isa, shape, EPS, &inputs.x, epilogue);
    let gradients = backward(isa, shape, &inputs.x, &moments, epilogue, &inputs.dy);
    let film = gradients.film.into_iter().flatten();
    [y, gradients.x, gradients.gamma, gradients.beta]
        .into_iter()
        .chain(film)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn equals_its_definition(
        (batch, per_group, groups) in (1..=3_usize, 1..=6_usize, 1..=6_usize),
        area in prop_oneof![1 => 1..=80_usize, 1 => Just(64)],
        (film, silu) in any::<(bool, bool)>(),
    ) {
        // A group of very few values may have next to no variance, and then any error is large.
        prop_assume!(per_group * area >= 8);
        let shape = Shape { batch, channels: per_group * groups, area, groups };
        let inputs = Inputs::new(&shape);
        let exact = exact(&shape, &inputs, film, silu);
        // Sums over positions round with their terms' magnitudes.
        let floor = 0.01 * (5 + batch * area) as f64;
        for isa in Isa::available() {
            let ours = ours(isa, &shape, &inputs, film, silu);
            prop_assert_eq!(ours.len(), if film { 6 } else { 4 });
            for (index, (ours, exact)) in ours.iter().zip(&exact).enumerate() {
                let far = beyond(floor, ours, exact);
                prop_assert!(far.is_none(), "{isa:?}: result {index} {}", far.unwrap_or_default());
            }
        }
    }
}

#[test]
fn gives_the_same_bits_on_any_number_of_threads() {
    let shape = Shape {
        batch: 5,
        channels: 24,
        area: 49,
        groups: 4,
    };
    let inputs = Inputs::new(&shape);
    assert_same_bits(|| ours(Isa::best(), &shape, &inputs, true, true));
}
