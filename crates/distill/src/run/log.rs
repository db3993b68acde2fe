//! The log of a run: one JSON line per window of updates.

use super::RunError;
use super::players::RoundReport;
use super::tensorboard::EventWriter;
use crate::optim::UpdateReport;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Number of equal parts of [0, 1] over which the loss is split.
const TIME_BUCKETS: usize = 8;

/// One line of `metrics.jsonl`: means over the updates since the line before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Name of the phase.
    pub phase: String,
    /// Updates of the phase so far.
    pub update: u64,
    /// Samples of the run so far.
    pub clock: u64,
    /// Mean loss.
    pub loss: f64,
    /// Mean loss of the samples with t in each eighth of [0, 1]; null where there was none.
    pub loss_by_time: Vec<Option<f64>>,
    /// Mean norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate of the last update.
    pub lr: f64,
    /// Samples per second.
    pub samples_per_second: f64,
    /// Part of the time in which this rank exchanged gradients with others, or waited for them; none
    /// without others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange_share: Option<f64>,
    /// The other players, where the method has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub players: Vec<PlayerRecord>,
}

/// A player other than the student in a line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlayerRecord {
    /// Its name.
    pub name: String,
    /// Mean loss.
    pub loss: f64,
    /// Mean norm of the gradient before clipping.
    pub gradient_norm: f64,
}

/// Collects updates until a line is due. A checkpoint in between keeps it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Window {
    losses: [(f64, u64); TIME_BUCKETS],
    loss: f64,
    gradient_norm: f64,
    updates: u64,
    samples: u64,
    lr: f64,
    others: Vec<(String, PlayerSum)>,
    /// Seconds in which gradients were exchanged; none without other ranks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exchange: Option<f64>,
    /// Time that it took before the run was resumed.
    seconds: f64,
    #[serde(skip, default = "Instant::now")]
    since: Instant,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct PlayerSum {
    loss: f64,
    gradient_norm: f64,
    updates: u64,
}

impl Window {
    pub(super) fn new() -> Self {
        Self {
            losses: [(0.0, 0); TIME_BUCKETS],
            loss: 0.0,
            gradient_norm: 0.0,
            updates: 0,
            samples: 0,
            lr: 0.0,
            others: vec![],
            exchange: None,
            seconds: 0.0,
            since: Instant::now(),
        }
    }

    /// Whether no update is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// As it is now, to be stored.
    pub(super) fn stopped(&self) -> Self {
        Self {
            seconds: self.elapsed(),
            ..self.clone()
        }
    }

    fn elapsed(&self) -> f64 {
        self.seconds + self.since.elapsed().as_secs_f64()
    }

    /// Adds an update of so many samples.
    pub(super) fn add(&mut self, round: &RoundReport, samples: u64) {
        self.samples += samples;
        if let Some(report) = &round.student {
            self.add_student(report);
        }
        let others = round.others.iter().map(|(_, report)| report);
        for seconds in round
            .student
            .iter()
            .chain(others)
            .filter_map(|report| report.exchange)
        {
            *self.exchange.get_or_insert(0.0) += seconds;
        }
        for (name, report) in &round.others {
            let known = self.others.iter().position(|(known, _)| known == name);
            let index = known.unwrap_or_else(|| {
                self.others.push((name.to_string(), PlayerSum::default()));
                self.others.len() - 1
            });
            let sum = &mut self.others[index].1;
            sum.loss += report.loss;
            sum.gradient_norm += report.gradient_norm;
            sum.updates += 1;
        }
    }

    /// Whether the student moved in it. The last window of a phase may be too short for that, and
    /// then has no line.
    pub(super) fn has_student(&self) -> bool {
        self.updates > 0
    }

    fn add_student(&mut self, report: &UpdateReport) {
        for &(time, loss) in &report.samples {
            let bucket = ((time * TIME_BUCKETS as f64) as usize).min(TIME_BUCKETS - 1);
            self.losses[bucket].0 += loss;
            self.losses[bucket].1 += 1;
        }
        self.loss += report.loss;
        self.gradient_norm += report.gradient_norm;
        self.updates += 1;
        self.lr = report.lr;
    }

    pub(super) fn close(self, phase: &str, update: u64, clock: u64) -> LogRecord {
        let mean = |(sum, count): &(f64, u64)| (*count > 0).then(|| sum / *count as f64);
        let updates = self.updates.max(1) as f64;
        LogRecord {
            phase: phase.into(),
            update,
            clock,
            loss: self.loss / updates,
            loss_by_time: self.losses.iter().map(mean).collect(),
            gradient_norm: self.gradient_norm / updates,
            lr: self.lr,
            samples_per_second: self.samples as f64 / self.elapsed(),
            exchange_share: self.exchange.map(|seconds| seconds / self.elapsed()),
            players: self.others.iter().map(PlayerSum::record).collect(),
        }
    }
}

impl PlayerSum {
    fn record((name, sum): &(String, Self)) -> PlayerRecord {
        PlayerRecord {
            name: name.clone(),
            loss: sum.loss / sum.updates as f64,
            gradient_norm: sum.gradient_norm / sum.updates as f64,
        }
    }
}

/// `metrics.jsonl` and the TensorBoard events next to it.
pub(super) struct Log {
    path: PathBuf,
    lines: File,
    events: EventWriter,
}

impl Log {
    /// Opens the log of a run folder and drops what was written after `clock`, which a resumed run
    /// does again.
    pub(super) fn open(folder: &Path, clock: u64) -> Result<Self, RunError> {
        let path = folder.join("metrics.jsonl");
        let old = match std::fs::read_to_string(&path) {
            Ok(old) => old,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(RunError::reading(path)(e)),
        };
        let is_kept = |line: &&str| {
            serde_json::from_str::<LogRecord>(line).is_ok_and(|record| record.clock <= clock)
        };
        let kept: String = old
            .lines()
            .filter(is_kept)
            .flat_map(|line| [line, "\n"])
            .collect();
        fewstep_formats::write_atomically(&path, kept.as_bytes())?;
        let lines = OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(RunError::writing(&path))?;
        let events = EventWriter::create(folder, clock).map_err(RunError::writing(folder))?;
        Ok(Self {
            path,
            lines,
            events,
        })
    }

    pub(super) fn write(&mut self, record: &LogRecord) -> Result<(), RunError> {
        let line = serde_json::to_string(record).map_err(std::io::Error::from);
        line.and_then(|line| writeln!(self.lines, "{line}"))
            .map_err(RunError::writing(&self.path))?;
        let phase = &record.phase;
        let mut scalars = vec![
            (format!("{phase}/loss"), record.loss),
            (format!("{phase}/gradient_norm"), record.gradient_norm),
            (format!("{phase}/lr"), record.lr),
            (
                format!("{phase}/samples_per_second"),
                record.samples_per_second,
            ),
        ];
        for (bucket, loss) in record.loss_by_time.iter().enumerate() {
            let tag = format!("{phase}/loss_by_time/{bucket}-of-{TIME_BUCKETS}");
            scalars.extend(loss.map(|loss| (tag, loss)));
        }
        for player in &record.players {
            let name = &player.name;
            scalars.push((format!("{phase}/{name}/loss"), player.loss));
            let norm = (
                format!("{phase}/{name}/gradient_norm"),
                player.gradient_norm,
            );
            scalars.push(norm);
        }
        let share = record.exchange_share;
        scalars.extend(share.map(|share| (format!("{phase}/exchange_share"), share)));
        self.events
            .scalars(record.clock, &scalars)
            .map_err(RunError::writing(&self.path))
    }
}
