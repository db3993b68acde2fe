//! Image files of every format, and texts in PNG files.

use crate::{Files, whole};
use fewstep_data::ImageShape;
use fewstep_data::image::{Image, ImageKind, encode_png, with_parameters};
use image::{DynamicImage, ImageBuffer, ImageFormat};
use std::io::Cursor;

pub(crate) fn images() -> Files {
    let grey = ImageBuffer::from_fn(5, 3, |x, y| image::Luma([(50 * x + 20 * y) as u8]));
    let depth = ImageBuffer::from_fn(5, 3, |x, y| image::Luma([(900 * x + 100 * y) as u16]));
    let colours = ImageBuffer::from_fn(5, 3, |x, y| {
        image::Rgba([(50 * x) as u8, (80 * y) as u8, 9, (60 * x + 5) as u8])
    });
    let grey = DynamicImage::from(grey);
    let depth = DynamicImage::from(depth);
    let alpha = DynamicImage::from(colours);
    let rgb = DynamicImage::from(alpha.to_rgb8());
    let written = |image: &DynamicImage, format| {
        let mut bytes = Cursor::new(vec![]);
        image.write_to(&mut bytes, format).expect("written");
        bytes.into_inner()
    };
    let mut files = vec![
        ("grey-png", written(&grey, ImageFormat::Png)),
        ("alpha-png", written(&alpha, ImageFormat::Png)),
        ("depth-png", written(&depth, ImageFormat::Png)),
        ("depth-tiff", written(&depth, ImageFormat::Tiff)),
        ("depth-pnm", written(&depth, ImageFormat::Pnm)),
        ("alpha-webp", written(&alpha, ImageFormat::WebP)),
        ("jpeg", written(&rgb, ImageFormat::Jpeg)),
        ("bmp", written(&rgb, ImageFormat::Bmp)),
        ("gif", written(&alpha, ImageFormat::Gif)),
        ("pnm", written(&rgb, ImageFormat::Pnm)),
        ("tiff", written(&alpha, ImageFormat::Tiff)),
    ];
    let commented = ImageKind::Jpeg.encode(&pixel(), Some("a cat\nSteps: 4"));
    files.push(("exif-jpeg", commented.expect("an image")));
    named(files)
}

pub(crate) fn parameters() -> Files {
    let png = encode_png(&pixel()).expect("an image");
    named(vec![
        ("latin", with_parameters(&png, "a café\nSteps: 4, Seed: 1")),
        ("unicode", with_parameters(&png, "a cat 猫\nSteps: 4")),
    ])
}

/// A PNG file of one pixel.
pub(crate) fn png() -> Vec<u8> {
    encode_png(&pixel()).expect("an image")
}

fn pixel() -> Image {
    let shape = ImageShape {
        channels: 1,
        height: 1,
        width: 1,
    };
    Image::filled(shape, 90)
}

fn named(files: Vec<(&str, Vec<u8>)>) -> Files {
    let files = files.into_iter();
    files.map(|(name, bytes)| (whole(name), bytes)).collect()
}
