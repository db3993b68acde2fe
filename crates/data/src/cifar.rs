//! CIFAR-10's official binary version: records of one label byte and 32x32 red, green and blue
//! bytes.

use crate::input::{read_bytes, read_text};
use crate::{DataError, Dataset, ImageShape, Split};
use std::path::{Path, PathBuf};

const SHAPE: ImageShape = ImageShape {
    channels: 3,
    height: 32,
    width: 32,
};
const RECORD: usize = 1 + 3 * 32 * 32;
/// Bytes of a file, far more than an official one has.
const MAX_FILE: u64 = 4 << 30;
/// Records in each official file.
const OFFICIAL_RECORDS: usize = 10_000;
const CLASSES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];
/// The folder that the official archive unpacks to.
const ARCHIVE_FOLDER: &str = "cifar-10-batches-bin";

/// Reads a split from the folder with the official files, or the one above it.
pub(crate) fn read(folder: &Path, split: Split) -> Result<Dataset, DataError> {
    let files: &[&str] = match split {
        Split::Train => &[
            "data_batch_1.bin",
            "data_batch_2.bin",
            "data_batch_3.bin",
            "data_batch_4.bin",
            "data_batch_5.bin",
        ],
        Split::Test => &["test_batch.bin"],
    };
    let inner = folder.join(ARCHIVE_FOLDER);
    let folder = if inner.is_dir() {
        inner.as_path()
    } else {
        folder
    };
    let (mut labels, mut pixels) = (Vec::new(), Vec::new());
    for file in files {
        read_batch(&official_file(folder, file)?, &mut labels, &mut pixels)?;
    }
    Dataset::from_parts("cifar10", SHAPE, pixels, Some(labels), class_names(folder)?)
}

fn official_file(folder: &Path, name: &str) -> Result<PathBuf, DataError> {
    let path = folder.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(DataError::Missing {
        path: folder.to_path_buf(),
        wanted: format!("`{name}`"),
        hint: "set `path` to the folder with the files of the binary version (cifar-10-binary.tar.gz, unpacked)".into(),
    })
}

/// Appends the records of one file.
fn read_batch(path: &Path, labels: &mut Vec<u32>, pixels: &mut Vec<u8>) -> Result<(), DataError> {
    let bytes = read_bytes(path, MAX_FILE)?;
    let (records, rest) = bytes.as_chunks::<RECORD>();
    if records.is_empty() || !rest.is_empty() {
        return Err(DataError::Length {
            origin: format!(
                "{}, record {} at byte {}",
                path.display(),
                records.len(),
                records.len() * RECORD
            ),
            expected: format!("a record of {RECORD} bytes"),
            got: format!("{} bytes before the end of the file", rest.len()),
        });
    }
    if records.len() != OFFICIAL_RECORDS {
        tracing::warn!(path = %path.display(), records = records.len(), "the official file has {OFFICIAL_RECORDS} records");
    }
    for (number, [label, image @ ..]) in records.iter().enumerate() {
        if usize::from(*label) >= CLASSES.len() {
            return Err(DataError::LabelRange {
                origin: format!(
                    "{}, record {number} at byte {}",
                    path.display(),
                    number * RECORD
                ),
                label: i64::from(*label),
                classes: CLASSES.len(),
            });
        }
        labels.push(u32::from(*label));
        pixels.extend_from_slice(image);
    }
    Ok(())
}

/// The names in `batches.meta.txt`, or the well-known ones where that file is missing.
fn class_names(folder: &Path) -> Result<Vec<String>, DataError> {
    let path = folder.join("batches.meta.txt");
    if !path.is_file() {
        return Ok(CLASSES.map(String::from).to_vec());
    }
    let text = read_text(&path)?;
    let names: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(String::from)
        .collect();
    if names.len() != CLASSES.len() {
        let reason = format!(
            "expected {} class names, one per line, got {}",
            CLASSES.len(),
            names.len()
        );
        return Err(DataError::Damaged {
            origin: path.display().to_string(),
            reason,
        });
    }
    Ok(names)
}
