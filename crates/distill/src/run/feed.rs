//! The batches of a phase, on the device one update ahead.

use super::batch::to_device;
use crate::method::Batch;
use burn::tensor::Device;
use fewstep_data::{DataError, HostBatch, Loader};

/// The batches of an update, given in its micro-batches.
pub(super) struct Fed {
    pub(super) batches: Vec<Batch>,
    /// Indices of the samples in the dataset.
    pub(super) indices: Vec<u64>,
}

/// Takes batches from the loader and puts them on the device: those of the next update while the
/// device is busy with this one.
pub(super) struct Feed {
    loader: Loader,
    device: Device,
    micro_batches: usize,
    /// Samples of an update.
    batch: u64,
    /// Clock of the update whose batches come next.
    clock: u64,
    ahead: Option<Result<Fed, DataError>>,
}

impl Feed {
    /// Of updates of `micro_batches` each, from a loader that starts at `clock`.
    pub(super) fn new(
        loader: Loader,
        device: &Device,
        micro_batches: usize,
        batch: usize,
        clock: u64,
    ) -> Self {
        Self {
            loader,
            device: device.clone(),
            micro_batches,
            batch: batch as u64,
            clock,
            ahead: None,
        }
    }

    /// Puts the batches of the next update on the device, unless they are there.
    pub(super) fn load_ahead(&mut self) {
        if self.ahead.is_none() {
            self.ahead = Some(self.load());
        }
    }

    /// The batches of the next update.
    ///
    /// # Errors
    /// When its examples cannot be read.
    pub(super) fn take(&mut self) -> Result<Fed, DataError> {
        match self.ahead.take() {
            Some(fed) => fed,
            None => self.load(),
        }
    }

    fn load(&mut self) -> Result<Fed, DataError> {
        let host = self.loader.by_ref().take(self.micro_batches);
        let host: Vec<HostBatch> = host.collect::<Result<_, _>>()?;
        let batches = host.iter().map(|b| to_device(b, self.clock, &self.device));
        let fed = Fed {
            batches: batches.collect(),
            indices: host.iter().flat_map(|b| b.indices.clone()).collect(),
        };
        self.clock += self.batch;
        Ok(fed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep_data::{Dataset, Examples, ImageShape};
    use std::sync::Arc;

    fn feed(clock: u64, updates: u64) -> Feed {
        let shape = ImageShape {
            channels: 1,
            height: 1,
            width: 1,
        };
        let dataset = Dataset::from_parts("grey", shape, (0..50).collect(), None, vec![]);
        let examples = Examples::images(Arc::new(dataset.expect("valid")));
        let loader = Loader::new(examples, 3, false, 2, clock, clock + 6 * updates);
        Feed::new(loader, &Device::flex(), 3, 6, clock)
    }

    fn told(fed: Fed) -> Vec<(u64, u64, Vec<f32>)> {
        let told = fed.batches.into_iter().map(|batch| {
            let pixels = batch.images.into_data().try_to_vec().expect("f32");
            (batch.update, batch.clock, pixels)
        });
        told.collect()
    }

    /// What was put on the device ahead is what would have been put there when it is needed.
    #[test]
    fn loading_ahead_changes_nothing() {
        let (mut plain, mut ahead) = (feed(12, 4), feed(12, 4));
        for update in 0..4 {
            let expected = plain.take().expect("read");
            let clocks: Vec<u64> = expected.batches.iter().map(|b| b.clock).collect();
            let start = 12 + 6 * update;
            assert_eq!(clocks, [start, start + 2, start + 4]);
            assert!(expected.batches.iter().all(|b| b.update == start));
            let fed = ahead.take().expect("read");
            assert_eq!(fed.indices, expected.indices);
            assert_eq!(told(fed), told(expected));
            ahead.load_ahead();
            ahead.load_ahead();
        }
    }
}
