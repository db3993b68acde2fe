//! The processes of a run, and what they do together.

use crate::local::Channels;
#[cfg(feature = "mpi")]
use crate::over_mpi::OverMpi;
#[cfg(feature = "nccl")]
use crate::over_nccl::OverNccl;
#[cfg(feature = "nccl")]
use crate::sockets::Meeting;
use crate::transport::{Failure, SumEngine, Transport};
use crate::{Launched, RankName, WorldError};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long others are waited for, unless something else is said.
const PATIENCE: Duration = Duration::from_secs(600);

/// Why several processes cannot train together.
#[cfg(all(not(feature = "mpi"), not(feature = "nccl")))]
const UNABLE: &str = "this build can train with one only: build it with the feature `mpi` (or `nccl`, for NVIDIA GPUs), or start one process";
/// Why they cannot without an address.
#[cfg(all(not(feature = "mpi"), feature = "nccl"))]
const UNABLE: &str = "this build connects processes by NCCL only: set MASTER_ADDR and MASTER_PORT to an address of rank 0, the same for all, or build it with the feature `mpi`";

/// What rank 0 sends while the others wait for its work.
const STILL_WORKING: [u8; 1] = [1];

/// The processes of a run, as one of them sees it. A clone is the same process.
///
/// Every operation is called by all ranks, in the same order.
#[derive(Clone)]
pub struct World {
    rank: usize,
    local_rank: usize,
    hosts: Arc<Vec<String>>,
    /// None in a world of one.
    transport: Option<Arc<dyn Transport>>,
    patience: Duration,
}

impl Default for World {
    /// A world of one.
    fn default() -> Self {
        Self {
            rank: 0,
            local_rank: 0,
            hosts: Arc::new(vec![host()]),
            transport: None,
            patience: PATIENCE,
        }
    }
}

impl World {
    /// The processes that a launcher started, connected by NCCL where the environment names an
    /// address at which they meet (MASTER_ADDR and MASTER_PORT), and by MPI elsewhere. Others are
    /// waited for as long as `patience` says, which must be longer than the longest update and the
    /// writing of a model.
    ///
    /// # Errors
    /// When this build has neither, the others do not come, or MPI connects other processes than the
    /// launcher started.
    pub fn join(launched: &Launched, patience: Option<Duration>) -> Result<Self, WorldError> {
        #[cfg(any(feature = "mpi", feature = "nccl"))]
        let patience = patience.unwrap_or(PATIENCE);
        #[cfg(feature = "nccl")]
        if let Some(meeting) = Meeting::of(&|name| std::env::var(name).ok())? {
            let transport = OverNccl::join(launched, &meeting, patience)?;
            let (rank, size) = (launched.rank, launched.size);
            let world = Self::meet(Arc::new(transport), rank, size, patience)?;
            return Ok(world.at(launched.local_rank));
        }
        #[cfg(feature = "mpi")]
        {
            let (transport, rank, size) = OverMpi::join(launched)?;
            let world = Self::meet(Arc::new(transport), rank, size, patience)?;
            Ok(world.at(launched.local_rank))
        }
        #[cfg(not(feature = "mpi"))]
        {
            let _ = patience;
            Err(WorldError::Launch(format!(
                "{} started {} processes, and {UNABLE}",
                launched.by, launched.size
            )))
        }
    }

    #[cfg(any(feature = "mpi", feature = "nccl"))]
    fn at(self, local_rank: usize) -> Self {
        Self { local_rank, ..self }
    }

    /// The ranks of a world whose processes are threads of this one: for tests of what runs in it.
    ///
    /// # Panics
    /// When the size is 0.
    pub fn of_threads(size: usize, patience: Duration) -> Vec<Self> {
        assert!(size > 0, "a world has at least one rank");
        let hosts = Arc::new(vec![host(); size]);
        let ranks = Channels::of(size).into_iter().enumerate();
        ranks
            .map(|(rank, channels)| Self {
                rank,
                local_rank: rank,
                hosts: hosts.clone(),
                transport: (size > 1).then(|| Arc::new(channels) as Arc<dyn Transport>),
                patience,
            })
            .collect()
    }

