//! What the tests of all kernels share: inputs, comparison, and pools of different sizes.

/// Values in (-0.5, 0.5) that look random; equal for equal seeds.
pub(crate) fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        })
        .collect()
}

/// A sum in double precision, with the sum of its terms' magnitudes: what rounding errors scale
/// with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) value: f64,
    pub(crate) magnitude: f64,
}

impl Sum {
    pub(crate) fn add(&mut self, term: f64) {
        self.value += term;
        self.magnitude += term.abs();
    }
}

/// The first value further from the exact one than rounding in single precision explains.
pub(crate) fn beyond_rounding(ours: &[f32], exact: &[Sum]) -> Option<String> {
    const ROUNDINGS: f64 = 16.0;
    assert_eq!(ours.len(), exact.len());
    let bound = |exact: &Sum| ROUNDINGS * f64::from(f32::EPSILON) * exact.magnitude;
    // Written so that a value that is not a number counts as far.
    let near = |ours: f32, exact: &Sum| (f64::from(ours) - exact.value).abs() <= bound(exact);
    let far = ours
        .iter()
        .zip(exact)
        .position(|(&ours, exact)| !near(ours, exact));
    far.map(|at| format!("at {at}: {}, expected {:?}", ours[at], exact[at]))
}

/// The first value whose distance from the exact one is over 1e-5 times the largest exact one, or
/// times `floor` where that is more: results that cancel out are as exact as what they were made
/// of.
pub(crate) fn beyond(floor: f64, ours: &[f32], exact: &[f64]) -> Option<String> {
    let tolerance = 1e-5;
    assert_eq!(ours.len(), exact.len());
    let scale = exact.iter().fold(floor, |scale, x| scale.max(x.abs()));
    let near = |ours: f32, exact: f64| (f64::from(ours) - exact).abs() <= tolerance * scale;
    let far = ours
        .iter()
        .zip(exact)
        .position(|(&ours, &exact)| !near(ours, exact));
    far.map(|at| {
        format!(
            "at {at}: {}, expected {} of at most {scale}",
            ours[at], exact[at]
        )
    })
}

/// Fails unless `compute` gives the same bits on one, two and three threads.
pub(crate) fn assert_same_bits(compute: impl Fn() -> Vec<Vec<f32>> + Sync) {
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let results = pool.expect("a pool of a few threads").install(&compute);
        results
            .iter()
            .flatten()
            .map(|x| x.to_bits())
            .collect::<Vec<_>>()
    };
    let alone = on(1);
    assert!(!alone.is_empty());
    for threads in [2, 3] {
        assert!(
            on(threads) == alone,
            "{threads} threads give other bits than one"
        );
    }
}
