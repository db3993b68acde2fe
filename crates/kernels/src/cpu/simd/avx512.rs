//! AVX-512: sixteen floats, thirty-two registers.

use super::{Kernel, Lanes};
use std::arch::x86_64::*;

/// # Safety
/// The processor has AVX-512F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<F32>()
}

#[derive(Clone, Copy)]
pub(crate) struct F32(__m512);

// SAFETY of every block below: `Isa::run` uses this type only where the processor has AVX-512F;
// what is read and written is covered by the contracts of the trait's unsafe methods.
impl Lanes for F32 {
    const N: usize = 16;
    const ROWS: usize = 8;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Self(unsafe { _mm512_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self(unsafe { _mm512_set1_ps(x) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(unsafe { _mm512_div_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // The instruction gives its second operand where either is not a number.
        Self(unsafe { _mm512_max_ps(other.0, self.0) })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // The instruction gives its second operand where either is not a number.
        Self(unsafe { _mm512_min_ps(other.0, self.0) })
    }

    #[inline(always)]
    fn scale_by_power(self, power: Self) -> Self {
        Self(unsafe { _mm512_scalef_ps(self.0, power.0) })
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
    }

    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_pitch: usize, to: *mut f32, to_pitch: usize) {
        unsafe {
            let mut r = [_mm512_setzero_ps(); 16];
            for i in 0..16 {
                r[i] = _mm512_loadu_ps(from.add(i * from_pitch));
            }
            // Pairs of rows interleaved, then fours, each within the four 128-bit quarters.
            let mut t = r;
            for i in 0..16 {
                let (a, b) = (r[i / 2 * 2], r[i / 2 * 2 + 1]);
                t[i] = if i % 2 == 0 {
                    _mm512_unpacklo_ps(a, b)
                } else {
                    _mm512_unpackhi_ps(a, b)
                };
            }
            let mut u = t;
            for i in 0..16 {
                let (a, b) = (t[i / 4 * 4 + i % 4 / 2], t[i / 4 * 4 + i % 4 / 2 + 2]);
                u[i] = if i % 2 == 0 {
                    _mm512_shuffle_ps(a, b, 0x44)
                } else {
                    _mm512_shuffle_ps(a, b, 0xee)
                };
            }
            // `u[4 g + i]`, quarter q: column 4 q + i of rows 4 g to 4 g + 3. Quarters are swapped
            // in two steps.
            for i in 0..4 {
                let even01 = _mm512_shuffle_f32x4(u[i], u[4 + i], 0x88);
                let odd01 = _mm512_shuffle_f32x4(u[i], u[4 + i], 0xdd);
                let even23 = _mm512_shuffle_f32x4(u[8 + i], u[12 + i], 0x88);
                let odd23 = _mm512_shuffle_f32x4(u[8 + i], u[12 + i], 0xdd);
                _mm512_storeu_ps(
                    to.add(i * to_pitch),
                    _mm512_shuffle_f32x4(even01, even23, 0x88),
                );
                _mm512_storeu_ps(
                    to.add((4 + i) * to_pitch),
                    _mm512_shuffle_f32x4(odd01, odd23, 0x88),
                );
                _mm512_storeu_ps(
                    to.add((8 + i) * to_pitch),
                    _mm512_shuffle_f32x4(even01, even23, 0xdd),
                );
                _mm512_storeu_ps(
                    to.add((12 + i) * to_pitch),
                    _mm512_shuffle_f32x4(odd01, odd23, 0xdd),
                );
            }
        }
    }
}
