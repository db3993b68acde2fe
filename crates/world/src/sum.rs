//! Sums over ranks, one row after another.

use crate::{World, WorldError};
use std::ops::Range;

/// Numbers in one message, at least and at most: 64 KiB, below which a message costs more than what
/// is in it, and 1 MiB.
const PIECE: [usize; 2] = [1 << 14, 1 << 18];

/// How many of `len` numbers so many ranks send in a message of [`World::sum`]. While a rank adds one
/// piece, the ranks before it work on the next: with as many pieces as ranks, all have work.
pub fn piece_len(len: usize, ranks: usize) -> usize {
    (len / ranks.max(1)).clamp(PIECE[0], PIECE[1])
}

impl World {
    /// The sum of the rows of all ranks: every rank gets it, with the same bits.
    ///
    /// The rows are added one after another, those of rank 0 first, in the order of ranks. So the
    /// bits are those of one process that adds all rows in this order, however they are shared out;
    /// over NCCL, which has an order of its own, they are not.
    /// All rows of all ranks have the same length, and every rank has at least one.
    ///
    /// # Errors
    /// When a rank is silent for too long, or has ended.
    pub fn sum(&self, mut rows: Vec<Vec<f32>>) -> Result<Vec<f32>, WorldError> {
        let (rank, last) = (self.rank(), self.size() - 1);
        let mut sum = rows.remove(0);
        if let Some(engine) = self.engine() {
            rows.iter().for_each(|row| add(&mut sum, row));
            let summed = engine.sum(&mut sum, self.limit());
            summed.map_err(|_| self.broken_off(engine.gone()))?;
            return Ok(sum);
        }
        let piece = piece_len(sum.len(), self.size());
        let pieces: Vec<Range<usize>> = (0..sum.len())
            .step_by(piece)
            .map(|start| start..sum.len().min(start + piece))
            .collect();
        for piece in pieces.iter().cloned() {
            if rank > 0 {
                let before = self.receive_floats(rank - 1, piece.len(), rank)?;
                // The numbers before come first, though the order of two does not matter.
                add(&mut sum[piece.clone()], &before);
            }
            for row in &rows {
                add(&mut sum[piece.clone()], &row[piece.clone()]);
            }
            if rank < last {
                self.send_floats(rank + 1, &sum[piece])?;
            }
        }
        // The last rank has the sum, which goes back the same way.
        for piece in pieces {
            if rank < last {
                let whole = self.receive_floats(rank + 1, piece.len(), last - rank)?;
                sum[piece.clone()].copy_from_slice(&whole);
            }
            if rank > 0 {
                self.send_floats(rank - 1, &sum[piece])?;
            }
        }
        Ok(sum)
    }

    fn send_floats(&self, to: usize, values: &[f32]) -> Result<(), WorldError> {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.send(to, &bytes)
    }

    /// Numbers that come through `hops` ranks. Those who wait for a silent rank through others wait
    /// longer than its neighbour, so that the error names the one that is silent.
    fn receive_floats(
        &self,
        from: usize,
        count: usize,
        hops: usize,
    ) -> Result<Vec<f32>, WorldError> {
        let bytes = self.receive_within(from, self.limit_of(hops))?;
        let words = bytes.as_chunks::<4>().0.iter();
        let values: Vec<f32> = words.map(|word| f32::from_le_bytes(*word)).collect();
        match values.len() == count {
            true => Ok(values),
            false => Err(WorldError::Disagrees {
                rank: self.name_of(from),
                what: "number of parameters".into(),
            }),
        }
    }
}

fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}
