//! The readers, through `load`, on files made by the tests.

#![allow(clippy::unwrap_used)]

mod captioned;
mod cifar;
mod config;
mod fit;
mod folder;
mod given;
mod hub;
mod idx;
mod labels;
mod lists;
mod pairs;
mod parquet;
mod real;
mod stored;
mod tars;
mod texts;

use fewstep_data::{DataConfig, DataError, DataKind, load};
use std::path::Path;

/// The configuration of a set with nothing but its kind and place given.
fn config(kind: DataKind, path: &Path) -> DataConfig {
    DataConfig::new(kind, path)
}

/// The error of loading `config`, which must speak of everything in `parts`.
fn refused(config: &DataConfig, parts: &[&str]) -> DataError {
    let error = load(config).unwrap_err();
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
    error
}

/// Loads `path` once with each byte of `bytes` changed, and once cut after each byte: whatever
/// comes, no panic.
fn survives_damage(config: &DataConfig, path: &Path, bytes: &[u8]) {
    for i in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        for flip in [0x80, 0xff] {
            damaged[i] = bytes[i] ^ flip;
            std::fs::write(path, &damaged).unwrap();
            let _ = load(config);
        }
        std::fs::write(path, &bytes[..i]).unwrap();
        assert!(
            load(config).is_err(),
            "cut after {i} of {} bytes",
            bytes.len()
        );
    }
}
