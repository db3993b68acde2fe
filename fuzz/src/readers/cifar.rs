//! CIFAR-10: a file of records and, as a second one, the names of the classes.

use super::parts::{folder, parts};
use fewstep_data::{DataConfig, DataKind, Split, load};

pub fn read(bytes: &[u8]) -> bool {
    let folder = folder(
        ["test_batch.bin", "batches.meta.txt"]
            .into_iter()
            .zip(parts(bytes)),
    );
    let config = DataConfig {
        split: Split::Test,
        ..DataConfig::new(DataKind::Cifar10, folder.path())
    };
    load(&config).is_ok()
}
