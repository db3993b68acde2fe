//! What carries messages between ranks.

use std::time::Duration;

/// Messages between ranks: each arrives once, and those from one rank to another in their order.
///
/// A world has one exchange under way at a time.
pub(crate) trait Transport: Send + Sync {
    /// Sends a message, which may wait until it is received, for so long.
    fn send(&self, to: usize, message: &[u8], limit: Duration) -> Result<(), Failure>;

    /// The next message of a rank, all of which must be there within the limit.
    fn receive(&self, from: usize, limit: Duration) -> Result<Vec<u8>, Failure>;

    /// A faster way to sums than messages, where there is one.
    fn engine(&self) -> Option<&dyn SumEngine> {
        None
    }

    /// Ends the processes of all ranks with this exit code.
    fn abort(&self, code: u8) -> !;
}

/// Sums over all ranks at once.
pub(crate) trait SumEngine {
    /// Makes a row of numbers the sum of the rows of all ranks, in an order of its own.
    fn sum(&self, row: &mut [f32], limit: Duration) -> Result<(), Failure>;

    /// A rank that is known to have ended, after a sum that failed.
    fn gone(&self) -> Option<usize>;
}

/// Why a message did not get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// None came or was taken in time.
    Late,
    /// The other rank is there no more.
    Gone,
}
