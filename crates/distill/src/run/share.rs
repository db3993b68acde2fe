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
    let mut all = shares(phase, placement.has_own_memory(), dropout, world.size())?;
    Ok(all.swap_remove(world.rank()))
}

/// The pieces of every one of so many ranks; `on_gpu` is whether they compute on GPUs.
pub(super) fn shares(
    phase: &Phase,
    on_gpu: bool,
    dropout: bool,
    ranks: usize,
) -> Result<Vec<Vec<(usize, usize)>>, RunError> {
    let (batch, micro) = (phase.optim.batch, phase.optim.micro_batch());
    if ranks == 1 {
        return Ok(vec![
            (0..batch).step_by(micro).map(|at| (at, micro)).collect(),
        ]);
    }
    // Sums on a GPU have an order of their own anyway. Masks of dropout are drawn for a micro-batch.
    let part = match (on_gpu, dropout) {
        (true, _) => 1,
        (false, true) => micro,
        (false, false) => Placement::cpu().part(micro),
    };
    let parts: Vec<(usize, usize)> = (0..batch)
        .step_by(micro)
        .flat_map(|start| {
            let parts = (0..micro).step_by(part);
            parts.map(move |at| (start + at, part.min(micro - at)))
        })
        .collect();
    if parts.len() < ranks {
        let dropout = match dropout {
            true => " (a network with dropout takes whole micro-batches)",
            false => "",
        };
        return Err(RunError::TooManyRanks {
            phase: phase.name.clone(),
            reason: format!(
                "a batch of {batch} goes through the network in {} part(s) of {part}{dropout}, and there are {} ranks: start at most as many as there are parts, or use a larger `batch` or a smaller `micro_batch`",
                parts.len(),
                ranks
            ),
        });
    }
    let bound = |rank: usize| rank * parts.len() / ranks;
    let of_one_micro_batch = |a: &(usize, usize), b: &(usize, usize)| a.0 / micro == b.0 / micro;
    let piece = |parts: &[(usize, usize)]| (parts[0].0, parts.iter().map(|part| part.1).sum());
    let of_rank = |rank: usize| {
        let own = &parts[bound(rank)..bound(rank + 1)];
        own.chunk_by(of_one_micro_batch).map(piece).collect()
    };
    Ok((0..ranks).map(of_rank).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::denoising::{DenoisingMethod, DenoisingStart};
    use crate::optim::OptimConfig;
    use fewstep_nn::Precision;
    use std::sync::Arc;

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
            optim_key: "optim",
            updates: 1,
        };
        super::shares(&phase, false, dropout, ranks).expect("enough parts")
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
