//! Weights in the order in which the kernels read them.
//!
//! Output channels are cut into *panels* of two registers; within a panel the order is
//! (input channel, tap, lane), the last panel filled up with zeros.

use super::super::scratch::Aligned;
use super::super::simd::Isa;
use super::super::weights::Weights;
use super::Shape;
use rayon::prelude::*;

/// Input channels that are packed at a time: what is written of them stays in the first-level
/// cache.
const CHANNELS: usize = 16;

/// Lanes of a panel.
pub(super) fn panel_width(isa: Isa) -> usize {
    2 * isa.lanes()
}

/// How the weights of a convolution are packed.
pub(super) struct Packing<'a> {
    weight: Weights<'a>,
    /// The kernel elements that are taken, in this order.
    elements: &'a [usize],
    /// All elements of a kernel.
    area: usize,
    lanes: usize,
    inner: usize,
    outer: usize,
    inner_step: usize,
    outer_step: usize,
}

impl<'a> Packing<'a> {
    /// Takes the kernel elements `elements` of every pair of channels. Where `swapped`, the
    /// weight's input channels take the role of the output channels, as the input's gradient needs
    /// it.
    pub(super) fn new(
        isa: Isa,
        weight: Weights<'a>,
        shape: &Shape,
        elements: &'a [usize],
        swapped: bool,
    ) -> Self {
        let area = shape.kernel[0] * shape.kernel[1];
        let (from_out, from_in) = (shape.channels_in * area, area);
        let (inner, outer) = (shape.channels_in, shape.channels_out);
        let (outer, inner, outer_step, inner_step) = if swapped {
            (inner, outer, from_in, from_out)
        } else {
            (outer, inner, from_out, from_in)
        };
        Self {
            weight,
            elements,
            area,
            lanes: panel_width(isa),
            inner,
            outer,
            inner_step,
            outer_step,
        }
    }

    pub(super) fn panels(&self) -> usize {
        self.outer.div_ceil(self.lanes)
    }

    /// Floats of a panel.
    pub(super) fn panel_len(&self) -> usize {
        self.inner * self.elements.len() * self.lanes
    }

    /// Writes one panel.
    pub(super) fn pack(&self, panel: usize, packed: &mut [f32]) {
        let taps = self.elements.len();
        let first = panel * self.lanes;
        let outer = first..(first + self.lanes).min(self.outer);
        if outer.len() < self.lanes {
            packed.fill(0.0);
        }
        let span = |channels: usize| (channels - 1) * self.inner_step + self.area;
        let mut room = vec![0.0; self.weight.room(span(CHANNELS))];
        for begin in (0..self.inner).step_by(CHANNELS) {
            let end = (begin + CHANNELS).min(self.inner);
            for o in outer.clone() {
                let start = o * self.outer_step + begin * self.inner_step;
                let rows = self
                    .weight
                    .wide(start..start + span(end - begin), &mut room);
                for i in begin..end {
                    let row = &rows[(i - begin) * self.inner_step..][..self.area];
                    for (t, &element) in self.elements.iter().enumerate() {
                        packed[(i * taps + t) * self.lanes + o - first] = row[element];
                    }
                }
            }
        }
    }

    /// All panels, one after the other.
    pub(super) fn all(&self) -> Aligned {
        let mut packed = Aligned::zeros(self.panels() * self.panel_len());
        if !packed.is_empty() {
            packed
                .par_chunks_exact_mut(self.panel_len())
                .enumerate()
                .for_each(|(panel, packed)| self.pack(panel, packed));
        }
        packed
    }
}
