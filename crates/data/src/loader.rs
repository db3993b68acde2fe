//! Batches on the host, and the thread that makes them ahead of time.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use crate::image::to_f32;
use crate::{Conditions, DataError, Dataset, ExampleOrder, Examples};
use fewstep_diffusion::Inputs;

/// How many finished batches may wait to be taken.
const QUEUE: usize = 3;

/// A batch on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostBatch {
    /// The clock of the first sample: how many samples the run saw before it.
    pub clock: u64,
    /// The examples' indices in the dataset, one per sample.
    pub indices: Vec<u64>,
    /// Images in [-1, 1], x / 127.5 - 1, or latents: [channels, height, width] each.
    pub images: HostArray<3>,
    /// What the network is given with each: its class, its caption, its control image, the mask and what it leaves.
    pub inputs: HostInputs,
}

/// [`Inputs`] on the host. Embeddings are [tokens, width]; of the empty prompt there is one for all.
pub type HostInputs = Inputs<HostArray<3>, HostArray<2>>;

/// Arrays of one shape, one after another.
#[derive(Clone, Debug, PartialEq)]
pub struct HostArray<const N: usize> {
    /// All values, row by row.
    pub values: Vec<f32>,
    /// The shape of each array.
    pub shape: [usize; N],
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
///
/// # Errors
/// When what conditions are made from cannot be read from disk.
pub fn batch(
    dataset: &Dataset,
    conditions: Option<&Conditions>,
    order: &mut ExampleOrder,
    clock: u64,
    size: usize,
) -> Result<HostBatch, DataError> {
    let shape = dataset.shape;
    let mut control = conditions.map(HostArray::of_conditions);
    let mut indices = Vec::with_capacity(size);
    let mut classes = Vec::with_capacity(size);
    let mut pixels: Vec<f32> = Vec::with_capacity(size * shape.len());
    for sample in 0..size as u64 {
        let pick = order.at(clock + sample);
        indices.push(pick.index as u64);
        classes.push(dataset.label(pick.index));
        let image = dataset.pixels(pick.index);
        match pick.flip {
            false => pixels.extend(image.iter().map(|&value| to_f32(value))),
            true => {
                let rows = image.chunks_exact(shape.width);
                let mirrored = rows.flat_map(|row| row.iter().rev());
                pixels.extend(mirrored.map(|&value| to_f32(value)));
            }
        }
        if let Some((conditions, control)) = conditions.zip(control.as_mut()) {
            let image = &pixels[sample as usize * shape.len()..];
            let source = conditions.source(pick)?;
            let source = source.as_deref().unwrap_or(image);
            control.add_condition(conditions, source, order.seed(), clock + sample);
        }
    }
    let labelled = dataset.labels().is_some();
    Ok(HostBatch {
        clock,
        indices,
        images: HostArray {
            values: pixels,
            shape: [shape.channels, shape.height, shape.width],
        },
        inputs: Inputs {
            classes: labelled.then_some(classes),
            control,
            ..Inputs::default()
        },
    })
}

impl HostArray<3> {
    /// Control images, none yet.
    pub(crate) fn of_conditions(conditions: &Conditions) -> Self {
        Self {
            values: vec![],
            shape: conditions.shape(),
        }
    }

    /// Adds the control image made of `source`.
    pub(crate) fn add_condition(
        &mut self,
        conditions: &Conditions,
        source: &[f32],
        seed: u64,
        clock: u64,
    ) {
        self.values.extend(conditions.make(source, seed, clock));
    }
}

/// The batches of a run, made ahead of time on a thread of its own.
///
/// It holds at most a few finished batches. Dropping it ends the thread.
#[derive(Debug)]
pub struct Loader {
    batches: Receiver<Result<HostBatch, DataError>>,
    worker: Option<JoinHandle<()>>,
}

impl Loader {
    /// Batches of `batch_size` from `start_clock` (0, or where a run resumes) until the clock reaches
    /// `total_samples`; the last one is smaller where the sizes do not divide. They equal those of
    /// [`Examples::batch`]. After an error there is nothing more.
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
        let mut order = ExampleOrder::new(seed, examples.len(), flip);
        let (sender, batches) = sync_channel(QUEUE);
        let worker = std::thread::spawn(move || {
            let mut clock = start_clock;
            while clock < total_samples {
                let size = (total_samples - clock).min(batch_size as u64);
                let made = examples.batch(&mut order, clock, size as usize);
                let failed = made.is_err();
                if sender.send(made).is_err() || failed {
                    return; // the loader was dropped, or there is nothing to go on with
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
    type Item = Result<HostBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageShape;
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

    fn numbered(len: usize) -> Dataset {
        let shape = ImageShape {
            channels: 1,
            height: 1,
            width: 2,
        };
        let pixels = (0..len as u8).flat_map(|i| [i, 255 - i]).collect();
        let labels = (0..len as u32).map(|i| i % 3).collect();
        Dataset::from_parts("numbered", shape, pixels, Some(labels), Vec::new()).unwrap()
    }

    #[test]
    fn a_batch_holds_the_examples_of_the_order() {
        let dataset = numbered(10);
        let mut order = ExampleOrder::new(1, 10, true);
        let batch = batch(&dataset, None, &mut order, 5, 12).unwrap();
        assert_eq!(
            (batch.clock, batch.len(), batch.images.values.len()),
            (5, 12, 24)
        );
        for sample in 0..12 {
            let pick = order.at(5 + sample as u64);
            assert_eq!(batch.indices[sample], pick.index as u64);
            assert_eq!(
                batch.inputs.classes.as_ref().unwrap()[sample],
                Some(pick.index as u32 % 3)
            );
            let mut expected = [pick.index as f32, 255.0 - pick.index as f32];
            if pick.flip {
                expected.reverse();
            }
            assert_eq!(
                batch.images.values[2 * sample..][..2],
                expected.map(|x| x / 127.5 - 1.0)
            );
        }
    }

    #[test]
    fn flipping_mirrors_rows_within_each_channel() {
        let rgb = ImageShape {
            channels: 3,
            height: 2,
            width: 3,
        };
        let pixels: Vec<u8> = (0..18).collect();
        let dataset = Dataset::from_parts("one", rgb, pixels, None, Vec::new()).unwrap();
        let mut order = ExampleOrder::new(0, 1, true);
        let clock = (0..100).find(|&clock| order.at(clock).flip).unwrap();
        let flipped = batch(&dataset, None, &mut order, clock, 1).unwrap();
        let expected = [2, 1, 0, 5, 4, 3, 8, 7, 6, 11, 10, 9, 14, 13, 12, 17, 16, 15].map(to_f32);
        assert_eq!(flipped.images.values, expected);
        assert_eq!(flipped.inputs.classes, None);
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
