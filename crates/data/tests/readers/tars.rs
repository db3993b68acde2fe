//! Tars of the WebDataset layout, as people have them.

use crate::captioned::{captioned, png, read, refused, write_tar};
use fewstep_data::{DataConfig, Split};
use std::path::Path;

fn example(key: &str, value: u8) -> Vec<(String, Vec<u8>)> {
    let text = format!("image {value}").into_bytes();
    vec![
        (format!("{key}.png"), png(value)),
        (format!("{key}.txt"), text),
    ]
}

fn write(path: &Path, files: &[(String, Vec<u8>)]) {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
    write_tar(path, &files);
}

fn values(config: &DataConfig) -> Vec<u8> {
    read(config).into_iter().map(|(_, value)| value).collect()
}

#[test]
fn tars_are_told_apart_by_their_splits() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (name, value) in [("train-000", 1), ("train-001", 2), ("test-000", 3)] {
        write(&root.join(format!("{name}.tar")), &example("a", value));
    }
    let train = captioned(root);
    let test = DataConfig {
        split: Split::Test,
        ..train.clone()
    };
    assert_eq!((values(&train), values(&test)), (vec![1, 2], vec![3]));
    // One file is read whatever it is called.
    assert_eq!(values(&captioned(&root.join("test-000.tar"))), [3]);
    std::fs::remove_file(root.join("test-000.tar")).unwrap();
    refused(&test, &["no `*.tar` file for the split", "test-*.tar"]);
}

#[test]
fn tars_in_folders_of_splits_are_found() {
    let folder = tempfile::tempdir().unwrap();
    for (part, value) in [("train", 1), ("validation", 2), ("docs", 3)] {
        let part = folder.path().join(part);
        std::fs::create_dir(&part).unwrap();
        write(&part.join("0.tar"), &example("a", value));
    }
    let train = captioned(folder.path());
    let test = DataConfig {
        split: Split::Test,
        ..train.clone()
    };
    assert_eq!((values(&train), values(&test)), (vec![1], vec![2]));
}

#[test]
fn what_macos_adds_is_no_example() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0.tar");
    let mac = |name: &str| (name.to_string(), b"Mac OS X".to_vec());
    let mut files = vec![
        mac("./._a.png"),
        mac(".DS_Store"),
        mac("__MACOSX/set/._a.txt"),
    ];
    files.extend(example("./set/a", 1));
    files.push(mac("./set/._b.png"));
    files.extend(example("./set/b", 2));
    write(&path, &files);
    assert_eq!(values(&captioned(&path)), [1, 2]);
}

#[test]
fn it_must_be_clear_which_image_and_which_caption_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0.tar");
    let mut files = example("a", 1);
    files.insert(1, ("a.jpg".into(), png(2)));
    write(&path, &files);
    let plain = captioned(&path);
    refused(
        &plain,
        &[
            "sample 1 (`a`): two images with it, `.png` and `.jpg`",
            "data.column",
        ],
    );
    let chosen = DataConfig {
        column: Some("jpg".into()),
        ..plain.clone()
    };
    assert_eq!(values(&chosen), [2]);

    files = example("a", 1);
    files.push(("a.caption".into(), b"another".to_vec()));
    write(&path, &files);
    refused(
        &plain,
        &[
            "two captions with it, `.txt` and `.caption`",
            "data.caption",
        ],
    );
    let chosen = DataConfig {
        caption: Some("caption".into()),
        ..plain.clone()
    };
    assert_eq!(read(&chosen), [("another".to_string(), 1)]);

    // A plain ending comes before longer ones; of longer ones there may be one.
    files = example("a", 1);
    files.push(("a.mask.png".into(), png(9)));
    files.extend([
        ("b.left.png".into(), png(2)),
        ("b.txt".into(), b"b".to_vec()),
    ]);
    write(&path, &files);
    assert_eq!(values(&plain), [1, 2]);
    files.push(("b.right.png".into(), png(3)));
    write(&path, &files);
    refused(
        &plain,
        &["(`b`): two images", "`.left.png` and `.right.png`"],
    );
}

#[test]
fn a_name_may_be_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0.tar");
    let mut files = example("a", 1);
    files.extend(example("b", 2));
    files.push(("a.png".into(), png(3)));
    write(&path, &files);
    refused(&captioned(&path), &["0.tar", "two files `a.png`"]);
    files.pop();
    files.insert(1, ("./a.png".into(), png(3)));
    write(&path, &files);
    refused(&captioned(&path), &["0.tar", "two files `a.png`"]);
}
