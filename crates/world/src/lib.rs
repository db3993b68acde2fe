//! Processes that train together.
//!
//! A launcher that exists (`mpirun`, `srun`, a job of Kubernetes) starts equal processes, the
//! *ranks*; together they are a [`World`]. A single process is a world of one, where every operation
//! gives back what it got. This crate knows no tensors, only bytes and rows of numbers.

mod agreement;
mod error;
mod launch;
mod local;
#[cfg(feature = "mpi")]
mod over_mpi;
#[cfg(feature = "nccl")]
mod over_nccl;
#[cfg(any(feature = "mpi", feature = "nccl"))]
mod poll;
#[cfg(any(test, feature = "nccl"))]
mod sockets;
mod sum;
#[cfg(test)]
mod tests;
mod transport;
mod world;

pub use error::{RankName, WorldError};
pub use launch::Launched;
pub use sum::piece_len;
pub use world::World;
