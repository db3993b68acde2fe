//! Messages over MPI.

use crate::poll::poll;
use crate::transport::{Failure, Transport};
use crate::{Launched, WorldError};
use mpi::Threading;
use mpi::environment::Universe;
use mpi::request::{Request, StaticScope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Destination, Equivalence, Source};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long ending all processes may take before this one ends by itself.
const GRACE: Duration = Duration::from_secs(10);

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

/// Bytes that MPI reads or fills in while this process does something else.
struct Shared(*mut [u8]);

impl Shared {
    fn new(bytes: Vec<u8>) -> Self {
        Self(Box::into_raw(bytes.into_boxed_slice()))
    }

    /// The bytes, once MPI is done with them.
    ///
    /// # Safety
    /// No request with them is under way, and no reference to them is used any more.
    unsafe fn take(self) -> Vec<u8> {
        // SAFETY: It came from a box, and by the condition above nobody else uses it.
        unsafe { Box::from_raw(self.0) }.into_vec()
    }
}

impl OverMpi {
    /// Waits for a request. One that is late is never given up, as MPI cannot forget it: it keeps
    /// its bytes for the short time that the process still lives.
    fn finish(
        &self,
        request: Request<'static, [u8], StaticScope>,
        limit: Duration,
    ) -> Result<(), Failure> {
        let mut pending = Some(request);
        let done = poll(limit, || {
            let request = pending.take()?;
            match self.with(|_| request.test()) {
                Ok(_) => Some(()),
                Err(request) => {
                    pending = Some(request);
                    None
                }
            }
        });
        if let Some(late) = pending {
            // Dropping it would be an error of ours.
            std::mem::forget(late);
        }
        done
    }
}

impl Transport for OverMpi {
    fn send(&self, to: usize, message: &[u8], limit: Duration) -> Result<(), Failure> {
        let shared = Shared::new(message.to_vec());
        // SAFETY: The bytes are freed only below, when the request is done.
        let bytes: &'static [u8] = unsafe { &*shared.0 };
        let request = self.with(|world| {
            let target = world.process_at_rank(to as i32);
            target.immediate_send(StaticScope, bytes)
        });
        self.finish(request, limit)?;
        // SAFETY: The request is done.
        drop(unsafe { shared.take() });
        Ok(())
    }

    fn receive(&self, from: usize, limit: Duration) -> Result<Vec<u8>, Failure> {
        let start = Instant::now();
        let length = poll(limit, || {
            self.with(|world| {
                let status = world.process_at_rank(from as i32).immediate_probe()?;
                Some(status.count(u8::equivalent_datatype()) as usize)
            })
        })?;
        let shared = Shared::new(vec![0; length]);
        // SAFETY: The bytes are read only below, when the request is done.
        let bytes: &'static mut [u8] = unsafe { &mut *shared.0 };
        let request = self.with(|world| {
            let source = world.process_at_rank(from as i32);
            source.immediate_receive_into(StaticScope, bytes)
        });
        // What is on its way may break off.
        self.finish(request, limit.saturating_sub(start.elapsed()))?;
        // SAFETY: The request is done.
        Ok(unsafe { shared.take() })
    }

    fn abort(&self, code: u8) -> ! {
        // MPI tells the launcher, which may not be there any more.
        std::thread::spawn(move || {
            std::thread::sleep(GRACE);
            std::process::exit(code.into())
        });
        self.universe().world().abort(code.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With Open MPI: `mpirun -n 2 TESTS --ignored a_message_that_nobody_takes`, where TESTS is the
    /// program that `cargo test --features mpi --no-run` names for this crate.
    #[test]
    #[ignore = "is run by two processes under mpirun"]
    fn a_message_that_nobody_takes_in_time_is_late() {
        let launched = Launched::from_environment().expect("valid");
        let joined = OverMpi::join(&launched.expect("mpirun started it"));
        let (transport, rank, size) = joined.expect("joined");
        assert_eq!(size, 2);
        // Too long to be kept anywhere on its way.
        let message = vec![7; 64 << 20];
        let (short, long) = (Duration::from_millis(300), Duration::from_secs(20));
        if rank == 0 {
            let start = Instant::now();
            assert_eq!(transport.send(1, &message, short), Err(Failure::Late));
            assert!(start.elapsed() < Duration::from_secs(1));
            // It is still under way, and MPI goes on with it while something else is waited for.
            assert_eq!(transport.receive(1, long), Ok(vec![1]));
        } else {
            std::thread::sleep(Duration::from_millis(1500));
            assert!(transport.receive(0, long) == Ok(message));
            assert_eq!(transport.send(0, &[1], long), Ok(()));
            assert_eq!(transport.receive(0, short), Err(Failure::Late));
        }
    }
}