    /// Tells all ranks the names of their hosts.
    #[cfg(any(test, feature = "mpi", feature = "nccl"))]
    pub(crate) fn meet(
        transport: Arc<dyn Transport>,
        rank: usize,
        size: usize,
        patience: Duration,
    ) -> Result<Self, WorldError> {
        let world = Self {
            rank,
            local_rank: 0,
            hosts: Arc::new(vec!["an unknown host".into(); size]),
            transport: Some(transport),
            patience,
        };
        let hosts = world.gather(host().into_bytes())?;
        let text = |name: &Vec<u8>| String::from_utf8_lossy(name).into_owned();
        let hosts = Arc::new(hosts.iter().map(text).collect());
        Ok(Self { hosts, ..world })
    }

    /// The number of this process, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Its number on its machine, from 0.
    pub fn local_rank(&self) -> usize {
        self.local_rank
    }

    /// How many there are.
    pub fn size(&self) -> usize {
        self.hosts.len()
    }

    /// Whether this process is alone.
    pub fn is_single(&self) -> bool {
        self.size() == 1
    }

    /// Whether this is the rank that writes files and reports.
    pub fn is_first(&self) -> bool {
        self.rank == 0
    }

    /// This rank with its host.
    pub fn name(&self) -> RankName {
        self.name_of(self.rank)
    }

    pub(crate) fn name_of(&self, rank: usize) -> RankName {
        RankName {
            rank,
            host: self.hosts[rank].clone(),
        }
    }

    /// What each rank gives, in the order of ranks: every rank gets it. Rank 0 waits for all, so
    /// that an error names those that are silent.
    ///
    /// # Errors
    /// When a rank is silent for too long, or has ended.
    pub fn gather(&self, mine: Vec<u8>) -> Result<Vec<Vec<u8>>, WorldError> {
        if self.is_single() {
            return Ok(vec![mine]);
        }
        if !self.is_first() {
            self.send(0, &mine)?;
            return Ok(unpack(&self.receive(0)?));
        }
        let start = Instant::now();
        let (mut all, mut silent) = (vec![mine], vec![]);
        for rank in 1..self.size() {
            let left = self.patience.saturating_sub(start.elapsed());
            match self.transport().receive(rank, left) {
                Ok(message) => all.push(message),
                Err(Failure::Late) => silent.push(self.name_of(rank)),
                Err(Failure::Gone) => return Err(WorldError::Gone(self.name_of(rank))),
            }
        }
        if !silent.is_empty() {
            return Err(self.silent(silent));
        }
        let packed = pack(&all);
        self.tell_others(&packed)?;
        Ok(all)
    }

    /// What rank 0 gives, for all.
    ///
    /// # Errors
    /// As [`gather`](Self::gather).
    pub fn broadcast(&self, mine: Vec<u8>) -> Result<Vec<u8>, WorldError> {
        match self.is_first() {
            true => self.tell_others(&mine).map(|()| mine),
            false => self.receive(0),
        }
    }

    /// Waits until all ranks are here.
    ///
    /// # Errors
    /// As [`gather`](Self::gather).
    pub fn barrier(&self) -> Result<(), WorldError> {
        self.gather(vec![]).map(drop)
    }

    /// Whether any rank says so.
    ///
    /// # Errors
    /// As [`gather`](Self::gather).
    pub fn any(&self, says: bool) -> Result<bool, WorldError> {
        let all = self.gather(vec![says.into()])?;
        Ok(all.iter().any(|says| says == &[1]))
    }

    /// Work that rank 0 does before the others, such as making a file that all read. It may take as
    /// long as it takes: rank 0 tells the others from time to time that it is still there. The work
    /// itself does not use the world.
    ///
    /// # Errors
    /// When a rank is silent for too long, or has ended.
    pub fn first_at_rank_0<T>(&self, work: impl FnOnce() -> T) -> Result<T, WorldError> {
        if self.is_single() {
            return Ok(work());
        }
        if !self.is_first() {
            while self.receive(0)? == STILL_WORKING {}
            return Ok(work());
        }
        let done = self.telling_others(work)?;
        self.tell_others(&[])?;
        Ok(done)
    }

