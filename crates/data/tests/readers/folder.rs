//! Folders of image files.

use crate::{config, refused};
use fewstep_data::image::{Image, encode_jpeg, encode_png};
use fewstep_data::{DataConfig, DataError, DataKind, ImageShape, Split, load};
use std::fs;
use std::path::Path;

fn square(value: u8, side: usize) -> Image {
    Image::filled(
        ImageShape {
            channels: 3,
            height: side,
            width: side,
        },
        value,
    )
}

fn write(path: &Path, value: u8, side: usize) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, encode_png(&square(value, side)).unwrap()).unwrap();
}

/// The first value of each image.
fn values(config: &DataConfig) -> Vec<u8> {
    let set = load(config).unwrap();
    (0..set.len()).map(|i| set.pixels(i)[0]).collect()
}

#[test]
fn classes_are_the_sub_folders_sorted() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(&root.join("dog/b.png"), 4, 2);
    write(&root.join("cat/10.PNG"), 1, 2);
    write(&root.join("cat/9.png"), 2, 2);
    write(&root.join("dog/a/z.png"), 3, 2);
    fs::write(root.join("cat/notes.txt"), "no image").unwrap();
    write(&root.join("cat/.hidden.png"), 9, 2);
    write(&root.join("stray.png"), 9, 2);
    let plain = config(DataKind::Folder, root);
    let set = load(&plain).unwrap();
    assert_eq!(set.classes, ["cat", "dog"]);
    assert_eq!(set.labels(), Some(&[0, 0, 1, 1][..]));
    assert_eq!(
        set.shape,
        ImageShape {
            channels: 3,
            height: 2,
            width: 2
        }
    );
    assert_eq!(values(&plain), [1, 2, 3, 4]);
    assert_eq!(
        values(&DataConfig {
            limit: Some(2),
            ..plain.clone()
        }),
        [1, 3]
    );
    let names = Some(vec!["Katze".to_owned(), "Hund".to_owned()]);
    assert_eq!(
        load(&DataConfig {
            class_names: names,
            ..plain.clone()
        })
        .unwrap()
        .classes[1],
        "Hund"
    );
    let many = Some(vec![String::new(); 3]);
    refused(
        &DataConfig {
            class_names: many,
            ..plain
        },
        &["class_names", "2 name(s)"],
    );
}

#[test]
fn a_flat_folder_is_unlabelled() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("1.png"), 1, 8);
    fs::write(
        folder.path().join("2.jpg"),
        encode_jpeg(&square(200, 5), 100).unwrap(),
    )
    .unwrap();
    let plain = config(DataKind::Folder, folder.path());
    let set = load(&DataConfig {
        size: Some(4),
        channels: Some(1),
        ..plain
    })
    .unwrap();
    assert_eq!(
        (set.len(), set.pixels(0).len(), set.label(1)),
        (2, 16, None)
    );
    assert!(set.classes.is_empty());
    assert!(set.pixels(1).iter().all(|value| value.abs_diff(200) < 3));
}

#[test]
fn more_images_than_one_chunk_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..1500 {
        write(
            &folder.path().join(format!("{i:05}.png")),
            (i % 251) as u8,
            1,
        );
    }
    let expected: Vec<u8> = (0..1500).map(|i| (i % 251) as u8).collect();
    assert_eq!(values(&config(DataKind::Folder, folder.path())), expected);
}

#[test]
fn splits_in_sub_folders_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(&root.join("train/a/1.png"), 1, 2);
    let train = config(DataKind::Folder, root);
    let test = DataConfig {
        split: Split::Test,
        ..train.clone()
    };
    assert_eq!(load(&train).unwrap().classes, ["a"]);
    refused(&test, &["test", "validation", "sub-folder"]);
    write(&root.join("val/b/1.png"), 2, 2);
    assert_eq!(load(&test).unwrap().classes, ["b"]);
    write(&root.join("test/c/1.png"), 2, 2);
    assert_eq!(load(&test).unwrap().classes, ["c"]);
    // A class may be called "train" when the other sub-folders are no splits.
    write(&root.join("ship/1.png"), 3, 2);
    assert_eq!(
        load(&train).unwrap().classes,
        ["ship", "test", "train", "val"]
    );
}

#[test]
fn bad_folders_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let plain = config(DataKind::Folder, folder.path());
    let place = folder.path().display().to_string();
    refused(&plain, &[&place, "no images", "PNG"]);
    fs::create_dir(folder.path().join("empty")).unwrap();
    refused(
        &plain,
        &["empty", "no images", "every sub-folder is a class"],
    );
    let nowhere = config(DataKind::Folder, &folder.path().join("nowhere"));
    assert!(matches!(
        refused(&nowhere, &["cannot read", "nowhere"]),
        DataError::Read { .. }
    ));
}

#[test]
fn bad_images_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let plain = config(DataKind::Folder, folder.path());
    write(&folder.path().join("a.png"), 1, 2);
    write(&folder.path().join("b.png"), 1, 3);
    refused(
        &plain,
        &["b.png", "expected an image of 2x2", "got 3x3", "set `size`"],
    );
    fs::write(folder.path().join("b.png"), "text").unwrap();
    fs::write(folder.path().join("c.png"), "text").unwrap();
    let error = refused(&plain, &["b.png", "unreadable image"]);
    assert!(matches!(error, DataError::Image { .. }));
}
