//! The jobs that wait, and which of their images go through the network next.
//!
//! Clients take turns: the one that was served longest ago comes first. What goes with its first
//! job, from any client, is put into the same network call, image by image in turn, so that a job of
//! many images does not hold up those of few.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

/// What the queue knows of a job.
pub(super) trait Waits {
    fn client(&self) -> IpAddr;
    /// Number of its images.
    fn images(&self) -> usize;
    /// Whether images of both can share a network call.
    fn goes_with(&self, other: &Self) -> bool;
}

/// The jobs that wait or run.
pub(super) struct Queue<J> {
    /// In order of arrival.
    entries: Vec<Entry<J>>,
    /// When each client with jobs was served last, or came.
    served: HashMap<IpAddr, u64>,
    turn: u64,
}

struct Entry<J> {
    job: Arc<J>,
    /// Its first image that no network call has had yet.
    next: usize,
}

/// Images of a job that share a network call.
pub(super) struct Part<J> {
    pub(super) job: Arc<J>,
    pub(super) images: Range<usize>,
}

impl<J> Default for Queue<J> {
    fn default() -> Self {
        Self {
            entries: vec![],
            served: HashMap::new(),
            turn: 0,
        }
    }
}

impl<J: Waits> Queue<J> {
    /// Puts a job last. A client that had none waits for its turn from now on.
    pub(super) fn push(&mut self, job: Arc<J>) {
        self.served.entry(job.client()).or_insert(self.turn);
        self.entries.push(Entry { job, next: 0 });
    }

    /// Removes a job that has ended.
    pub(super) fn remove(&mut self, job: &J) {
        self.entries.retain(|entry| !std::ptr::eq(&*entry.job, job));
        let waits = |client: &IpAddr| self.entries.iter().any(|e| e.job.client() == *client);
        self.served.retain(|client, _| waits(client));
    }

    /// Number of jobs.
    pub(super) fn jobs(&self) -> usize {
        self.entries.len()
    }

    /// Number of images that no network call has had yet.
    pub(super) fn images(&self) -> usize {
        let images = |entry: &Entry<J>| entry.job.images() - entry.next;
        self.entries.iter().map(images).sum()
    }

    /// All jobs.
    pub(super) fn all(&self) -> Vec<Arc<J>> {
        self.entries.iter().map(|entry| entry.job.clone()).collect()
    }

    /// Removes and returns all jobs.
    pub(super) fn clear(&mut self) -> Vec<Arc<J>> {
        self.served.clear();
        self.entries.drain(..).map(|entry| entry.job).collect()
    }

    /// The images of the next network call: at most as many as `most` says for a job of its kind.
    /// None if nothing waits.
    pub(super) fn take(&mut self, most: impl Fn(&J) -> usize) -> Vec<Part<J>> {
        let order = self.order();
        let Some(&first) = order.first() else {
            return vec![];
        };
        let head = self.entries[first].job.clone();
        let most = most(&head).max(1);
        let fitting = order.iter().copied();
        let fitting = fitting.filter(|&at| head.goes_with(&self.entries[at].job));
        let mut shares: Vec<(usize, usize)> = fitting.map(|at| (at, 0)).collect();
        let mut taken = 0;
        while taken < most {
            let before = taken;
            for (at, share) in &mut shares {
                let entry = &self.entries[*at];
                if taken < most && entry.next + *share < entry.job.images() {
                    *share += 1;
                    taken += 1;
                }
            }
            if taken == before {
                break;
            }
        }
        self.turn += 1;
        let mut parts = vec![];
        for (at, share) in shares.into_iter().filter(|(_, share)| *share > 0) {
            let entry = &mut self.entries[at];
            self.served.insert(entry.job.client(), self.turn);
            parts.push(Part {
                job: entry.job.clone(),
                images: entry.next..entry.next + share,
            });
            entry.next += share;
        }
        parts
    }

    /// The jobs with images to generate: first the oldest one of each client, then the next of each.
    fn order(&self) -> Vec<usize> {
        let mut jobs_of: HashMap<IpAddr, usize> = HashMap::new();
        let mut ranked = vec![];
        for (at, entry) in self.entries.iter().enumerate() {
            if entry.next == entry.job.images() {
                continue;
            }
            let client = entry.job.client();
            let rank = jobs_of.entry(client).or_default();
            let served = self.served.get(&client).copied().unwrap_or(0);
            ranked.push((*rank, served, at));
            *rank += 1;
        }
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, _, at)| at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Client, images, kind.
    #[derive(Debug, PartialEq)]
    struct Fake(u8, usize, char);

    impl Waits for Fake {
        fn client(&self) -> IpAddr {
            [10, 0, 0, self.0].into()
        }

        fn images(&self) -> usize {
            self.1
        }

        fn goes_with(&self, other: &Self) -> bool {
            self.2 == other.2
        }
    }

    fn queue(jobs: &[Fake]) -> Queue<Fake> {
        let mut queue = Queue::default();
        for Fake(client, images, kind) in jobs {
            queue.push(Arc::new(Fake(*client, *images, *kind)));
        }
        queue
    }

    /// The next call: client and images of each part.
    fn take(queue: &mut Queue<Fake>, most: usize) -> Vec<(u8, Range<usize>)> {
        let parts = queue.take(|_| most);
        for part in &parts {
            if part.images.end == part.job.1 {
                queue.remove(&part.job);
            }
        }
        let parts = parts.into_iter();
        parts.map(|part| (part.job.0, part.images)).collect()
    }

    #[test]
    fn jobs_of_one_kind_share_a_call_image_by_image() {
        let mut queue = queue(&[
            Fake(1, 10, 'a'),
            Fake(1, 1, 'a'),
            Fake(2, 2, 'a'),
            Fake(3, 9, 'b'),
        ]);
        assert_eq!(queue.images(), 22);
        // The small ones are done at once.
        assert_eq!(take(&mut queue, 8), [(1, 0..5), (2, 0..2), (1, 0..1)]);
        assert_eq!(take(&mut queue, 8), [(3, 0..8)]);
        assert_eq!(take(&mut queue, 8), [(1, 5..10)]);
        assert_eq!(take(&mut queue, 8), [(3, 8..9)]);
        assert_eq!((take(&mut queue, 8), queue.jobs()), (vec![], 0));
    }

    #[test]
    fn clients_take_turns_however_many_jobs_each_has() {
        let mut queue = queue(&[
            Fake(1, 1, 'a'),
            Fake(1, 1, 'b'),
            Fake(1, 1, 'c'),
            Fake(2, 1, 'd'),
            Fake(3, 1, 'e'),
        ]);
        let mut order = vec![];
        while let Some((client, _)) = take(&mut queue, 4).pop() {
            order.push(client);
            // One that comes again and again waits for its turn each time.
            if order.len() < 4 && client == 3 {
                queue.push(Arc::new(Fake(3, 1, 'f')));
            }
        }
        assert_eq!(order, [1, 2, 3, 1, 3, 1]);
    }

    #[test]
    fn a_job_that_was_removed_is_not_generated() {
        let mut queue = queue(&[Fake(1, 4, 'a'), Fake(2, 4, 'a')]);
        let first = queue.all().swap_remove(0);
        assert_eq!(queue.take(|_| 4).len(), 2);
        queue.remove(&first);
        assert_eq!(take(&mut queue, 4), [(2, 2..4)]);
        assert_eq!(queue.clear().len(), 0);
    }
}
