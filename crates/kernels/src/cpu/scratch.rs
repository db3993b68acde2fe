//! Working memory that a thread keeps between tasks.

use std::cell::RefCell;

thread_local! {
    static BUFFER: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Floats between the starts of two parts: one cache line.
const ALIGN: usize = 16;

/// Calls `f` with one slice per requested length. Their contents are left over from earlier calls.
///
/// `f` must not call `with` again: the buffer is taken.
pub(crate) fn with<const N: usize, T>(
    lengths: [usize; N],
    f: impl FnOnce([&mut [f32]; N]) -> T,
) -> T {
    BUFFER.with_borrow_mut(|buffer| {
        let total = lengths
            .iter()
            .map(|l| l.next_multiple_of(ALIGN))
            .sum::<usize>()
            + ALIGN;
        if buffer.len() < total {
            buffer.resize(total, 0.0);
        }
        let skip = buffer
            .as_ptr()
            .align_offset(ALIGN * size_of::<f32>())
            .min(ALIGN);
        let mut rest = &mut buffer[skip..];
        f(lengths.map(|length| {
            let (part, tail) =
                std::mem::take(&mut rest).split_at_mut(length.next_multiple_of(ALIGN));
            rest = tail;
            &mut part[..length]
        }))
    })
}
