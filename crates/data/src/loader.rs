//! Batches on the host, and the thread that makes them ahead of time.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use crate::picture::to_f32;
use crate::{Dataset, ImageShape, Order};

/// How many finished batches may wait to be taken.
const QUEUE: usize = 3;

/// A batch on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostBatch {
    /// The clock of the first sample: how many samples the run saw before it.
    pub clock: u64,
    /// The examples' indices in the dataset, one per sample.
    pub indices: Vec<u64>,
    /// The examples' labels, one per sample; none where the set is unlabelled.
    pub labels: Vec<Option<u32>>,
    /// [batch, channels, height, width], in [-1, 1]: x / 127.5 - 1.
    pub pixels: Vec<f32>,
    /// The shape of each picture.
    pub shape: ImageShape,
}

impl HostBatch {
    /// How many samples it has.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

/// The batch of `size` samples that starts at `clock`. The `order` must be one over `dataset.len()` examples.
pub fn batch(dataset: &Dataset, order: &mut Order, clock: u64, size: usize) -> HostBatch {
    let shape = dataset.shape;
    let mut batch = HostBatch {
        clock,
        indices: Vec::with_capacity(size),
        labels: Vec::with_capacity(size),
        pixels: Vec::with_capacity(size * shape.len()),
        shape,
    };
    for sample in 0..size as u64 {
        let pick = order.at(clock + sample);
        batch.indices.push(pick.index as u64);
        batch.labels.push(dataset.label(pick.index));
        let image = dataset.image(pick.index);
        if pick.flip {
            let mirrored = image
                .chunks_exact(shape.width)
                .flat_map(|row| row.iter().rev());
            batch.pixels.extend(mirrored.map(|&value| to_f32(value)));
        } else {
            batch
                .pixels
                .extend(image.iter().map(|&value| to_f32(value)));
        }
    }
    batch
}

/// The batches of a run, made ahead of time on a thread of its own.
///
/// It holds at most a few finished batches. Dropping it ends the thread.
#[derive(Debug)]
pub struct Loader {
    batches: Receiver<HostBatch>,
    worker: Option<JoinHandle<()>>,
}

impl Loader {
    /// Batches of `batch_size` from `start_clock` (0, or where a run resumes) until the clock reaches
    /// `total_samples`; the last one is smaller where the sizes do not divide. They equal those of [`batch`].
    ///
    /// # Panics
    /// If the dataset is empty or `batch_size` is 0.
    pub fn new(
        dataset: Arc<Dataset>,
        seed: u64,
        flip: bool,
        batch_size: usize,
        start_clock: u64,
        total_samples: u64,
    ) -> Self {
        assert!(batch_size > 0, "a batch needs at least one sample");
        let mut order = Order::new(seed, dataset.len(), flip);
        let (sender, batches) = sync_channel(QUEUE);
        let worker = std::thread::spawn(move || {
            let mut clock = start_clock;
            while clock < total_samples {
                let size = (total_samples - clock).min(batch_size as u64);
                if sender
                    .send(batch(&dataset, &mut order, clock, size as usize))
                    .is_err()
                {
                    return; // the loader was dropped
                }
                clock += size;
            }
        });
        Self {
            batches,
            worker: Some(worker),
        }
    }
}

impl Iterator for Loader {
    type Item = HostBatch;

    fn next(&mut self) -> Option<HostBatch> {
        if let Ok(batch) = self.batches.recv() {
            return Some(batch);
        }
        // The worker has ended. If it panicked, that must not look like the end of the run.
        if let Some(Err(panic)) = self.worker.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        None
    }
}
