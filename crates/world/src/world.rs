//! The processes of a run, and what they do together.

use crate::local::Channels;
use crate::transport::{Failure, Transport};
use crate::{Launched, RankName, WorldError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long others are waited for, unless something else is said.
const PATIENCE: Duration = Duration::from_secs(600);

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
    /// The processes that a launcher started, connected by MPI. Others are waited for as long as
    /// `patience` says, which must be longer than the longest update and the writing of a model.
    ///
    /// # Errors
    /// When this build has no MPI, or MPI connects other processes than the launcher started.
    pub fn join(launched: &Launched, patience: Option<Duration>) -> Result<Self, WorldError> {
        #[cfg(feature = "mpi")]
        {
            let (transport, rank, size) = crate::over_mpi::OverMpi::join(launched)?;
            let patience = patience.unwrap_or(PATIENCE);
            let world = Self::meet(Arc::new(transport), rank, size, patience)?;
            let local_rank = launched.local_rank;
            Ok(Self {
                local_rank,
                ..world
            })
        }
        #[cfg(not(feature = "mpi"))]
        {
            let _ = patience;
            Err(WorldError::Launch(format!(
                "{} started {} processes, and this build can train with one only: build it with the feature `mpi`, or start one process",
                launched.by, launched.size
            )))
        }
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
    #[cfg(feature = "mpi")]
    fn meet(
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
            match self.transport().receive(rank, Some(left)) {
                Ok(message) => all.push(message),
                Err(Failure::Late) => silent.push(self.name_of(rank)),
                Err(Failure::Gone) => return Err(WorldError::Gone(self.name_of(rank))),
            }
        }
        if !silent.is_empty() {
            return Err(self.silent(silent));
        }
        let packed = pack(&all);
        (1..self.size()).try_for_each(|rank| self.send(rank, &packed))?;
        Ok(all)
    }

    /// What rank 0 gives, for all.
    ///
    /// # Errors
    /// As [`gather`](Self::gather).
    pub fn broadcast(&self, mine: Vec<u8>) -> Result<Vec<u8>, WorldError> {
        match self.is_first() {
            true => {
                (1..self.size()).try_for_each(|rank| self.send(rank, &mine))?;
                Ok(mine)
            }
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
    /// long as it takes.
    ///
    /// # Errors
    /// When a rank has ended.
    pub fn first_at_rank_0<T>(&self, work: impl FnOnce() -> T) -> Result<T, WorldError> {
        if !self.is_first() {
            let received = self.transport().receive(0, None);
            received.map_err(|_| WorldError::Gone(self.name_of(0)))?;
            return Ok(work());
        }
        let done = work();
        (1..self.size()).try_for_each(|rank| self.send(rank, &[]))?;
        Ok(done)
    }

    /// Refuses ranks that were started on something else; each fact has its name.
    ///
    /// # Errors
    /// Names the odd rank, and the first of the facts that is another there.
    pub fn agree(&self, facts: &[(&str, &str)]) -> Result<(), WorldError> {
        let hashes = facts.iter().flat_map(|(_, fact)| hash(fact).to_le_bytes());
        let all = self.gather(hashes.collect())?;
        for (index, (what, _)) in facts.iter().enumerate() {
            let values: Vec<Option<&[u8]>> = all
                .iter()
                .map(|hashes| hashes.get(8 * index..8 * index + 8))
                .collect();
            if let Some(rank) = odd_one(&values) {
                return Err(WorldError::Disagrees {
                    rank: self.name_of(rank),
                    what: (*what).into(),
                });
            }
        }
        Ok(())
    }

    /// Refuses to go on when the parameters of a rank, of which this is a digest, are not those of
    /// the others.
    ///
    /// # Errors
    /// Names the odd rank.
    pub fn check_equal(&self, digest: u64) -> Result<(), WorldError> {
        match odd_one(&self.gather(digest.to_le_bytes().to_vec())?) {
            None => Ok(()),
            Some(rank) => Err(WorldError::Diverged(self.name_of(rank))),
        }
    }

    /// Ends the processes of all ranks.
    pub fn abort(&self, code: u8) -> ! {
        match &self.transport {
            Some(transport) => transport.abort(code),
            None => std::process::exit(code.into()),
        }
    }

    pub(crate) fn send(&self, to: usize, message: &[u8]) -> Result<(), WorldError> {
        let sent = self.transport().send(to, message);
        sent.map_err(|_| WorldError::Gone(self.name_of(to)))
    }

    /// Waits longer than rank 0 waits in [`gather`](Self::gather), which knows who is silent.
    pub(crate) fn receive(&self, from: usize) -> Result<Vec<u8>, WorldError> {
        let limit = self.patience + self.patience / 2;
        self.transport()
            .receive(from, Some(limit))
            .map_err(|failure| match failure {
                Failure::Late => self.silent(vec![self.name_of(from)]),
                Failure::Gone => WorldError::Gone(self.name_of(from)),
            })
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

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The first that is not what most are; where as many are one thing as another, what rank 0 is
/// counts.
fn odd_one<T: PartialEq>(values: &[T]) -> Option<usize> {
    let count = |value: &T| values.iter().filter(|other| *other == value).count();
    let mut usual = values.first()?;
    for value in values {
        if count(value) > count(usual) {
            usual = value;
        }
    }
    values.iter().position(|value| value != usual)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// What every rank gets from some work.
    fn all<T: Send>(size: usize, work: impl Fn(World) -> T + Sync) -> Vec<T> {
        let ranks = World::of_threads(size, Duration::from_millis(300));
        thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = ranks
                .into_iter()
                .map(|rank| scope.spawn(|| work(rank)))
                .collect();
            let results = threads.into_iter().map(|thread| thread.join());
            results.map(|result| result.expect("no panic")).collect()
        })
    }

    /// Rows of numbers whose sum depends on the order of additions.
    fn rows(count: usize, len: usize) -> Vec<Vec<f32>> {
        let value = |i: usize| ((i * 7919 % 1013) as f32 - 500.0) * 1.1f32.powi((i % 90) as i32);
        let row = |row: usize| (0..len).map(|i| value(row * len + i)).collect();
        (0..count).map(row).collect()
    }

    #[test]
    fn sums_have_the_bits_of_one_process_for_any_number_of_ranks() {
        let parts = rows(12, 3);
        let alone = World::default().sum(parts.clone()).expect("alone");
        // Another order gives other bits, or this test would prove nothing.
        let halves = [&parts[..6], &parts[6..]].map(|half| World::default().sum(half.to_vec()));
        let halves = halves.map(|half| half.expect("alone")).to_vec();
        assert_ne!(World::default().sum(halves).expect("alone"), alone);
        for size in 1..=12 {
            let sums = all(size, |world| {
                let share = |rank: usize| rank * parts.len() / size;
                let own = parts[share(world.rank())..share(world.rank() + 1)].to_vec();
                world.sum(own).expect("all are here")
            });
            assert!(sums.iter().all(|sum| *sum == alone), "{size} ranks");
        }
    }

    #[test]
    fn long_rows_are_summed_in_pieces() {
        let parts = rows(3, (1 << 18) + 5);
        let alone = World::default().sum(parts.clone()).expect("alone");
        let sums = all(3, |world| world.sum(vec![parts[world.rank()].clone()]));
        assert!(sums.into_iter().all(|sum| sum.as_ref() == Ok(&alone)));
    }

    #[test]
    fn everyone_gets_what_everyone_gives() {
        let results = all(3, |world| {
            let mine = vec![world.rank() as u8; world.rank()];
            let gathered = world.gather(mine).expect("all are here");
            let any = world.any(world.rank() == 2).expect("all are here");
            let first = world.broadcast(vec![world.rank() as u8 + 7]);
            (gathered, any, first.expect("all are here"))
        });
        let expected = (vec![vec![], vec![1], vec![2, 2]], true, vec![7]);
        assert_eq!(results, vec![expected; 3]);
    }

    #[test]
    fn rank_0_works_first() {
        let done = std::sync::Mutex::new(vec![]);
        all(4, |world| {
            let rank = world.rank();
            world.first_at_rank_0(|| done.lock().expect("whole").push(rank))
        });
        assert_eq!(done.into_inner().expect("whole")[0], 0);
    }

    #[test]
    fn a_silent_rank_is_named_by_rank_0() {
        let results = all(4, |world| {
            if world.rank() == 2 {
                // Longer than the others wait.
                thread::sleep(Duration::from_millis(700));
                return None;
            }
            Some(world.barrier().expect_err("one is missing"))
        });
        let error = results[0].as_ref().expect("it waited").to_string();
        assert!(
            error.contains("rank 2 on ") && !error.contains("rank 3"),
            "{error}"
        );
    }

    #[test]
    fn a_rank_that_has_ended_is_named() {
        let results = all(3, |world| (world.rank() != 1).then(|| world.barrier()));
        let gone = |result: &Option<Result<(), WorldError>>| match result {
            Some(Err(WorldError::Gone(name))) => name.rank,
            other => panic!("{other:?}"),
        };
        assert_eq!(gone(&results[0]), 1);
    }

    #[test]
    fn the_odd_rank_is_named() {
        let results = all(4, |world| {
            let recipe = if world.rank() == 0 {
                "lr = 2"
            } else {
                "lr = 1"
            };
            world.agree(&[("version", "1"), ("recipe", recipe)])
        });
        for result in results {
            let error = result.expect_err("they differ").to_string();
            assert!(error.starts_with("rank 0 on "), "{error}");
            assert!(error.contains("another recipe"), "{error}");
        }
        let digests = all(2, |world| world.check_equal(world.rank() as u64));
        assert!(matches!(&digests[1], Err(WorldError::Diverged(name)) if name.rank == 1));
    }
}
