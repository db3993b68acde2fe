//! Files and rows that cannot be used.

use super::{PLAIN, STRUCT, png, properties, rows, values, write};
use crate::{config, refused, survives_damage};
use fewstep_data::{Check, DataConfig, DataError, DataKind, Source, load, survey};
use parquet::basic::Compression;
use std::fs;

#[test]
fn rows_that_cannot_be_used_are_found_and_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.parquet");
    let mut stored = rows(&[(1, 0), (2, 1), (3, 0), (4, 2)]);
    stored[1].0 = b"no image".to_vec();
    write(&path, PLAIN, properties(Compression::SNAPPY, None), &stored);
    let set = config(DataKind::Parquet, folder.path());
    refused(&set, &["row 1", "unreadable image"]);
    let found = survey(&set, None).unwrap();
    assert_eq!((found.examples, found.problems.len()), (3, 1));
    assert_eq!(found.problems[0].name, "set.parquet:1");
    let list = folder.path().join("bad.txt");
    fs::write(&list, found.skip_list()).unwrap();
    let kept = DataConfig {
        skip: Some(list),
        ..set
    };
    assert_eq!(values(&kept), [1, 3, 4]);
    assert_eq!(load(&kept).unwrap().labels(), Some(&[0, 0, 2][..]));
    let limited = DataConfig {
        limit: Some(2),
        ..kept.clone()
    };
    assert_eq!(values(&limited), [1, 3]);
    let names = ["a", "b", "c"].map(String::from);
    let source = Source::labelled(
        &DataConfig {
            size: Some(2),
            ..kept
        },
        &names,
    );
    let contents = source.unwrap().check(Check::Decoded).unwrap();
    assert_eq!(contents.captions, ["a", "a", "c"]);
}

#[test]
fn bad_files_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let plain = config(DataKind::Parquet, folder.path());
    refused(&plain, &["no `*.parquet` file", "train-*.parquet"]);
    let path = folder.path().join("set.parquet");
    let write = |schema, rows: &[(Vec<u8>, i64)]| {
        write(
            &path,
            schema,
            properties(Compression::SNAPPY, Some(r#"["cat", "dog"]"#)),
            rows,
        );
    };

    write(STRUCT, &rows(&[(1, 0), (1, 1), (1, 2)]));
    refused(
        &plain,
        &["set.parquet, row 2: label 2", "0 to 1 (2 classes)"],
    );
    write(STRUCT, &rows(&[(1, -1)]));
    refused(&plain, &["row 0: label -1"]);
    write(PLAIN, &rows(&[(1, 3_000_000_000)]));
    refused(&plain, &["row 0: label 3000000000"]);
    write(STRUCT, &[(png(1), 0), (b"text".to_vec(), 0)]);
    refused(&plain, &["set.parquet, row 1", "unreadable image"]);
    write(STRUCT, &[(png(1), 0), (Vec::new(), 0)]);
    refused(&plain, &["row 1", "no image bytes"]);
    write("message schema { required int64 label; }", &rows(&[(1, 0)]));
    refused(
        &plain,
        &[
            "no usable column `image` or `img`",
            "binary",
            "got label: INT64",
        ],
    );
    write(
        "message schema { required binary image; required double label; }",
        &[],
    );
    refused(
        &plain,
        &[
            "no usable column `label` or `labels`",
            "integers, or the names of classes",
            "label: DOUBLE",
        ],
    );
    write(STRUCT, &[]);
    refused(&plain, &["no images", "no rows"]);

    write(STRUCT, &rows(&[(1, 0)]));
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = refused(&plain, &["set.parquet", "footer", "truncated"]);
    assert!(matches!(error, DataError::Length { .. }));
    fs::write(&path, b"PK\x03\x04 something else altogether").unwrap();
    refused(&plain, &["expected 0x50415231 (parquet), got 0x504b0304"]);
}

#[test]
fn no_damage_makes_it_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.parquet");
    write(
        &path,
        STRUCT,
        properties(Compression::SNAPPY, Some(r#"["a", "b"]"#)),
        &rows(&[(1, 0), (2, 1), (3, 1)]),
    );
    let bytes = fs::read(&path).unwrap();
    survives_damage(&config(DataKind::Parquet, &path), &path, &bytes);
}

/// The reader would reserve as much as the page says it has, before it decompresses anything.
#[test]
fn pages_that_claim_too_much_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.parquet");
    for codec in [Compression::SNAPPY, Compression::ZSTD(Default::default())] {
        write(&path, STRUCT, properties(codec, None), &rows(&[(1, 0)]));
        let mut bytes = fs::read(&path).unwrap();
        // The first page follows the magic number: its type, and its size as a number of two bytes.
        assert_eq!([bytes[4], bytes[5], bytes[6]], [0x15, 4, 0x15]);
        assert!(bytes[7] >= 0x80 && bytes[8] < 0x80);
        let huge = [0x80, 0xbc, 0xc1, 0x96, 0x0b];
        bytes.splice(7..9, huge);
        fs::write(&path, &bytes).unwrap();
        refused(
            &config(DataKind::Parquet, &path),
            &["set.parquet", "says that it has 1500000000 bytes"],
        );
    }
}

/// The reader would take whatever comes out of such a page.
#[test]
fn pages_that_have_more_than_they_say_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.parquet");
    for codec in [
        Compression::GZIP(Default::default()),
        Compression::BROTLI(Default::default()),
        Compression::ZSTD(Default::default()),
    ] {
        write(&path, STRUCT, properties(codec, None), &rows(&[(1, 0)]));
        let mut bytes = fs::read(&path).unwrap();
        assert_eq!([bytes[4], bytes[5], bytes[6]], [0x15, 4, 0x15]);
        assert!(bytes[7] >= 0x80 && bytes[8] < 0x80);
        // One byte less.
        bytes[7] -= 2;
        fs::write(&path, &bytes).unwrap();
        refused(
            &config(DataKind::Parquet, &path),
            &[
                "set.parquet",
                "a page has more than the",
                "bytes that it says it has",
            ],
        );
    }
}
