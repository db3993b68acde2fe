//! A number of clients for some time.

use super::client::{Client, End, Load};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long a client waits that was refused.
const PAUSE: Duration = Duration::from_millis(50);
/// Clients that leave do so within twice this time, or twice what one of their answers took.
const FIRST_PATIENCE: Duration = Duration::from_millis(50);

/// The server's numbers that a round takes.
const METRICS: [&str; 4] = [
    "fewstep_batch_images_sum",
    "fewstep_batch_images_count",
    "fewstep_batch_seconds_sum",
    "process_resident_memory_bytes",
];

/// What a number of clients saw.
#[derive(Default)]
pub(super) struct Round {
    clients: usize,
    seconds: f64,
    count: usize,
    pub(super) requests: usize,
    refused: usize,
    left: usize,
    pub(super) failed: usize,
    /// Of the first that failed.
    pub(super) failure: Option<String>,
    /// Seconds of each answer, the shortest first.
    latencies: Vec<f64>,
    /// Of the server, before and after.
    metrics: [[f64; 4]; 2],
}

impl Round {
    pub(super) const HEAD: &str = "| clients | requests | images/s | p50 | p95 | p99 | max ms | network ms | per batch | refused | left | failed | memory MB |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|";

    pub(super) fn run(client: &Client, load: &Load, clients: usize, time: Duration) -> Self {
        let before = client.metrics(METRICS);
        let started = Instant::now();
        let until = started + time;
        let rounds: Vec<Self> = std::thread::scope(|scope| {
            let one = |number: usize| {
                let client = client.another();
                scope.spawn(move || Self::of_client(&client, load, number as u64, until))
            };
            let threads: Vec<_> = (0..clients).map(one).collect();
            let rounds = threads.into_iter().filter_map(|thread| thread.join().ok());
            rounds.collect()
        });
        let mut all = Self {
            clients,
            seconds: started.elapsed().as_secs_f64(),
            count: load.count,
            ..Self::default()
        };
        for round in rounds {
            all.requests += round.requests;
            all.refused += round.refused;
            all.left += round.left;
            all.failed += round.failed;
            all.failure = all.failure.or(round.failure);
            all.latencies.extend(round.latencies);
        }
        all.latencies.sort_unstable_by(f64::total_cmp);
        all.metrics = [before, client.metrics(METRICS)];
        all
    }

    fn of_client(client: &Client, load: &Load, number: u64, until: Instant) -> Self {
        let mut round = Self::default();
        // A sequence that looks random is enough.
        let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        while Instant::now() < until {
            let seen = round.latencies.get(round.latencies.len() / 2);
            let usual = seen.map_or(FIRST_PATIENCE, |s| Duration::from_secs_f64(*s));
            let leaves = random() < load.leave;
            let patience = leaves.then(|| (2 * usual).mul_f64(random().max(0.01)));
            let seed = number << 32 | round.requests as u64;
            let started = Instant::now();
            round.requests += 1;
            match client.generate(load, seed, patience) {
                End::Done => round.latencies.push(started.elapsed().as_secs_f64()),
                End::Left => round.left += 1,
                End::Refused => {
                    round.refused += 1;
                    std::thread::sleep(PAUSE);
                }
                End::Failed(message) => {
                    round.failed += 1;
                    round.failure.get_or_insert(message);
                    std::thread::sleep(PAUSE);
                }
            }
        }
        round
    }

    fn images_per_second(&self) -> f64 {
        (self.latencies.len() * self.count) as f64 / self.seconds
    }

    /// The latency that this share of the answers did not take longer than, in ms.
    fn latency(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (share * last as f64).ceil() as usize;
        self.latencies.get(at).map_or(0.0, |seconds| 1e3 * seconds)
    }

    /// Milliseconds and images of a batch, in the mean.
    fn batches(&self) -> [f64; 2] {
        let [before, after] = self.metrics;
        let batches = (after[1] - before[1]).max(1.0);
        [
            1e3 * (after[2] - before[2]) / batches,
            (after[0] - before[0]) / batches,
        ]
    }

    pub(super) fn row(&self) -> String {
        let [network, images] = self.batches();
        let [before, after] = self.metrics.map(|metrics| metrics[3] / 1e6);
        format!(
            "| {} | {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {network:.1} | {images:.1} | {} | {} | {} | {before:.0} to {after:.0} |",
            self.clients,
            self.requests,
            self.images_per_second(),
            self.latency(0.5),
            self.latency(0.95),
            self.latency(0.99),
            self.latency(1.0),
            self.refused,
            self.left,
            self.failed,
        )
    }

    pub(super) fn json(&self) -> Value {
        let [network, images] = self.batches();
        json!({
            "clients": self.clients,
            "seconds": self.seconds,
            "requests": self.requests,
            "images_per_second": self.images_per_second(),
            "p50_ms": self.latency(0.5),
            "p95_ms": self.latency(0.95),
            "p99_ms": self.latency(0.99),
            "max_ms": self.latency(1.0),
            "network_ms_per_batch": network,
            "images_per_batch": images,
            "refused": self.refused,
            "left": self.left,
            "failed": self.failed,
            "memory_bytes": self.metrics.map(|metrics| metrics[3]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Round;

    #[test]
    fn latencies_are_those_that_a_share_did_not_exceed() {
        let round = Round {
            latencies: (1..=101).map(|ms| f64::from(ms) / 1e3).collect(),
            seconds: 2.0,
            count: 3,
            ..Round::default()
        };
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} for {b}");
        close(round.latency(0.5), 51.0);
        close(round.latency(0.99), 100.0);
        close(round.latency(1.0), 101.0);
        close(round.images_per_second(), 151.5);
        close(Round::default().latency(0.5), 0.0);
    }
}
