//! The official binary version of CIFAR-10.

use crate::{config, refused};
use fewstep_data::{DataConfig, DataError, DataKind, ImageShape, Split, load};
use std::fs;
use std::path::Path;

fn record(label: u8) -> Vec<u8> {
    std::iter::once(label)
        .chain((0..3072).map(|i| (i / 1024) as u8 * 100 + label))
        .collect()
}

/// Two records in each training file, one in the test file.
fn write_set(folder: &Path) {
    for file in 1..=5u8 {
        let bytes = [record(file), record(file + 1)].concat();
        fs::write(folder.join(format!("data_batch_{file}.bin")), bytes).unwrap();
    }
    fs::write(folder.join("test_batch.bin"), record(0)).unwrap();
}

#[test]
fn both_splits_are_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path());
    let plain = config(DataKind::Cifar10, folder.path());
    let train = load(&plain).unwrap();
    assert_eq!(
        train.shape,
        ImageShape {
            channels: 3,
            height: 32,
            width: 32
        }
    );
    assert_eq!(train.labels(), Some(&[1, 2, 2, 3, 3, 4, 4, 5, 5, 6][..]));
    assert_eq!([0, 1024, 2048].map(|i| train.pixels(9)[i]), [6, 106, 206]);
    assert_eq!(train.classes[8], "ship");
    let test = DataConfig {
        split: Split::Test,
        size: Some(16),
        channels: Some(1),
        ..plain
    };
    let test = load(&test).unwrap();
    assert_eq!((test.len(), test.pixels(0).len()), (1, 256));
    assert_eq!(test.pixels(0)[0], 86); // 0.7152 * 100 + 0.0722 * 200
}

#[test]
fn the_folder_of_the_archive_and_its_names_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("cifar-10-batches-bin");
    fs::create_dir(&inner).unwrap();
    write_set(&inner);
    fs::write(
        inner.join("batches.meta.txt"),
        "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n",
    )
    .unwrap();
    let plain = config(DataKind::Cifar10, folder.path());
    assert_eq!(load(&plain).unwrap().classes.concat(), "abcdefghij");
    fs::write(inner.join("batches.meta.txt"), "a\nb\n").unwrap();
    refused(
        &plain,
        &["batches.meta.txt", "expected 10 class names", "got 2"],
    );
}

#[test]
fn a_missing_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path());
    fs::remove_file(folder.path().join("data_batch_3.bin")).unwrap();
    let error = refused(
        &config(DataKind::Cifar10, folder.path()),
        &["`data_batch_3.bin`", "binary version"],
    );
    assert!(matches!(error, DataError::Missing { .. }));
}

#[test]
fn a_truncated_file_is_told_with_record_and_byte() {
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path());
    let plain = config(DataKind::Cifar10, folder.path());
    let path = folder.path().join("data_batch_4.bin");
    fs::write(&path, &fs::read(&path).unwrap()[..5000]).unwrap();
    refused(
        &plain,
        &[
            "data_batch_4.bin, record 1 at byte 3073",
            "3073 bytes",
            "1927 bytes",
            "truncated",
        ],
    );
    fs::write(&path, []).unwrap();
    refused(
        &plain,
        &["data_batch_4.bin, record 0 at byte 0", "got 0 bytes"],
    );
}

#[test]
fn a_label_out_of_range_is_found() {
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path());
    fs::write(
        folder.path().join("data_batch_2.bin"),
        [record(0), record(11)].concat(),
    )
    .unwrap();
    let place = "data_batch_2.bin, record 1 at byte 3073: label 11";
    refused(
        &config(DataKind::Cifar10, folder.path()),
        &[place, "0 to 9"],
    );
}
