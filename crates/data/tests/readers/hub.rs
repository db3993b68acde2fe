//! Layouts of the hub.

use crate::captioned::{captioned, png, read, refused, write_parquet};
use fewstep_data::{DataConfig, Split};
use std::fs;
use std::path::Path;

fn test(config: &DataConfig) -> DataConfig {
    DataConfig {
        split: Split::Test,
        ..config.clone()
    }
}

/// Images in folders of splits.
fn write_images(root: &Path) {
    for (part, value) in [("train", 1), ("test", 2)] {
        fs::create_dir_all(root.join(part)).unwrap();
        fs::write(root.join(part).join("a.png"), png(value)).unwrap();
    }
}

fn line(file: &str, text: &str) -> String {
    format!("{}\n", serde_json::json!({"file_name": file, "text": text}))
}

#[test]
fn lists_are_in_folders_of_splits_or_above_them() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_images(root);
    let list = line("train/a.png", "a cat") + &line("test/a.png", "a dog");
    fs::write(root.join("metadata.jsonl"), list).unwrap();
    let train = captioned(root);
    assert_eq!(read(&train), [("a cat".to_string(), 1)]);
    assert_eq!(read(&test(&train)), [("a dog".to_string(), 2)]);

    fs::remove_file(root.join("metadata.jsonl")).unwrap();
    for part in ["train", "test"] {
        let list = format!("file_name,text\na.png,{part} image\n");
        fs::write(root.join(part).join("metadata.csv"), list).unwrap();
    }
    assert_eq!(read(&train), [("train image".to_string(), 1)]);
    assert_eq!(read(&test(&train)), [("test image".to_string(), 2)]);
}

#[test]
fn parquet_files_may_be_in_folders_of_splits() {
    let folder = tempfile::tempdir().unwrap();
    for place in ["", "data"] {
        let root = folder.path().join(format!("set-{place}"));
        for (part, value) in [("train", 1), ("validation", 2)] {
            let part = root.join(place).join(part);
            fs::create_dir_all(&part).unwrap();
            write_parquet(&part.join("0000.parquet"), "text", &[(png(value), "a cat")]);
        }
        let train = captioned(&root);
        assert_eq!(read(&train)[0].1, 1, "{place}");
        assert_eq!(read(&test(&train))[0].1, 2, "{place}");
    }
}

#[test]
fn captions_may_have_other_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.parquet");
    write_parquet(&path, "words", &[(png(1), "a cat")]);
    let named = |name: &str| DataConfig {
        caption: Some(name.into()),
        ..captioned(&path)
    };
    assert_eq!(read(&named("words")), [("a cat".to_string(), 1)]);
    refused(
        &named("word"),
        &["no usable column `word`", "texts", "words: BYTE_ARRAY"],
    );

    let files = folder.path().join("files");
    fs::create_dir(&files).unwrap();
    fs::write(files.join("a.png"), png(1)).unwrap();
    fs::write(files.join("a.caption"), "a cat").unwrap();
    assert_eq!(read(&captioned(&files)), [("a cat".to_string(), 1)]);
    fs::write(files.join("a.txt"), "tags").unwrap();
    assert_eq!(read(&captioned(&files)), [("tags".to_string(), 1)]);
    let caption = DataConfig {
        caption: Some(".caption".into()),
        ..captioned(&files)
    };
    assert_eq!(read(&caption), [("a cat".to_string(), 1)]);
}
