//! Functions of a register, made of its arithmetic.

use super::Lanes;

/// Coefficients of e^r for |r| at most ln(2)/2, the highest power first: a minimax polynomial whose
/// relative error is below one unit of the last place of single precision.
const EXP: [f32; 7] = [
    1.381_461_3e-3,
    8.368_71e-3,
    4.166_838_7e-2,
    1.666_652e-1,
    4.999_999_3e-1,
    1.0,
    1.0,
];
/// ln(2) as the sum of a number with trailing zeros, so that products with whole numbers are exact,
/// and the rest.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// Adding and subtracting this rounds to whole numbers.
const ROUND: f32 = 12_582_912.0;

/// e^x, within two units of the last place; saturates below -87 and above 88.
#[inline(always)]
pub(crate) fn exp<V: Lanes>(x: V) -> V {
    let x = x.max(V::splat(-87.0)).min(V::splat(88.0));
    let round = V::splat(ROUND);
    let power = x
        .mul_add(V::splat(std::f32::consts::LOG2_E), round)
        .sub(round);
    let r = power.mul_add(V::splat(-LN_2[0]), x);
    let r = power.mul_add(V::splat(-LN_2[1]), r);
    let mut e = V::splat(EXP[0]);
    for coefficient in &EXP[1..] {
        e = e.mul_add(r, V::splat(*coefficient));
    }
    e.scale_by_power(power)
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid<V: Lanes>(x: V) -> V {
    let one = V::splat(1.0);
    one.div(one.add(exp(V::splat(0.0).sub(x))))
}
