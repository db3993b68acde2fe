//! What a run will take of each of several processes that train together.

use super::memory::trained;
use super::share::shares;
use super::{Phase, Run, RunError, Target};
use crate::method::Player;
use fewstep_diffusion::Network;
use fewstep_formats::Model;
use fewstep_kernels::device::Placement;
use fewstep_kernels::memory::Predicted;
use fewstep_world::piece_len;
use rayon::current_num_threads;
use serde::Serialize;

/// A phase with several numbers of ranks.
#[derive(Clone, Debug, Serialize)]
pub struct RanksPlan {
    /// Name of the phase.
    pub phase: String,
    /// Ranks of 1, 2, 4 and so on, as many as there can be.
    pub rows: Vec<RankPlan>,
    /// Why there cannot be more, where more were asked for.
    pub refused: Option<String>,
}

/// What one of so many ranks takes.
#[derive(Clone, Debug, Serialize)]
pub struct RankPlan {
    /// How many there are.
    pub ranks: usize,
    /// Samples of an update that a rank computes, at most.
    pub samples: usize,
    /// What part of the time of one process the slowest rank computes. On a CPU parts of a batch go
    /// to threads, so a rank with fewer parts than threads leaves some without work.
    pub share: f64,
    /// Predicted peak memory of a rank.
    pub memory: Predicted,
    /// Bytes that a rank sends in an update, at most; it receives as many.
    pub exchanged: u64,
    /// Seconds of an update in which they are on their way.
    pub exchanging: f64,
}

impl Run {
    /// Predicts what up to so many `ranks` take in every phase, with connections of `bandwidth` bytes
    /// a second between each and the next. Nothing is run.
    ///
    /// # Errors
    /// When the teacher does not fit the recipe.
    pub fn plan_ranks(
        &self,
        initial: &Model,
        shown: usize,
        target: Target,
        (ranks, bandwidth): (usize, f64),
    ) -> Result<Vec<RanksPlan>, RunError> {
        let mut base = initial.clone();
        let mut plans = vec![];
        for phase in &self.phases {
            let student = phase.student(&base, self.seed)?;
            let parameters =
                trained(phase, &student) + self.parameters_of_others(phase, initial)?;
            let (dropout, on_gpu) = (student.has_dropout(), target != Target::Cpu);
            let whole = shares(phase, on_gpu, dropout, 1)?.concat();
            let (mut rows, mut refused) = (vec![], None);
            for count in doubled(ranks) {
                let all = match shares(phase, on_gpu, dropout, count) {
                    Ok(all) => all,
                    Err(error) => {
                        refused = Some(error.to_string());
                        break;
                    }
                };
                let largest = all.iter().max_by_key(|pieces| samples(pieces));
                let largest = largest.map_or(&[][..], Vec::as_slice);
                let work = |pieces: &[(usize, usize)]| match target {
                    Target::Cpu => waves(pieces, dropout),
                    Target::Gpu | Target::Cuda => samples(pieces),
                };
                let slowest = all.iter().map(|pieces| work(pieces)).max().unwrap_or(0);
                let networks = (initial, &base, &student);
                let alone = self.of_phase(&shared(phase, largest), networks, shown, target)?;
                // A gradient of each part that waits for those before it, and the sum.
                let waiting = match target {
                    Target::Cpu => parts(largest, dropout),
                    Target::Gpu | Target::Cuda => 1,
                };
                let rows_of_gradients = match count {
                    1 => 0,
                    _ => (1 + waiting) as u64 * 4 * parameters as u64,
                };
                let (exchanged, exchanging) = exchange(parameters, count, bandwidth);
                rows.push(RankPlan {
                    ranks: count,
                    samples: samples(largest),
                    share: slowest as f64 / work(&whole) as f64,
                    memory: Predicted {
                        host: alone.host.saturating_add(rows_of_gradients),
                        ..alone
                    },
                    exchanged,
                    exchanging,
                });
            }
            plans.push(RanksPlan {
                phase: phase.name.clone(),
                rows,
                refused,
            });
            base = Model {
                recipe: self.recipe(phase, &base, 0),
                network: student,
            };
        }
        Ok(plans)
    }

