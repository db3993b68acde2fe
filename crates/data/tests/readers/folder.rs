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
        &["class_names", "2, one for each"],
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
    // What is next to them is left out.
    write(&root.join("assets/1.png"), 3, 2);
    assert_eq!(load(&train).unwrap().classes, ["a"]);
    assert_eq!(load(&test).unwrap().classes, ["c"]);
}

#[test]
fn a_class_may_be_called_train() {
    let folder = tempfile::tempdir().unwrap();
    for class in ["car", "ship", "train"] {
        write(&folder.path().join(class).join("1.png"), 1, 2);
    }
    let plain = config(DataKind::Folder, folder.path());
    assert_eq!(load(&plain).unwrap().classes, ["car", "ship", "train"]);
}

#[test]
fn names_of_splits_may_be_written_large() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("Train/a/1.png"), 1, 2);
    write(&folder.path().join("Validation/b/1.png"), 2, 2);
    let train = config(DataKind::Folder, folder.path());
    let test = DataConfig {
        split: Split::Test,
        ..train.clone()
    };
    assert_eq!((values(&train), values(&test)), (vec![1], vec![2]));
}

#[test]
fn what_systems_leave_is_no_class() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(&root.join("a/1.png"), 1, 2);
    write(&root.join("a/._1.png"), 9, 2);
    write(&root.join("__MACOSX/a/._1.png"), 9, 2);
    write(&root.join("a/@eaDir/1.png"), 9, 2);
    let set = load(&config(DataKind::Folder, root)).unwrap();
    assert_eq!((set.len(), set.classes), (1, vec!["a".to_string()]));
}

#[test]
fn images_of_too_many_pixels_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("large.png"), 1, 40);
    let plain = DataConfig {
        size: Some(4),
        ..config(DataKind::Folder, folder.path())
    };
    let with = |max_pixels| DataConfig {
        max_pixels: Some(max_pixels),
        ..plain.clone()
    };
    assert_eq!(values(&with(1600)), [1]);
    let parts = ["large.png", "40x40 pixels", "at most 1599", "max_pixels"];
    let error = refused(&with(1599), &parts);
    assert!(matches!(error, DataError::TooLarge { .. }));
    refused(&with(0), &["max_pixels = 0", "at least 1"]);
}

#[cfg(unix)]
#[test]
fn devices_are_no_images() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("a.png"), 1, 2);
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("b.png")).unwrap();
    assert_eq!(values(&config(DataKind::Folder, folder.path())), [1]);
    let images = config(DataKind::Idx, Path::new("/dev/zero"));
    refused(&images, &["/dev/zero", "a device"]);
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
