//! Reductions over the units of a cube, always in the same order.

use cubecl::prelude::*;

/// One value for each unit, where a reduction over scalars works.
pub(super) type Scratch = Shared<[Vector<f32, Const<1>>]>;

/// The sum, or with `largest` the maximum, over the lanes of a cube, for each of the parts: units of
/// one part are `parts` apart. The results are the first `parts` values of `shared`.
#[cube]
pub(super) fn over_lanes<N: Size>(
    value: Vector<f32, N>,
    shared: &mut Shared<[Vector<f32, N>]>,
    #[comptime] parts: usize,
    #[comptime] lanes: usize,
    #[comptime] largest: bool,
) {
    let unit = UNIT_POS as usize;
    let lane = unit / parts;
    sync_cube();
    shared[unit] = value;
    sync_cube();
    let mut half = comptime!(lanes / 2).runtime();
    while half > 0 {
        if lane < half {
            let other = shared[unit + half * parts];
            if largest {
                shared[unit] = max(shared[unit], other);
            } else {
                shared[unit] += other;
            }
        }
        sync_cube();
        half /= 2;
    }
}

/// The sum over the units of a cube. All units get it.
#[cube]
pub(super) fn cube_sum(value: f32, shared: &mut Scratch, #[comptime] units: usize) -> f32 {
    over_lanes::<Const<1>>(Vector::new(value), shared, 1usize, units, false);
    shared[0].extract(0usize)
}

/// The largest value of the units of a cube. All units get it.
#[cube]
pub(super) fn cube_max(value: f32, shared: &mut Scratch, #[comptime] units: usize) -> f32 {
    over_lanes::<Const<1>>(Vector::new(value), shared, 1usize, units, true);
    shared[0].extract(0usize)
}