    fn parameters_of_others(&self, phase: &Phase, model: &Model) -> Result<usize, RunError> {
        let others = phase
            .method
            .others(&phase.planned_teacher(model), self.seed)?;
        Ok(others.iter().map(Player::parameters).sum())
    }
}

/// 1, 2, 4 and so on, and the last number itself.
fn doubled(last: usize) -> impl Iterator<Item = usize> {
    let powers = std::iter::successors(Some(1usize), |count| count.checked_mul(2));
    powers.take_while(move |count| *count < last).chain([last])
}

fn samples(pieces: &[(usize, usize)]) -> usize {
    pieces.iter().map(|piece| piece.1).sum()
}

/// Parts of a CPU's share, each with a gradient of its own.
fn parts(pieces: &[(usize, usize)], dropout: bool) -> usize {
    pieces.iter().map(|piece| parts_of(piece, dropout)).sum()
}

/// How often all threads take a part each.
fn waves(pieces: &[(usize, usize)], dropout: bool) -> usize {
    let threads = current_num_threads();
    let of_piece = |piece| parts_of(piece, dropout).div_ceil(threads);
    pieces.iter().map(of_piece).sum()
}

fn parts_of(&(_, count): &(usize, usize), dropout: bool) -> usize {
    match dropout {
        true => 1,
        false => count.div_ceil(Placement::cpu().part(count)),
    }
}

/// A phase whose batches are the share of a rank.
fn shared(phase: &Phase, pieces: &[(usize, usize)]) -> Phase {
    let mut phase = phase.clone();
    let largest = pieces.iter().map(|piece| piece.1).max();
    phase.optim.batch = samples(pieces);
    phase.optim.micro_batch = largest;
    phase
}

/// Bytes that a rank in the middle sends in an update, and the seconds that the exchange of all takes:
/// each gradient goes up the line of ranks and down again, in pieces that follow one another.
fn exchange(parameters: usize, ranks: usize, bandwidth: f64) -> (u64, f64) {
    if ranks == 1 {
        return (0, 0.0);
    }
    let bytes = 4 * parameters as u64;
    let sent = if ranks == 2 { bytes } else { 2 * bytes };
    let piece = 4 * piece_len(parameters, ranks) as u64;
    let hops = (ranks - 1) as f64 * piece.min(bytes) as f64;
    (sent, 2.0 * (bytes as f64 + hops) / bandwidth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_ranks_double_up_to_the_last() {
        assert_eq!(doubled(1).collect::<Vec<_>>(), [1]);
        assert_eq!(doubled(6).collect::<Vec<_>>(), [1, 2, 4, 6]);
        assert_eq!(doubled(8).collect::<Vec<_>>(), [1, 2, 4, 8]);
    }

    /// By hand: 860 million parameters over 25 GB/s, and a message of one small piece.
    #[test]
    fn an_exchange_goes_up_and_down_the_line() {
        let (sent, seconds) = exchange(860_000_000, 8, 25e9);
        assert_eq!(sent, 2 * 3_440_000_000);
        let pieces = 3_440_000_000.0 / f64::from(1 << 20);
        let expected = 2.0 * 3.44 / 25.0 * (1.0 + 7.0 / pieces);
        assert!((seconds - expected).abs() < 1e-6, "{seconds} {expected}");
        assert_eq!(exchange(1000, 2, 4000.0), (4000, 4.0));
        // Of few parameters many ranks send small pieces: here of 64 KiB.
        let (_, seconds) = exchange(1 << 20, 65, 1.0);
        assert_eq!(seconds, 2.0 * f64::from((4 << 20) + 64 * (64 << 10)));
        assert_eq!(exchange(1000, 1, 4000.0), (0, 0.0));
    }
}
