//! Which images of a request share a network call.

use super::Generator;
use crate::{GenerateError, Request};
use std::ops::Range;

/// Consecutive images of one size that start at the same time: at most the request's batch, and at
/// most `share` of their number.
pub(super) fn batches(
    generator: &Generator,
    request: &Request,
    share: impl Fn(usize) -> usize,
) -> Result<Vec<Range<usize>>, GenerateError> {
    let shapes = request.images.iter().map(|image| {
        let control = generator.control_shape(image);
        Ok((generator.shape_of(image, request)?, control))
    });
    let shapes: Vec<_> = shapes.collect::<Result<_, GenerateError>>()?;
    let together = |a: usize, b: usize| {
        shapes[a] == shapes[b] && request.images[a].init.goes_with(&request.images[b].init)
    };
    let indices: Vec<usize> = (0..request.images.len()).collect();
    let mut batches = vec![];
    for row in indices.chunk_by(|&a, &b| together(a, b)) {
        let batch = request.batch.min(share(row.len())).max(1);
        let parts = row.chunks(batch).map(|part| part[0]..part[0] + part.len());
        batches.extend(parts);
    }
    Ok(batches)
}
