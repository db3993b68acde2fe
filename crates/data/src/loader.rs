//! The thread that makes batches ahead of time.

use crate::{DataError, ExampleOrder, Examples, HostBatch};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

/// How many finished batches may wait to be taken.
const QUEUE: usize = 3;

/// The batches of a run, made ahead of time on a thread of its own.
///
/// It holds at most a few finished batches. Dropping it ends the thread.
#[derive(Debug)]
pub struct Loader {
    batches: Receiver<Result<HostBatch, DataError>>,
    worker: Option<JoinHandle<()>>,
}

impl Loader {
    /// Batches of `batch_size` from `start_clock` (0, or where a run resumes) until the clock
    /// reaches `total_samples`; the last one is smaller where the sizes do not divide. They equal
    /// those of [`Examples::batch`]. It ends after an error.
    ///
    /// # Panics
    /// If there are no examples or `batch_size` is 0.
    pub fn new(
        examples: Examples,
        seed: u64,
        flip: bool,
        batch_size: usize,
        start_clock: u64,
        total_samples: u64,
    ) -> Self {
        assert!(batch_size > 0, "a batch needs at least one sample");
        let clocks = (start_clock..total_samples).step_by(batch_size);
        let size = move |clock: u64| (total_samples - clock).min(batch_size as u64) as usize;
        let pieces = clocks.map(move |clock| (clock, size(clock)));
        Self::of_pieces(examples, seed, flip, pieces)
    }

    /// Batches of these samples: the clock of the first of each, and how many.
    pub fn of_pieces(
        examples: Examples,
        seed: u64,
        flip: bool,
        pieces: impl Iterator<Item = (u64, usize)> + Send + 'static,
    ) -> Self {
        let mut order = ExampleOrder::new(seed, examples.len(), flip);
        let (sender, batches) = sync_channel(QUEUE);
        let worker = std::thread::spawn(move || {
            for (clock, size) in pieces {
                let made = examples.batch(&mut order, clock, size);
                let failed = made.is_err();
                if sender.send(made).is_err() || failed {
                    return; // the loader was dropped, or it cannot go on
                }
            }
        });
        Self {
            batches,
            worker: Some(worker),
        }
    }
}

impl Iterator for Loader {
    type Item = Result<HostBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Ok(batch) = self.batches.recv() {
            return Some(batch);
        }
        // The worker has ended. A panic in it must not look like the end of the run.
        if let Some(Err(panic)) = self.worker.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::numbered;
    use crate::{Dataset, batch};
    use std::sync::Arc;

    fn loader(dataset: &Arc<Dataset>, size: usize, start: u64, total: u64) -> Loader {
        Loader::new(
            Examples::images(dataset.clone()),
            4,
            true,
            size,
            start,
            total,
        )
    }

    fn all(loader: Loader) -> Vec<HostBatch> {
        loader.map(Result::unwrap).collect()
    }

    #[test]
    fn the_loader_gives_the_batches_of_the_order_and_ends_at_the_total() {
        let dataset = Arc::new(numbered(7));
        let mut order = ExampleOrder::new(4, 7, true);
        let loaded = all(loader(&dataset, 3, 0, 20));
        let sizes: Vec<usize> = loaded.iter().map(HostBatch::len).collect();
        assert_eq!(sizes, [3, 3, 3, 3, 3, 3, 2]);
        for loaded in loaded {
            assert_eq!(
                loaded,
                batch(&dataset, None, &mut order, loaded.clock, loaded.len()).unwrap()
            );
        }
    }

    #[test]
    fn a_loader_resumed_at_any_clock_continues_the_run() {
        let dataset = Arc::new(numbered(7));
        let whole = all(loader(&dataset, 1, 0, 30));
        for clock in 0..30 {
            let rest = all(loader(&dataset, 1, clock, 30));
            assert_eq!(rest, whole[clock as usize..]);
        }
        assert_eq!(loader(&dataset, 1, 30, 30).count(), 0);
    }

    #[test]
    fn a_loader_dropped_early_ends_its_thread() {
        let dataset = Arc::new(numbered(7));
        let mut loader = loader(&dataset, 2, 0, u64::MAX);
        assert!(loader.next().is_some());
        let worker = loader.worker.take().unwrap();
        drop(loader);
        worker.join().unwrap();
        assert_eq!(Arc::strong_count(&dataset), 1);
    }
}
