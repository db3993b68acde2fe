//! Sums over NVIDIA's NCCL, all else over sockets.
//!
//! Rows come from the memory of the host and go back there: one copy to the GPU and one from it for
//! each sum, which NCCL does with all ranks at once.

use crate::poll::poll;
use crate::sockets::{Meeting, Sockets};
use crate::transport::{Failure, SumEngine, Transport};
use crate::{Launched, WorldError};
use cudarc::driver::{CudaContext, CudaStream, DriverError};
use cudarc::nccl::{Comm, Id, ReduceOp};
use std::mem::ManuallyDrop;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Bytes of an id.
const ID_BYTES: usize = 128;

/// The processes that met, each with a GPU.
pub(crate) struct OverNccl {
    sockets: Sockets,
    group: Mutex<Group>,
}

/// A process's place among those that sum together. It is never given up in an orderly way, since
/// that waits for all others: the process ends soon after.
struct Group {
    comm: ManuallyDrop<Comm>,
    stream: Arc<CudaStream>,
}

// SAFETY: NCCL's handle may be used by any thread, one at a time, which the mutex around it sees to.
unsafe impl Send for Group {}

impl OverNccl {
    /// Meets the others and joins them, on the GPU of this process's number on its machine.
    ///
    /// # Errors
    /// When there is no NCCL or no such GPU, or the others do not come in time.
    pub(crate) fn join(
        launched: &Launched,
        meeting: &Meeting,
        limit: Duration,
    ) -> Result<Self, WorldError> {
        let (rank, size) = (launched.rank, launched.size);
        check_libraries()?;
        let context = CudaContext::new(launched.local_rank).map_err(|error| {
            WorldError::Launch(format!(
                "rank {rank} cannot use GPU {} of its machine, and NCCL needs one for each process: {}",
                launched.local_rank,
                said(error)
            ))
        })?;
        let sockets = meeting.join(rank, size, limit)?;
        let id = exchange(&sockets, rank, size, limit)?;
        // NCCL itself waits for the others without a limit.
        let (sender, joined) = channel();
        thread::spawn(move || {
            let group = context.bind_to_thread().map_err(said).and_then(|()| {
                let stream = context.new_stream().map_err(said)?;
                let comm = Comm::from_rank(stream.clone(), rank, size, id);
                let comm = comm.map_err(|error| format!("{:?}", error.0))?;
                let comm = ManuallyDrop::new(comm);
                Ok(Group { comm, stream })
            });
            // Nobody waits any more if it was too late.
            let _ = sender.send(group);
        });
        let failed = |reason: String| {
            WorldError::Launch(format!(
                "rank {rank}: NCCL cannot connect the processes: {reason}"
            ))
        };
        let group = joined
            .recv_timeout(limit)
            .map_err(|_| failed("the others did not come in time".into()))?;
        Ok(Self {
            sockets,
            group: Mutex::new(group.map_err(failed)?),
        })
    }
}

impl Transport for OverNccl {
    fn send(&self, to: usize, message: &[u8], limit: Duration) -> Result<(), Failure> {
        self.sockets.send(to, message, limit)
    }

    fn receive(&self, from: usize, limit: Duration) -> Result<Vec<u8>, Failure> {
        self.sockets.receive(from, limit)
    }

    fn engine(&self) -> Option<&dyn SumEngine> {
        Some(self)
    }

    fn abort(&self, code: u8) -> ! {
        self.sockets.abort(code)
    }
}

impl SumEngine for OverNccl {
    fn sum(&self, row: &mut [f32], limit: Duration) -> Result<(), Failure> {
        let group = self.group.lock().map_err(|_| Failure::Gone)?;
        group.sum(row, limit)
    }

    fn gone(&self) -> Option<usize> {
        self.sockets.gone()
    }
}

