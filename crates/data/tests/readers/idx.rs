//! IDX: MNIST, Fashion-MNIST and sets like them.

use crate::{config, refused, survives_damage};
use fewstep_data::{
    DataConfig, DataError, DataKind, FASHION_MNIST_CLASSES, ImageShape, Split, load, parse_idx,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs;
use std::io::Write;
use std::path::Path;

fn images(dims: [u32; 3], pixels: &[u8]) -> Vec<u8> {
    let header = [0x0803].into_iter().chain(dims).flat_map(u32::to_be_bytes);
    header.chain(pixels.iter().copied()).collect()
}

fn labels(values: &[u8]) -> Vec<u8> {
    let header = [0x0801, values.len() as u32]
        .into_iter()
        .flat_map(u32::to_be_bytes);
    header.chain(values.iter().copied()).collect()
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Three images of 2x1 pixels, as the training split.
fn write_set(folder: &Path, values: &[u8]) {
    fs::write(
        folder.join("train-images-idx3-ubyte.gz"),
        zipped(&images([3, 1, 2], &[1, 2, 3, 4, 5, 6])),
    )
    .unwrap();
    fs::write(folder.join("train-labels-idx1-ubyte"), labels(values)).unwrap();
}

#[test]
fn a_split_is_read_zipped_or_not() {
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path(), &[9, 0, 1]);
    let set = load(&config(DataKind::FashionMnist, folder.path())).unwrap();
    assert_eq!(
        set.shape,
        ImageShape {
            channels: 1,
            height: 1,
            width: 2
        }
    );
    assert_eq!(
        (set.len(), set.pixels(1), set.label(0)),
        (3, &[3, 4][..], Some(9))
    );
    assert_eq!(set.classes, FASHION_MNIST_CLASSES);
    assert_eq!(set.name, "fashion-mnist");
    assert_eq!(
        load(&config(DataKind::Mnist, folder.path()))
            .unwrap()
            .classes[9],
        "9"
    );
    assert_eq!(
        load(&config(DataKind::Idx, folder.path()))
            .unwrap()
            .classes
            .len(),
        10
    );
}

#[test]
fn size_pads_and_channels_repeat() {
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path(), &[9, 0, 1]);
    let plain = config(DataKind::Mnist, folder.path());
    let set = load(&DataConfig {
        size: Some(4),
        channels: Some(3),
        limit: Some(1),
        ..plain
    })
    .unwrap();
    assert_eq!((set.len(), set.shape.len()), (1, 48));
    for channel in set.pixels(0).chunks(16) {
        assert_eq!(channel, [0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}

#[test]
fn one_file_finds_its_labels_or_does_without() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("emnist-images-idx3-ubyte");
    fs::write(&path, images([2, 1, 1], &[1, 2])).unwrap();
    let plain = config(DataKind::Idx, &path);
    assert_eq!(load(&plain).unwrap().label(0), None);
    fs::write(
        folder.path().join("emnist-labels-idx1-ubyte.gz"),
        zipped(&labels(&[3, 0])),
    )
    .unwrap();
    assert_eq!(load(&plain).unwrap().labels(), Some(&[3, 0][..]));
    let names: Vec<String> = ["a", "b", "c", "d", "e"].map(String::from).to_vec();
    let named = load(&DataConfig {
        class_names: Some(names.clone()),
        ..plain.clone()
    })
    .unwrap();
    assert_eq!(named.classes, names);
    let few = DataConfig {
        class_names: Some(names[..2].to_vec()),
        ..plain
    };
    refused(&few, &["class_names = 2 names", "4, one for each"]);
}

#[test]
fn missing_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let train = config(DataKind::FashionMnist, folder.path());
    let place = folder.path().display().to_string();
    refused(
        &train,
        &[
            &place,
            "`train-images-idx3-ubyte` or `train-images-idx3-ubyte.gz`",
        ],
    );
    let test = DataConfig {
        split: Split::Test,
        ..train.clone()
    };
    refused(&test, &["`t10k-images-idx3-ubyte`"]);
    fs::write(
        folder.path().join("train-images-idx3-ubyte"),
        images([1, 1, 1], &[1]),
    )
    .unwrap();
    refused(&train, &["`train-labels-idx1-ubyte`"]);
}

#[test]
fn a_label_out_of_range_is_found() {
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path(), &[9, 0, 10]);
    let error = refused(
        &config(DataKind::FashionMnist, folder.path()),
        &[
            "train-labels-idx1-ubyte, record 2: label 10",
            "0 to 9 (10 classes)",
        ],
    );
    assert!(matches!(
        error,
        DataError::LabelRange {
            label: 10,
            classes: 10,
            ..
        }
    ));
}

#[test]
fn bytes_that_are_wrong_are_told() {
    let good = images([2, 1, 2], &[1, 2, 3, 4]);
    let told = |images: &[u8], labels: Option<&[u8]>, parts: &[&str]| {
        let message = parse_idx(images, labels, "set").unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    };
    told(
        &good[..18],
        None,
        &[
            "set (images)",
            "body of dimensions [2, 1, 2] of 4 bytes",
            "got 2 bytes",
        ],
    );
    told(&good[..7], None, &["header of 16 bytes", "got 7 bytes"]);
    told(
        &images([2, 1, 2], &[1, 2, 3, 4, 5]),
        None,
        &["to end after", "got more bytes"],
    );
    told(
        &labels(&[1; 30]),
        None,
        &["expected 0x00000803 (IDX images), got 0x00000801"],
    );
    told(&good, Some(&labels(&[1])), &["2 images but 1 labels"]);
    told(
        &good,
        Some(&good),
        &["expected 0x00000801 (IDX labels), got 0x00000803"],
    );
    told(
        &images([0, 28, 28], &[]),
        None,
        &["no images", "0 images of 28x28"],
    );
    told(
        &images([u32::MAX; 3], &[]),
        None,
        &["more than memory can hold"],
    );
    told(&images([1, u32::MAX, 5], &[1]), None, &["got 1 bytes"]);
    let packed = zipped(&images([2, 50, 50], &[7; 5000]));
    told(
        &packed[..packed.len() / 2],
        None,
        &["set (images)", "truncated"],
    );
    let mut broken = packed;
    broken[12] ^= 0xff;
    assert!(parse_idx(&broken, None, "set").is_err());
}

#[test]
fn no_damage_makes_it_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gz");
    let plain = config(DataKind::Idx, &path);
    survives_damage(&plain, &path, &images([2, 1, 2], &[1, 2, 3, 4]));
    survives_damage(&plain, &path, &zipped(&images([2, 1, 2], &[1, 2, 3, 4])));
}
