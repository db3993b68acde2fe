//! Weights in the order in which the kernels read them.
//!
//! Output channels are cut into *panels* of two registers; within a panel the order is
//! (input channel, tap, lane), the last panel filled up with zeros.

use super::super::scratch::Aligned;
use super::super::simd::Isa;
use super::Shape;
use rayon::prelude::*;

/// Lanes of a panel.
pub(super) fn panel_width(isa: Isa) -> usize {
    2 * isa.lanes()
}

/// Packs the kernel elements `elements` of every pair of channels. Where `swapped`, the weight's
/// input channels take the part of the output channels, as the input's gradient needs it.
pub(super) fn pack_weights(
    isa: Isa,
    weight: &[f32],
    shape: &Shape,
    elements: &[usize],
    swapped: bool,
) -> Aligned {
    let lanes = panel_width(isa);
    let area = shape.kernel[0] * shape.kernel[1];
    let (from_out, from_in) = (shape.channels_in * area, area);
    let (inner, outer) = (shape.channels_in, shape.channels_out);
    let (outer, inner, outer_step, inner_step) = if swapped {
        (inner, outer, from_in, from_out)
    } else {
        (outer, inner, from_out, from_in)
    };
    let depth = inner * elements.len();
    let mut packed = Aligned::zeros(outer.div_ceil(lanes) * depth * lanes);
    if packed.is_empty() {
        return packed;
    }
    packed
        .par_chunks_exact_mut(depth * lanes)
        .enumerate()
        .for_each(|(panel, packed)| {
            let first = panel * lanes;
            for i in 0..inner {
                for o in first..(first + lanes).min(outer) {
                    let row = &weight[o * outer_step + i * inner_step..][..area];
                    for (t, &element) in elements.iter().enumerate() {
                        packed[(i * elements.len() + t) * lanes + o - first] = row[element];
                    }
                }
            }
        });
    packed
}
