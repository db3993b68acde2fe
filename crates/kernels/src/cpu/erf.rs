//! The error function of the framework's GELU, for all lanes of a register at once.
//!
//! `libm::erff` decides for each number which rational function it is near, one number at a time. This is
//! the same arithmetic in the same order, without a branch: the coefficients are chosen, and what a
//! function of lower degree lacks is zero. So it gives the same bits, and compilers turn a loop of it into
//! vector instructions.

/// A coefficient of four rational functions: of |x| up to 0.84375, 1.25, 1/0.35, and beyond.
type Choice = [f32; 4];

/// Which of the four it is.
#[derive(Clone, Copy)]
struct Near {
    zero: bool,
    one: bool,
    two: bool,
}

impl Near {
    #[inline(always)]
    fn choose(self, [zero, one, two, far]: Choice) -> f32 {
        let beyond = if self.two { two } else { far };
        let beyond = if self.one { one } else { beyond };
        if self.zero { zero } else { beyond }
    }
}

/// The value of a polynomial at `t`, by Horner's rule, for coefficients with the highest power first.
macro_rules! polynomial {
    ($near:ident, $t:ident, $highest:expr $(, $lower:expr)*) => {{
        let value = $near.choose($highest);
        $(let value = $near.choose($lower) + $t * value;)*
        value
    }};
}

/// erf(x), with the bits of `libm::erff`.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    let size = x.abs();
    let near = Near {
        zero: size < 0.843_75,
        one: size < 1.25,
        two: size < f32::from_bits(0x4036_db6d),
    };
    let beyond = if near.one {
        size - 1.0
    } else {
        1.0 / (size * size)
    };
    let t = if near.zero { size * size } else { beyond };
    let above = polynomial!(
        near,
        t,
        [0.0, 0.0, -9.814_329, 0.0],
        [0.0, -2.166_375_5e-3, -8.128_744e1, -4.835_192e2],
        [0.0, 3.547_830_5e-2, -1.846_050_9e2, -1.025_095_1e3],
        [
            -2.376_301_7e-5,
            -1.108_946_95e-1,
            -1.623_966_7e2,
            -6.375_664_7e2
        ],
        [
            -5.770_270_2e-3,
            3.183_466_2e-1,
            -6.237_533e1,
            -1.606_363_8e2
        ],
        [
            -2.848_175e-2,
            -3.722_078_8e-1,
            -1.055_862_6e1,
            -1.775_795_6e1
        ],
        [
            -3.250_421e-1,
            4.148_561e-1,
            -6.938_585_6e-1,
            -7.992_832_7e-1
        ],
        [
            1.283_791_7e-1,
            -2.362_118_6e-3,
            -9.864_944e-3,
            -9.864_943e-3
        ]
    );
    let below = polynomial!(
        near,
        t,
        [0.0, 0.0, -6.042_441_4e-2, 0.0],
        [0.0, 0.0, 6.570_249_6, -2.244_095_2e1],
        [0.0, 1.198_45e-2, 1.086_35e2, 4.745_285_3e2],
        [
            -3.960_228_2e-6,
            1.363_708_4e-2,
            4.290_081_5e2,
            2.553_050_3e3
        ],
        [1.324_947_4e-4, 1.261_712_2e-1, 6.453_872_7e2, 3.199_858_2e3],
        [5.081_306e-3, 7.182_865_6e-2, 4.345_659e2, 1.536_729_6e3],
        [6.502_225e-2, 5.403_979_4e-1, 1.376_577_6e2, 3.257_925e2],
        [3.979_172e-1, 1.064_208_8e-1, 1.965_127_2e1, 3.033_806e1]
    );
    let ratio = above / (1.0 + t * below);
    let tiny = size < f32::from_bits(0x3180_0000);
    let around_zero = if tiny {
        0.125 * (8.0 * x + 1.027_033_3 * x)
    } else {
        x + x * ratio
    };
    // The upper half of |x|, whose square is exact.
    let upper = f32::from_bits(size.to_bits() & 0xffff_e000);
    let tail = exp(-upper * upper - 0.562_5) * exp((upper - size) * (upper + size) + ratio) / size;
    let beyond = match (near.one, size >= 6.0) {
        (true, _) => 1.0 - (1.0 - 0.845_062_9 - ratio),
        (false, true) => 1.0,
        (false, false) => 1.0 - tail,
    };
    if near.zero {
        around_zero
    } else {
        beyond.copysign(x)
    }
}

/// exp(x) with the bits of `libm::expf`, for the x that [`erf`] has: from -37 to 1.
#[inline(always)]
fn exp(x: f32) -> f32 {
    let size = x.abs();
    let half = if x < 0.0 { -0.5 } else { 0.5 };
    let whole = std::f32::consts::LOG2_E * x + half;
    // Where `erf` needs this function its power of two is small; elsewhere it must only be a number.
    #[expect(
        clippy::manual_clamp,
        reason = "clamp leaves what is not a number as it is"
    )]
    let whole = whole.max(-64.0).min(64.0);
    // SAFETY: the bounds, of which `max` takes the one where `whole` is not a number.
    let whole: i32 = unsafe { whole.to_int_unchecked() };
    let one = if x < 0.0 { -1 } else { 1 };
    let power = if size > f32::from_bits(0x3f85_1592) {
        whole
    } else {
        one
    };
    let power = if size > f32::from_bits(0x3eb1_7218) {
        power
    } else {
        0
    };
    let powers = power as f32;
    let (high, low) = (x - powers * 0.693_145_75, powers * 1.428_606_8e-6);
    let r = high - low;
    let rr = r * r;
    let c = r - rr * (0.166_666_25 + rr * -2.766_733_3e-3);
    let y = 1.0 + (r * c / (2.0 - c) - low + high);
    let y = if size > f32::from_bits(0x3900_0000) {
        y
    } else {
        1.0 + x
    };
    y * f32::from_bits(((127 + power) << 23) as u32)
}

#[cfg(test)]
mod tests {
    use super::erf;
    use std::f32::consts::SQRT_2;

    /// Every 1,009th number there is, and the neighbours of those at which the arithmetic changes.
    #[test]
    fn has_the_bits_of_the_library() {
        let changes = [
            0x3180_0000,
            0x3f58_0000,
            0x3fa0_0000,
            0x4036_db6d,
            0x40c0_0000,
            0x7f80_0000,
        ];
        let around = changes.iter().flat_map(|&at: &u32| at - 70..at + 70);
        let signed = around.flat_map(|bits| [bits, bits | 1 << 31]);
        for bits in (0..=u32::MAX).step_by(1009).chain(signed) {
            let x = f32::from_bits(bits);
            let (ours, library) = (erf(x), libm::erff(x));
            let same = ours.to_bits() == library.to_bits() || ours.is_nan() && library.is_nan();
            assert!(same, "{x}: {ours}, not {library}");
        }
    }

    /// Dense where gates of networks are.
    #[test]
    fn has_the_bits_of_the_library_where_gates_are() {
        for step in -1_000_000..1_000_000 {
            let x = step as f32 * 8e-6 / SQRT_2;
            assert_eq!(erf(x).to_bits(), libm::erff(x).to_bits(), "{x}");
        }
    }
}
