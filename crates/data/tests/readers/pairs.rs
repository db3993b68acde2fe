//! Images that are given with those of a set: which belongs to which, and whether they fit.

use crate::captioned::{captioned, png, refused, write_tar};
use crate::config;
use crate::parquet::write_pairs;
use fewstep_data::image::{Image, encode_jpeg, encode_png};
use fewstep_data::{
    Captioned, Check, ConditionConfig, Conditions, DataConfig, DataKind, ImageShape, Location, load,
};
use std::fs;
use std::path::Path;

fn of_size(height: usize, width: usize) -> Vec<u8> {
    let shape = ImageShape {
        channels: 3,
        height,
        width,
    };
    encode_png(&Image::filled(shape, 100)).unwrap()
}

fn place(path: Option<&Path>, column: Option<&str>) -> Location {
    Location {
        path: path.map(Path::to_path_buf),
        column: column.map(String::from),
    }
}

/// What is wrong with the conditions of a folder of images.
fn of_folder(data: &DataConfig, location: Location) -> Option<String> {
    let dataset = load(data).unwrap();
    let opened = Conditions::open(&ConditionConfig::Depth(location), &dataset, data);
    opened.err().map(|error| error.to_string())
}

/// The same of a captioned set.
fn of_captioned(data: &DataConfig, location: Location) -> Option<String> {
    let rule = ConditionConfig::Image(location);
    let set = Captioned::paired(data, rule.given()).unwrap();
    set.check(Check::Present)
        .err()
        .map(|error| error.to_string())
}

fn assert_says(message: Option<String>, parts: &[&str]) {
    let message = message.unwrap();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

#[test]
fn two_partners_of_one_name_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let [images, given] = ["images", "given"].map(|name| root.path().join(name));
    for folder in [&images, &given] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("a.png"), of_size(4, 4)).unwrap();
    }
    fs::write(images.join("a.txt"), "a cat").unwrap();
    let folder = DataConfig {
        size: Some(4),
        ..config(DataKind::Folder, &images)
    };
    let texts = captioned(&images);
    let location = || place(Some(&given), None);
    assert_eq!(of_folder(&folder, location()), None);
    assert_eq!(of_captioned(&texts, location()), None);
    let shape = ImageShape {
        channels: 3,
        height: 4,
        width: 4,
    };
    let jpeg = encode_jpeg(&Image::filled(shape, 1), 90).unwrap();
    fs::write(given.join("a.jpg"), &jpeg).unwrap();
    let parts = ["a.png", "2 images named `a`", "a.jpg", "keep one"];
    assert_says(of_folder(&folder, location()), &parts);
    assert_says(of_captioned(&texts, location()), &parts);

    // Two images that share a caption are no clearer.
    fs::remove_file(given.join("a.jpg")).unwrap();
    fs::write(images.join("a.jpg"), jpeg).unwrap();
    refused(&texts, &["a.jpg and a.png have one name and one caption"]);
}

#[test]
fn pairs_of_different_aspect_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let [images, given] = ["images", "given"].map(|name| root.path().join(name));
    for folder in [&images, &given] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(images.join("a.png"), of_size(48, 64)).unwrap();
    fs::write(images.join("a.txt"), "a cat").unwrap();
    let folder = DataConfig {
        size: Some(8),
        ..config(DataKind::Folder, &images)
    };
    let write = |height, width| fs::write(given.join("a.png"), of_size(height, width)).unwrap();
    let location = || place(Some(&given), None);
    write(24, 32);
    assert_eq!(of_folder(&folder, location()), None);
    assert_eq!(of_captioned(&captioned(&images), location()), None);
    write(64, 64);
    let parts = ["a.png", "64x48", "64x64", "aspect ratio"];
    assert_says(of_folder(&folder, location()), &parts);
    assert_says(of_captioned(&captioned(&images), location()), &parts);
}

#[test]
fn pairs_in_one_file_must_fit_too() {
    let root = tempfile::tempdir().unwrap();
    let tar = root.path().join("0.tar");
    let members = [
        ("a.png", &of_size(8, 12)[..]),
        ("a.depth.png", &of_size(8, 8)),
        ("a.txt", b"a cat"),
    ];
    write_tar(&tar, &members);
    let location = place(None, Some("depth.png"));
    assert_says(
        of_captioned(&captioned(&tar), location),
        &["`a`", "12x8", "8x8"],
    );

    let path = root.path().join("set.parquet");
    write_pairs(&path, &[(png(1), of_size(8, 8))]);
    let data = DataConfig {
        size: Some(4),
        ..config(DataKind::Parquet, &path)
    };
    assert_eq!(of_folder(&data, place(None, Some("before"))), None);
    write_pairs(&path, &[(png(1), of_size(8, 12))]);
    let message = of_folder(&data, place(None, Some("before")));
    assert_says(message, &["row 0", "4x4", "12x8"]);
}