    /// Does some work, and tells the others meanwhile that it goes on.
    fn telling_others<T>(&self, work: impl FnOnce() -> T) -> Result<T, WorldError> {
        let (working, done) = channel::<()>();
        thread::scope(|scope| {
            let told = scope.spawn(move || {
                while let Err(RecvTimeoutError::Timeout) = done.recv_timeout(self.patience / 4) {
                    self.tell_others(&STILL_WORKING)?;
                }
                Ok(())
            });
            let result = work();
            drop(working);
            match told.join() {
                Ok(told) => told.map(|()| result),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn tell_others(&self, message: &[u8]) -> Result<(), WorldError> {
        (1..self.size()).try_for_each(|rank| self.send(rank, message))
    }

    /// Ends the processes of all ranks.
    pub fn abort(&self, code: u8) -> ! {
        match &self.transport {
            Some(transport) => transport.abort(code),
            None => std::process::exit(code.into()),
        }
    }

    pub(crate) fn send(&self, to: usize, message: &[u8]) -> Result<(), WorldError> {
        let sent = self.transport().send(to, message, self.limit());
        sent.map_err(|failure| self.failed(failure, to))
    }

    pub(crate) fn receive(&self, from: usize) -> Result<Vec<u8>, WorldError> {
        self.receive_within(from, self.limit())
    }

    pub(crate) fn receive_within(
        &self,
        from: usize,
        limit: Duration,
    ) -> Result<Vec<u8>, WorldError> {
        let received = self.transport().receive(from, limit);
        received.map_err(|failure| self.failed(failure, from))
    }

    /// Longer than rank 0 waits in [`gather`](Self::gather), which knows who is silent.
    pub(crate) fn limit(&self) -> Duration {
        self.patience + self.patience / 2
    }

    /// How long one waits for what comes through so many ranks: the limit for what comes through all.
    pub(crate) fn limit_of(&self, hops: usize) -> Duration {
        self.patience
            + self
                .patience
                .mul_f64(0.5 * hops as f64 / self.size() as f64)
    }

    fn failed(&self, failure: Failure, rank: usize) -> WorldError {
        match failure {
            Failure::Late => self.silent(vec![self.name_of(rank)]),
            Failure::Gone => WorldError::Gone(self.name_of(rank)),
        }
    }

    /// After a sum of all ranks that broke off: who has ended, if that is known.
    pub(crate) fn broken_off(&self, gone: Option<usize>) -> WorldError {
        match gone {
            Some(rank) => WorldError::Gone(self.name_of(rank)),
            None => {
                let others = (0..self.size()).filter(|rank| *rank != self.rank);
                self.silent(others.map(|rank| self.name_of(rank)).collect())
            }
        }
    }

    pub(crate) fn engine(&self) -> Option<&dyn SumEngine> {
        self.transport.as_deref().and_then(Transport::engine)
    }

    fn silent(&self, ranks: Vec<RankName>) -> WorldError {
        WorldError::Silent {
            ranks,
            seconds: self.patience.as_secs(),
        }
    }

    fn transport(&self) -> &dyn Transport {
        let transport = self.transport.as_deref();
        transport.expect("only a world of several sends messages")
    }
}

/// The name of this machine.
fn host() -> String {
    let named = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let named = named.or_else(|| std::env::var("HOSTNAME").ok());
    named.map_or("an unknown host".into(), |name| name.trim().to_string())
}

/// Messages in one, each after its length.
fn pack(messages: &[Vec<u8>]) -> Vec<u8> {
    let packed = messages.iter().flat_map(|message| {
        let length = (message.len() as u64).to_le_bytes();
        length.into_iter().chain(message.iter().copied())
    });
    packed.collect()
}

fn unpack(mut packed: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = vec![];
    while let Some((length, rest)) = packed.split_first_chunk::<8>() {
        let (message, rest) = rest.split_at(u64::from_le_bytes(*length) as usize);
        messages.push(message.to_vec());
        packed = rest;
    }
    messages
}
