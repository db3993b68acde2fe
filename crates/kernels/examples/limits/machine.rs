//! What the machine can do.

use rayon::prelude::*;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Accumulators of the loop: enough to hide the latency of an instruction.
const ACCUMULATORS: usize = 12;
const TURNS: usize = 200_000;

/// The measured rates of all threads together.
pub(crate) struct Machine {
    pub(crate) threads: usize,
    /// Floating-point operations per second in a loop of nothing but fused multiply-adds.
    pub(crate) flops: f64,
}

impl Machine {
    pub(crate) fn measure() -> Self {
        let threads = rayon::current_num_threads();
        let mut operations = 0;
        let seconds = fastest(|| {
            operations = rayon::broadcast(|_| multiply_adds()).into_iter().sum();
        });
        Self {
            threads,
            flops: 2.0 * operations as f64 / seconds,
        }
    }

    /// Bytes read and written per second while copying between buffers of `bytes` in all.
    pub(crate) fn bandwidth(&self, bytes: usize) -> f64 {
        let length = bytes / 8;
        let from = vec![1.0_f32; length];
        let mut to = vec![0.0_f32; length];
        let part = length.div_ceil(self.threads);
        let seconds = fastest(|| {
            let parts = to.par_chunks_mut(part).zip(from.par_chunks(part));
            parts.for_each(|(to, from)| to.copy_from_slice(from));
            black_box(&to);
        });
        (8 * length) as f64 / seconds
    }
}

/// The fastest of many runs, in seconds.
pub(crate) fn fastest(mut run: impl FnMut()) -> f64 {
    const AT_LEAST: Duration = Duration::from_millis(500);
    let (start, mut best) = (Instant::now(), Duration::MAX);
    while start.elapsed() < AT_LEAST {
        let round = Instant::now();
        run();
        best = best.min(round.elapsed());
    }
    best.as_secs_f64()
}

/// Runs the loop with the widest registers there are; gives the number of multiply-adds.
fn multiply_adds() -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512F.
            return unsafe { with_avx512() };
        }
        if is_x86_feature_detected!("fma") && is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2 and FMA.
            return unsafe { with_avx2() };
        }
    }
    turns([1.0_f32; ACCUMULATORS], |sum| sum * 0.999 + 0.001)
}

/// # Safety
/// The processor must have AVX-512F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn with_avx512() -> usize {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_set1_ps};
    let (a, b) = (_mm512_set1_ps(0.999), _mm512_set1_ps(0.001));
    16 * turns([a; ACCUMULATORS], |sum| _mm512_fmadd_ps(sum, a, b))
}

/// # Safety
/// The processor must have AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn with_avx2() -> usize {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps};
    let (a, b) = (_mm256_set1_ps(0.999), _mm256_set1_ps(0.001));
    8 * turns([a; ACCUMULATORS], |sum| _mm256_fmadd_ps(sum, a, b))
}

/// Applies the step to every accumulator again and again; gives the number of steps.
#[inline(always)]
fn turns<V: Copy>(mut sums: [V; ACCUMULATORS], next: impl Fn(V) -> V) -> usize {
    for _ in 0..TURNS {
        for sum in &mut sums {
            *sum = next(*sum);
        }
    }
    black_box(sums);
    TURNS * ACCUMULATORS
}
