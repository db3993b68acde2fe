//! How images that are not square become squares, and the images given in pairs with them.

use crate::captioned::captioned;
use crate::config;
use fewstep_data::image::{Fit, Image, encode_png, to_f32};
use fewstep_data::{
    Captioned, ConditionConfig, Conditions, DataConfig, DataKind, Draw, ImageShape, Location, load,
};
use std::fs;
use std::path::Path;

const SIDE: usize = 8;

/// An image that is twice as wide as high, from dark on the left to bright on the right.
fn write_wide(file: &Path, height: usize) {
    let shape = ImageShape {
        channels: 3,
        height,
        width: 2 * height,
    };
    let pixels = (0..shape.len()).map(|i| (120 * (i % shape.width) / shape.width + 60) as u8);
    let image = Image {
        shape,
        pixels: pixels.collect(),
    };
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, encode_png(&image).unwrap()).unwrap();
}

/// The control image of the first image.
fn control(conditions: &Conditions) -> Vec<f32> {
    let draw = Draw {
        index: 0,
        flip: false,
    };
    match conditions.source(draw).unwrap() {
        Some(source) => conditions.make(&source, 0, 0),
        None => panic!("there are given images"),
    }
}

#[test]
fn given_images_become_squares_as_their_images_do() {
    let root = tempfile::tempdir().unwrap();
    let [images, given] = ["images", "given"].map(|name| root.path().join(name));
    for folder in [&images, &given] {
        write_wide(&folder.join("a.png"), 16);
    }
    fs::write(images.join("a.txt"), "a cat").unwrap();
    let rule = ConditionConfig::Instruct(Location {
        path: Some(given.clone()),
        column: None,
    });
    let mut seen = vec![];
    for fit in [Fit::Crop, Fit::Pad, Fit::Stretch] {
        let of = |config: DataConfig| DataConfig {
            size: Some(SIDE),
            fit,
            ..config
        };
        let folder = of(config(DataKind::Folder, &images));
        let dataset = load(&folder).unwrap();
        let values: Vec<f32> = dataset.pixels(0).iter().map(|v| to_f32(*v)).collect();
        let conditions = Conditions::open(&rule, &dataset, &folder).unwrap();
        assert_eq!(control(&conditions), values, "{fit:?}");
        let texts = of(captioned(&images));
        let set = Captioned::paired(&texts, rule.given()).unwrap();
        let cache = root.path().join("cache");
        let conditions = Conditions::of_captioned(&rule, &set, &cache).unwrap();
        assert_eq!(control(&conditions), values, "{fit:?}, captioned");
        seen.push((dataset.pixels(0).to_vec(), set));
    }
    // Black above and below the padded image; the ends of the stretched one are there.
    let [cropped, padded, stretched] = [0, 1, 2].map(|i| &seen[i].0[..]);
    assert_eq!(padded[..SIDE], [0; SIDE]);
    assert!(stretched[0] < 70 && cropped[0] > 80 && padded[2 * SIDE] < 75);

    // What is stretched needs no common aspect ratio.
    write_wide(&given.join("a.png"), 16);
    let tall = Image::filled(
        ImageShape {
            channels: 3,
            height: 9,
            width: 3,
        },
        7,
    );
    fs::write(given.join("a.png"), encode_png(&tall).unwrap()).unwrap();
    let check = |fit| {
        let folder = DataConfig {
            size: Some(SIDE),
            fit,
            ..config(DataKind::Folder, &images)
        };
        let dataset = load(&folder).unwrap();
        Conditions::open(&rule, &dataset, &folder).map(drop)
    };
    assert!(check(Fit::Stretch).is_ok());
    assert!(
        check(Fit::Pad)
            .unwrap_err()
            .to_string()
            .contains("aspect ratio")
    );
}
