//! Working memory that begins on cache lines: a register's load then never touches two of them.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Floats of a cache line.
pub(crate) const LINE: usize = 16;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// Floats that begin on a cache line.
pub(crate) struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

impl Aligned {
    pub(crate) fn zeros(len: usize) -> Self {
        Self {
            lines: vec![Line([0.0; LINE]); len.div_ceil(LINE)],
            len,
        }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `len` floats lie one after the other in the lines.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and the lines are borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

thread_local! {
    static BUFFER: RefCell<Aligned> = RefCell::new(Aligned::zeros(0));
}

/// Calls `f` with one slice per requested length, which the thread keeps between calls: their
/// contents are left over from earlier ones.
///
/// `f` must not call `with` again: the buffer is taken.
pub(crate) fn with<const N: usize, T>(
    lengths: [usize; N],
    f: impl FnOnce([&mut [f32]; N]) -> T,
) -> T {
    BUFFER.with_borrow_mut(|buffer| {
        let total = lengths
            .iter()
            .map(|length| length.next_multiple_of(LINE))
            .sum();
        if buffer.len() < total {
            *buffer = Aligned::zeros(total);
        }
        let mut rest = &mut buffer[..];
        f(lengths.map(|length| {
            let whole = length.next_multiple_of(LINE);
            let (part, tail) = std::mem::take(&mut rest).split_at_mut(whole);
            rest = tail;
            &mut part[..length]
        }))
    })
}
