//! Weights in the order in which the kernels read them.
//!
//! Output channels are cut into *panels* of two registers; within a panel the order is
//! (input channel, tap, lane), the last panel filled up with zeros.

use super::super::scratch::Aligned;
use super::super::simd::transpose::{Rows, transpose};
use super::super::simd::{Isa, Kernel, Lanes};
use super::super::weights::Weights;
use super::Shape;
use rayon::prelude::*;
use std::ops::Range;

/// Input channels that are packed at a time: what is written of them stays in the first-level
/// cache.
const CHANNELS: usize = 16;

/// Lanes of a panel.
pub(super) fn panel_width(isa: Isa) -> usize {
    2 * isa.lanes()
}

/// How the weights of a convolution are packed.
pub(super) struct Packing<'a> {
    isa: Isa,
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
            isa,
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
        self.inner * self.row_len()
    }

    /// Floats of an input channel of a panel.
    pub(super) fn row_len(&self) -> usize {
        self.elements.len() * self.lanes
    }

    /// All panels, one after the other.
    pub(super) fn all(&self) -> Aligned {
        let mut packed = Aligned::zeros(self.panels() * self.panel_len());
        if !packed.is_empty() {
            packed
                .par_chunks_exact_mut(self.panel_len())
                .enumerate()
                .for_each(|(panel, to)| {
                    self.isa.run(Panel {
                        packing: self,
                        panel,
                        to,
                    });
                });
        }
        packed
    }

    /// Writes these input channels of a panel.
    #[inline(always)]
    pub(super) fn write<V: Lanes>(&self, panel: usize, inner: Range<usize>, packed: &mut [f32]) {
        let first = panel * self.lanes;
        let outer = first..(first + self.lanes).min(self.outer);
        if outer.len() < self.lanes {
            packed.fill(0.0);
        }
        let parts = packed.chunks_mut(CHANNELS * self.row_len());
        for (begin, to) in inner.clone().step_by(CHANNELS).zip(parts) {
            let some = begin..(begin + CHANNELS).min(inner.end);
            match self.lies_in_order() {
                true => self.write_transposed::<V>(outer.clone(), some, to),
                false => self.write_elements(outer.clone(), some, to),
            }
        }
    }

    /// Whether the channels of an output channel lie one after the other, with all their elements.
    fn lies_in_order(&self) -> bool {
        self.inner_step == self.area && self.elements.iter().copied().eq(0..self.area)
    }

    /// A row for each output channel becomes a column.
    #[inline(always)]
    fn write_transposed<V: Lanes>(&self, outer: Range<usize>, inner: Range<usize>, to: &mut [f32]) {
        let (count, columns) = (outer.len(), inner.len() * self.area);
        let mut room = vec![0.0; self.weight.room(count * columns)];
        let start = |o: usize| o * self.outer_step + inner.start * self.area;
        let (rows, pitch) = match self.weight {
            Weights::F32(values) => (&values[start(outer.start)..], self.outer_step),
            _ => {
                for (o, row) in outer.clone().zip(room.chunks_exact_mut(columns)) {
                    self.weight.write(start(o)..start(o) + columns, row);
                }
                (&room[..], columns)
            }
        };
        assert!((count - 1) * pitch + columns <= rows.len());
        assert!((columns - 1) * self.lanes + count <= to.len());
        let from = Rows {
            start: rows.as_ptr(),
            pitch,
        };
        let to = Rows {
            start: to.as_mut_ptr(),
            pitch: self.lanes,
        };
        // SAFETY: the last element of both was just checked.
        unsafe { transpose::<V>(from, [count, columns], to) }
    }

    /// One element after the other, as the input's gradient needs them.
    #[inline(always)]
    fn write_elements(&self, outer: Range<usize>, inner: Range<usize>, to: &mut [f32]) {
        let taps = self.elements.len();
        let span = (inner.len() - 1) * self.inner_step + self.area;
        let mut room = vec![0.0; self.weight.room(span)];
        for o in outer.clone() {
            let start = o * self.outer_step + inner.start * self.inner_step;
            let rows = self.weight.wide(start..start + span, &mut room);
            for i in 0..inner.len() {
                let row = &rows[i * self.inner_step..][..self.area];
                for (t, &element) in self.elements.iter().enumerate() {
                    to[(i * taps + t) * self.lanes + o - outer.start] = row[element];
                }
            }
        }
    }
}

/// A whole panel.
struct Panel<'a> {
    packing: &'a Packing<'a>,
    panel: usize,
    to: &'a mut [f32],
}

impl Kernel for Panel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let inner = 0..self.packing.inner;
        self.packing.write::<V>(self.panel, inner, self.to);
    }
}
