//! Messages over MPI.

use crate::transport::{Failure, Transport};
use crate::{Launched, WorldError};
use mpi::Threading;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Destination, Source};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The longest pause between two looks for a message.
const PAUSE: Duration = Duration::from_micros(200);

/// How long is looked for a message without a pause.
const EAGER: Duration = Duration::from_micros(200);

/// The processes that MPI's launcher started. MPI is finalised when this is dropped.
pub(crate) struct OverMpi(Mutex<Universe>);

// SAFETY: MPI is initialised for calls of several threads that are not made at the same time, and
// every call is made with the mutex locked.
unsafe impl Send for OverMpi {}
// SAFETY: As above.
unsafe impl Sync for OverMpi {}

impl OverMpi {
    /// Joins the processes that a launcher started. The number of this one, and of all.
    pub(crate) fn join(launched: &Launched) -> Result<(Self, usize, usize), WorldError> {
        let started = mpi::initialize_with_threading(Threading::Serialized);
        let (universe, threading) =
            started.ok_or_else(|| WorldError::Launch("MPI was started already".into()))?;
        if threading < Threading::Serialized {
            return Err(WorldError::Launch(
                "this MPI supports no threads (MPI_THREAD_SERIALIZED): use a build of it that does"
                    .into(),
            ));
        }
        let world = universe.world();
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        if size != launched.size {
            return Err(WorldError::Launch(format!(
                "{} started {} processes, and MPI connects {size}: the launcher must be that of the MPI that this program was built with (mpirun of the same MPI; srun --mpi=pmix)",
                launched.by, launched.size
            )));
        }
        Ok((Self(Mutex::new(universe)), rank, size))
    }

    fn universe(&self) -> MutexGuard<'_, Universe> {
        // A panic while it was locked has no effect on MPI.
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn with<T>(&self, work: impl FnOnce(&SimpleCommunicator) -> T) -> T {
        work(&self.universe().world())
    }
}

impl Transport for OverMpi {
    fn send(&self, to: usize, message: &[u8]) -> Result<(), Failure> {
        self.with(|world| world.process_at_rank(to as i32).send(message));
        Ok(())
    }

    fn receive(&self, from: usize, limit: Option<Duration>) -> Result<Vec<u8>, Failure> {
        let start = Instant::now();
        loop {
            let message = self.with(|world| {
                let source = world.process_at_rank(from as i32);
                let is_there = source.immediate_probe().is_some();
                is_there.then(|| source.receive_vec::<u8>().0)
            });
            if let Some(message) = message {
                return Ok(message);
            }
            let waited = start.elapsed();
            if limit.is_some_and(|limit| waited > limit) {
                return Err(Failure::Late);
            }
            match waited > EAGER {
                true => std::thread::sleep(PAUSE),
                false => std::thread::yield_now(),
            }
        }
    }

    fn abort(&self, code: u8) -> ! {
        self.universe().world().abort(code.into())
    }
}