impl Group {
    fn sum(&self, row: &mut [f32], limit: Duration) -> Result<(), Failure> {
        let lost = |_: DriverError| Failure::Gone;
        let mut memory = ManuallyDrop::new(self.stream.clone_htod(&*row).map_err(lost)?);
        let summed = self.comm.all_reduce_in_place(&mut *memory, &ReduceOp::Sum);
        summed.map_err(|_| Failure::Gone)?;
        let done = self.stream.record_event(None).map_err(lost)?;
        poll(limit, || done.is_complete().then_some(()))?;
        self.stream.memcpy_dtoh(&*memory, row).map_err(lost)?;
        self.stream.synchronize().map_err(lost)?;
        // Only now: freeing waits for what is under way, which may never end.
        drop(ManuallyDrop::into_inner(memory));
        Ok(())
    }
}

/// Rank 0 makes an id and tells it to the others.
fn exchange(
    sockets: &Sockets,
    rank: usize,
    size: usize,
    limit: Duration,
) -> Result<Id, WorldError> {
    let failed = |reason: &str| {
        WorldError::Launch(format!(
            "the processes did not agree on an id for NCCL: {reason}"
        ))
    };
    if rank == 0 {
        let id = Id::new().map_err(|error| failed(&format!("{:?}", error.0)))?;
        let bytes = id.internal().map(|byte| byte as u8);
        for other in 1..size {
            let sent = sockets.send(other, &bytes, limit);
            sent.map_err(|_| failed(&format!("rank {other} has ended")))?;
        }
        return Ok(id);
    }
    let bytes = sockets.receive(0, limit);
    let bytes = bytes.map_err(|_| failed("rank 0 has ended"))?;
    let bytes = <[u8; ID_BYTES]>::try_from(bytes);
    let bytes = bytes.map_err(|_| failed("it has another length"))?;
    Ok(Id::uninit(bytes.map(|byte| byte as core::ffi::c_char)))
}

/// Refuses to go on without the libraries, whose loading would end the process otherwise.
fn check_libraries() -> Result<(), WorldError> {
    // SAFETY: Loading a library of this name runs only what it does when it is loaded.
    let [driver, nccl] = unsafe {
        [
            cudarc::driver::sys::is_culib_present(),
            cudarc::nccl::sys::is_culib_present(),
        ]
    };
    match (driver, nccl) {
        (false, _) => Err(WorldError::Launch(
            "NCCL needs NVIDIA's driver (libcuda.so), which is not on this machine".into(),
        )),
        (true, false) => Err(WorldError::Launch(
            "NCCL's library is not found: install it, and name the folder of libnccl.so (which may be a link to libnccl.so.2) in LD_LIBRARY_PATH".into(),
        )),
        (true, true) => Ok(()),
    }
}

fn said(error: DriverError) -> String {
    format!("{:?}", error.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Ids travel without a GPU; NCCL's library must be there.
    #[test]
    #[ignore = "needs libnccl.so"]
    fn all_ranks_get_the_id_of_rank_0() {
        let probe = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = probe.local_addr().expect("bound").port().to_string();
        drop(probe);
        let variable = |name: &str| match name {
            "MASTER_ADDR" => Some("localhost".to_string()),
            "MASTER_PORT" => Some(port.clone()),
            _ => None,
        };
        let meeting = Meeting::of(&variable).expect("valid").expect("named");
        let limit = Duration::from_secs(10);
        let ids: Vec<_> = thread::scope(|scope| {
            let meeting = &meeting;
            let ranks: Vec<_> = (0..3)
                .map(|rank| {
                    scope.spawn(move || {
                        let sockets = meeting.join(rank, 3, limit).expect("met");
                        let id = exchange(&sockets, rank, 3, limit).expect("agreed");
                        *id.internal()
                    })
                })
                .collect();
            let ends = ranks.into_iter().map(|rank| rank.join());
            ends.map(|end| end.expect("no panic")).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]));
        assert!(ids[0].iter().any(|byte| *byte != 0));
    }
}
