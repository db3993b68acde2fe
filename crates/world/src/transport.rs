//! What carries messages between ranks.

use std::time::Duration;

/// Messages between ranks: each arrives once, and those from one rank to another in their order.
///
/// A world has one call of it under way at a time.
pub(crate) trait Transport: Send + Sync {
    /// Sends a message, which may wait until it is received.
    fn send(&self, to: usize, message: &[u8]) -> Result<(), Failure>;

    /// The next message of a rank; without a limit it is waited for as long as it takes.
    fn receive(&self, from: usize, limit: Option<Duration>) -> Result<Vec<u8>, Failure>;

    /// Ends the processes of all ranks with this exit code.
    fn abort(&self, code: u8) -> !;
}

/// Why a message did not get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// None came in time.
    Late,
    /// The other rank is there no more.
    Gone,
}
