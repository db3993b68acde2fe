//! The configuration itself.

use crate::{config, refused};
use fewstep_data::{DataConfig, DataKind, Split};

#[test]
fn a_recipe_is_read_and_written() {
    let text = "kind = \"fashion-mnist\"\npath = \"data\"\nsplit = \"test\"\nsize = 32\n";
    let read: DataConfig = toml::from_str(text).unwrap();
    let expected = DataConfig {
        split: Split::Test,
        size: Some(32),
        ..config(DataKind::FashionMnist, "data".as_ref())
    };
    assert_eq!(read, expected);
    assert_eq!(toml::to_string(&read).unwrap(), text);
}

#[test]
fn defaults_and_kinds() {
    for (name, kind) in [
        ("mnist", DataKind::Mnist),
        ("idx", DataKind::Idx),
        ("cifar10", DataKind::Cifar10),
        ("folder", DataKind::Folder),
        ("parquet", DataKind::Parquet),
    ] {
        let read: DataConfig = toml::from_str(&format!("kind = \"{name}\"\npath = \"x\"")).unwrap();
        assert_eq!(read, config(kind, "x".as_ref()));
    }
}

#[test]
fn unknown_keys_are_refused() {
    let error =
        toml::from_str::<DataConfig>("kind = \"idx\"\npath = \"x\"\nsizes = 3").unwrap_err();
    assert!(
        error.to_string().contains("unknown field `sizes`"),
        "{error}"
    );
}

#[test]
fn values_without_sense_are_refused() {
    let plain = config(DataKind::Folder, ".".as_ref());
    refused(
        &DataConfig {
            size: Some(0),
            ..plain.clone()
        },
        &["size = 0", "at least 1"],
    );
    refused(
        &DataConfig {
            limit: Some(0),
            ..plain.clone()
        },
        &["limit = 0", "at least 1"],
    );
    refused(
        &DataConfig {
            channels: Some(4),
            ..plain
        },
        &["channels = 4", "1 (grey) or 3 (RGB)"],
    );
}
