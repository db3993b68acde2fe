//! What of an update each rank does.

use super::{Phase, RunError};
use fewstep_kernels::device::Placement;
use fewstep_world::World;

/// The pieces of an update's batch that a rank does, as (first sample, number of samples): in their
/// order, none in two micro-batches. Ranks have parts that follow one another.
pub(super) fn share(
    phase: &Phase,
    placement: &Placement,
    dropout: bool,
    world: &World,
) -> Result<Vec<(usize, usize)>, RunError> {
    let (batch, micro) = (phase.optim.batch, phase.optim.micro_batch());
    if world.is_single() {
        return Ok((0..batch).step_by(micro).map(|at| (at, micro)).collect());
    }
    // Sums on a GPU have an order of their own anyway. Masks of dropout are drawn for a micro-batch.
    let part = match (placement.has_own_memory(), dropout) {
        (true, _) => 1,
        (false, true) => micro,
        (false, false) => placement.part(micro),
    };
    let parts: Vec<(usize, usize)> = (0..batch)
        .step_by(micro)
        .flat_map(|start| {
            let parts = (0..micro).step_by(part);
            parts.map(move |at| (start + at, part.min(micro - at)))
        })
        .collect();
    if parts.len() < world.size() {
        let dropout = match dropout {
            true => " (a network with dropout takes whole micro-batches)",
            false => "",
        };
        return Err(RunError::TooManyRanks {
            phase: phase.name.clone(),
            reason: format!(
                "a batch of {batch} goes through the network in {} part(s) of {part}{dropout}, and there are {} ranks: start at most as many as there are parts, or use a larger `batch` or a smaller `micro_batch`",
                parts.len(),
                world.size()
            ),
        });
    }
    let bound = |rank: usize| rank * parts.len() / world.size();
    let own = &parts[bound(world.rank())..bound(world.rank() + 1)];
    let of_one_micro_batch = |a: &(usize, usize), b: &(usize, usize)| a.0 / micro == b.0 / micro;
    let pieces = own.chunk_by(of_one_micro_batch);
    let piece = |parts: &[(usize, usize)]| (parts[0].0, parts.iter().map(|part| part.1).sum());
    Ok(pieces.map(piece).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::denoising::{DenoisingMethod, DenoisingStart};
    use crate::optim::OptimConfig;
    use burn::tensor::Device;
    use fewstep_nn::Precision;
    use std::sync::Arc;
    use std::time::Duration;

    fn shares(batch: usize, micro: usize, dropout: bool, ranks: usize) -> Vec<Vec<(usize, usize)>> {
        let phase = Phase {
            name: "p".into(),
            method: Arc::new(DenoisingMethod {
                weighting: None,
                label_dropout: 0.0,
                start: DenoisingStart::Scratch,
            }),
            lora: None,
            dropout,
            teacher_precision: Precision::default(),
            optim: OptimConfig {
                micro_batch: Some(micro),
                ..OptimConfig::of(batch, 1e-3)
            },
            updates: 1,
        };
        let placement = Placement::of(&Device::flex());
        let ranks = World::of_threads(ranks, Duration::from_secs(1));
        let share = |world| share(&phase, &placement, dropout, world).map_err(|e| e.to_string());
        ranks
            .iter()
            .map(|world| share(world).unwrap_or_else(|e| panic!("{e}")))
            .collect()
    }

    #[test]
    fn ranks_have_whole_parts_that_follow_one_another() {
        assert_eq!(
            shares(64, 16, false, 1),
            [[(0, 16), (16, 16), (32, 16), (48, 16)]]
        );
        assert_eq!(shares(128, 128, false, 2), [[(0, 64)], [(64, 64)]]);
        assert_eq!(
            shares(96, 48, false, 2),
            [vec![(0, 48)], vec![(48, 48)]],
            "parts of 32, 16, 32 and 16"
        );
        assert_eq!(
            shares(100, 50, false, 3),
            [vec![(0, 32)], vec![(32, 18)], vec![(50, 50)]]
        );
        assert_eq!(
            shares(64, 16, true, 2),
            [[(0, 16), (16, 16)], [(32, 16), (48, 16)]]
        );
    }
}
