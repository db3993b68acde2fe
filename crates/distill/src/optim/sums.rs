//! The sum of the gradients of all parts of an update, over all ranks.

use super::gradients::{flatten, unflatten};
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use fewstep_world::{World, WorldError};

/// Adds up gradients part by part. In a world of several, parts of other ranks come before and after
/// the own ones, and all are added in their order: so the sum has the bits of one process.
pub(super) struct Sums<'a, M> {
    world: &'a World,
    accumulator: GradientsAccumulator<M>,
    /// Parts that wait for those before them, which other ranks have.
    rows: Vec<Vec<f32>>,
    present: Vec<u8>,
    waits: bool,
}

impl<'a, M: Module> Sums<'a, M> {
    /// `in_order` is whether the sum must have the bits of one process; every part then takes the
    /// memory of a gradient until all are there.
    pub(super) fn new(world: &'a World, in_order: bool) -> Self {
        Self {
            world,
            accumulator: GradientsAccumulator::new(),
            rows: vec![],
            present: vec![],
            waits: in_order && !world.is_first(),
        }
    }

    /// Adds the gradients of the next part.
    pub(super) fn add(&mut self, module: &M, gradients: GradientsParams) {
        match self.waits {
            true => self.add_row(flatten(gradients, module)),
            false => self.accumulator.accumulate(module, gradients),
        }
    }

    fn add_row(&mut self, (row, present): (Vec<f32>, Vec<u8>)) {
        self.rows.push(row);
        self.present = either(&self.present, &present);
    }

    /// The sum of the parts of all ranks.
    pub(super) fn finish(mut self, module: &M) -> Result<GradientsParams, WorldError> {
        if self.world.is_single() {
            return Ok(self.accumulator.grads());
        }
        if !self.waits {
            let own = flatten(self.accumulator.grads(), module);
            self.add_row(own);
        }
        // Rank 0 sees here which ranks have not come this far.
        let present = self.world.gather(self.present)?;
        let present = present.iter().fold(vec![], |all, some| either(&all, some));
        let row = self.world.sum(self.rows)?;
        Ok(unflatten(&row, &present, module))
    }
}

/// What either says; the first may be empty.
fn either(a: &[u8], b: &[u8]) -> Vec<u8> {
    match a.is_empty() {
        true => b.to_vec(),
        false => a.iter().zip(b).map(|(a, b)| a | b).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gradient_is_there_if_one_rank_has_it() {
        assert_eq!(either(&[], &[1, 0]), [1, 0]);
        assert_eq!(either(&[1, 0, 1, 0], &[1, 1, 0, 0]), [1, 1, 1, 0]);
    }
}
