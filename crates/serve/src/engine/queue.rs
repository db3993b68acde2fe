//! The jobs that wait, and which of their images go through the network next.
//!
//! Clients take turns: the one that was served longest ago comes first. What goes with its first
//! job, from any client, is put into the same network call, image by image in turn, so that a job of
//! many images does not hold up those of few.

use super::Job;
use fewstep_generate::Init;
use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

/// The jobs that wait or run.
#[derive(Default)]
pub(super) struct Queue {
    /// In order of arrival.
    entries: Vec<Entry>,
    /// When each client with jobs was served last, or came.
    served: HashMap<IpAddr, u64>,
    turn: u64,
}

struct Entry {
    job: Arc<Job>,
    /// Its first image that no network call has had yet.
    next: usize,
}

/// Images of a job that share a network call.
pub(super) struct Part {
    pub(super) job: Arc<Job>,
    pub(super) images: Range<usize>,
}

impl Queue {
    /// Puts a job last. A client that had none waits for its turn from now on.
    pub(super) fn push(&mut self, job: Arc<Job>) {
        self.served.entry(job.client).or_insert(self.turn);
        self.entries.push(Entry { job, next: 0 });
    }

    /// Removes a job that has ended.
    pub(super) fn remove(&mut self, job: &Job) {
        self.entries.retain(|entry| entry.job.id != job.id);
        let waits = |client: &IpAddr| self.entries.iter().any(|e| e.job.client == *client);
        self.served.retain(|client, _| waits(client));
    }

    /// Number of jobs.
    pub(super) fn jobs(&self) -> usize {
        self.entries.len()
    }

    /// Number of images that no network call has had yet.
    pub(super) fn images(&self) -> usize {
        let images = |entry: &Entry| entry.job.request.images.len() - entry.next;
        self.entries.iter().map(images).sum()
    }

    /// All jobs.
    pub(super) fn all(&self) -> Vec<Arc<Job>> {
        self.entries.iter().map(|entry| entry.job.clone()).collect()
    }

    /// Removes and returns all jobs.
    pub(super) fn clear(&mut self) -> Vec<Arc<Job>> {
        self.served.clear();
        self.entries.drain(..).map(|entry| entry.job).collect()
    }

    /// The images of the next network call: at most as many as `most` says for a job of its kind.
    /// None if nothing waits.
    pub(super) fn take(&mut self, most: impl Fn(&Job) -> usize) -> Vec<Part> {
        let order = self.order();
        let Some(&first) = order.first() else {
            return vec![];
        };
        let head = self.entries[first].job.clone();
        let most = most(&head).max(1);
        let fitting = order.iter().copied();
        let fitting = fitting.filter(|&at| go_together(&head, &self.entries[at].job));
        let mut shares: Vec<(usize, usize)> = fitting.map(|at| (at, 0)).collect();
        let mut taken = 0;
        while taken < most {
            let before = taken;
            for (at, share) in &mut shares {
                let entry = &self.entries[*at];
                if taken < most && entry.next + *share < entry.job.request.images.len() {
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
            self.served.insert(entry.job.client, self.turn);
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
            if entry.next == entry.job.request.images.len() {
                continue;
            }
            let client = entry.job.client;
            let rank = jobs_of.entry(client).or_default();
            let served = self.served.get(&client).copied().unwrap_or(0);
            ranked.push((*rank, served, at));
            *rank += 1;
        }
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, _, at)| at).collect()
    }
}

/// Whether images of two jobs can share a network call.
fn go_together(a: &Job, b: &Job) -> bool {
    let (one, other) = (&a.request, &b.request);
    let start = |job: &Job| match job.request.images.first().map(|image| &image.init) {
        None | Some(Init::Noise) => (0, 0),
        Some(Init::Image { strength, .. }) => (1, strength.to_bits()),
        Some(Init::Inpaint { .. }) => (2, 0),
    };
    Arc::ptr_eq(&a.model, &b.model)
        && one.sampler == other.sampler
        && one.steps == other.steps
        && one.size == other.size
        && one.negative == other.negative
        && start(a) == start(b)
}
