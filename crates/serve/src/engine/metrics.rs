//! What the server has done so far, as Prometheus reads it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Upper bounds of the buckets of seconds.
const SECONDS: [f64; 12] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0,
];
/// Upper bounds of the buckets of batch sizes.
const IMAGES: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// Counters and histograms.
#[derive(Default)]
pub(crate) struct Metrics(Mutex<Counts>);

struct Counts {
    /// Answers by route and status.
    answers: BTreeMap<(String, u16), u64>,
    /// Ended jobs by how they ended.
    jobs: BTreeMap<&'static str, u64>,
    images: u64,
    refused: u64,
    batch_images: Histogram<8>,
    batch_seconds: Histogram<12>,
    step_seconds: Histogram<12>,
    job_seconds: Histogram<12>,
    /// A moving average.
    seconds_per_image: f64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            answers: BTreeMap::new(),
            jobs: BTreeMap::new(),
            images: 0,
            refused: 0,
            batch_images: Histogram::new(IMAGES),
            batch_seconds: Histogram::new(SECONDS),
            step_seconds: Histogram::new(SECONDS),
            job_seconds: Histogram::new(SECONDS),
            seconds_per_image: 0.0,
        }
    }
}

/// What is measured when it is asked for.
pub(crate) struct Gauges {
    pub(crate) waiting: usize,
    pub(crate) model_bytes: u64,
}

impl Metrics {
    pub(crate) fn answered(&self, route: &str, status: u16) {
        let mut counts = self.lock();
        *counts.answers.entry((route.into(), status)).or_default() += 1;
    }

    /// Jobs that are done.
    pub(crate) fn done(&self) -> u64 {
        self.lock().jobs.get("done").copied().unwrap_or(0)
    }

    pub(super) fn ended(&self, how: &'static str) {
        *self.lock().jobs.entry(how).or_default() += 1;
    }

    pub(super) fn refused(&self) {
        self.lock().refused += 1;
    }

    pub(super) fn took(&self, seconds: f64) {
        self.lock().job_seconds.add(seconds);
    }

    pub(super) fn batch(&self, images: usize, steps: usize, seconds: f64) {
        let mut counts = self.lock();
        counts.images += images as u64;
        counts.batch_images.add(images as f64);
        counts.batch_seconds.add(seconds);
        counts.step_seconds.add(seconds / steps.max(1) as f64);
        let each = seconds / images.max(1) as f64;
        counts.seconds_per_image = match counts.seconds_per_image {
            0.0 => each,
            average => 0.9 * average + 0.1 * each,
        };
    }

    /// How long an image took lately; a second, before there was any.
    pub(super) fn seconds_per_image(&self) -> f64 {
        match self.lock().seconds_per_image {
            0.0 => 1.0,
            seconds => seconds,
        }
    }

    /// All of it in Prometheus' text format.
    pub(crate) fn text(&self, gauges: &Gauges) -> String {
        let counts = self.lock();
        let mut text = Text::default();
        text.head("fewstep_http_requests_total", "counter", "HTTP answers.");
        for ((route, status), count) in &counts.answers {
            text.line(&format!(
                "fewstep_http_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}"
            ));
        }
        text.head("fewstep_jobs_total", "counter", "Ended jobs.");
        for (how, count) in &counts.jobs {
            text.line(&format!("fewstep_jobs_total{{end=\"{how}\"}} {count}"));
        }
        text.single(
            "fewstep_images_total",
            "counter",
            "Generated images.",
            counts.images as f64,
        );
        text.single(
            "fewstep_refused_total",
            "counter",
            "Requests refused because the queue was full.",
            counts.refused as f64,
        );
        text.single(
            "fewstep_queue_jobs",
            "gauge",
            "Jobs that wait or run.",
            gauges.waiting as f64,
        );
        text.single(
            "fewstep_model_bytes",
            "gauge",
            "Bytes of the weights in memory.",
            gauges.model_bytes as f64,
        );
        if let Some(bytes) = resident_bytes() {
            let help = "Resident memory of the process.";
            text.single("process_resident_memory_bytes", "gauge", help, bytes as f64);
        }
        let help = "Images in each batch.";
        text.histogram("fewstep_batch_images", help, &counts.batch_images);
        let help = "Seconds of a batch, from its inputs to its images.";
        text.histogram("fewstep_batch_seconds", help, &counts.batch_seconds);
        let help = "Seconds of one sampling step of a batch.";
        text.histogram("fewstep_step_seconds", help, &counts.step_seconds);
        let help = "Seconds from the arrival of a job to its images.";
        text.histogram("fewstep_job_seconds", help, &counts.job_seconds);
        text.0
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Histogram<const N: usize> {
    bounds: [f64; N],
    /// Values up to each bound.
    counts: [u64; N],
    sum: f64,
    count: u64,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: [f64; N]) -> Self {
        Self {
            bounds,
            counts: [0; N],
            sum: 0.0,
            count: 0,
        }
    }

    fn add(&mut self, value: f64) {
        for (count, bound) in self.counts.iter_mut().zip(self.bounds) {
            *count += u64::from(value <= bound);
        }
        self.sum += value;
        self.count += 1;
    }
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.head(name, kind, help);
        self.line(&format!("{name} {value}"));
    }

    fn histogram<const N: usize>(&mut self, name: &str, help: &str, of: &Histogram<N>) {
        self.head(name, "histogram", help);
        for (bound, count) in of.bounds.iter().zip(of.counts) {
            self.line(&format!("{name}_bucket{{le=\"{bound}\"}} {count}"));
        }
        self.line(&format!("{name}_bucket{{le=\"+Inf\"}} {}", of.count));
        self.line(&format!("{name}_sum {}", of.sum));
        self.line(&format!("{name}_count {}", of.count));
    }
}

/// Memory of this process, where the system says.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
