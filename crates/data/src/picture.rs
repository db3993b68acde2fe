//! Pictures in and out: read at a size, write as PNG or JPEG, arrange in a grid.

use std::io::Cursor;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::imageops::FilterType;
use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageReader, ImageResult, RgbImage,
};

use crate::dataset::{check_channels, check_side};
use crate::{DataError, ImageShape};

/// One picture, 8 bit, CHW. `pixels` must have `shape.len()` values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// [channels, height, width]; 1 channel (grey) or 3 (RGB).
    pub shape: ImageShape,
    /// The values, [channels, height, width].
    pub pixels: Vec<u8>,
}

/// From a network's [-1, 1] to 8 bit: (x + 1) * 127.5, rounded and clamped; NaN becomes 0.
pub fn to_u8(x: f32) -> u8 {
    ((x + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8
}

/// From 8 bit to a network's [-1, 1]: x / 127.5 - 1.
pub fn to_f32(x: u8) -> f32 {
    f32::from(x) / 127.5 - 1.0
}

impl Picture {
    /// A picture from a network's output: values in [-1, 1], CHW, `shape.len()` of them.
    pub fn from_f32(shape: ImageShape, values: &[f32]) -> Self {
        Self {
            shape,
            pixels: values.iter().map(|&x| to_u8(x)).collect(),
        }
    }

    /// A picture of one colour.
    pub fn filled(shape: ImageShape, value: u8) -> Self {
        Self {
            shape,
            pixels: vec![value; shape.len()],
        }
    }

    /// The same picture with 1 (luminance, Rec. 709) or 3 (RGB) channels.
    pub fn with_channels(self, channels: usize) -> Self {
        let shape = ImageShape {
            channels,
            ..self.shape
        };
        let area = shape.height * shape.width;
        let pixels = match (self.shape.channels, channels) {
            (from, to) if from == to => self.pixels,
            (1, _) => self.pixels.repeat(channels),
            _ => (0..area)
                .map(|i| {
                    let [r, g, b] = [0, 1, 2].map(|c| u32::from(self.pixels[c * area + i]));
                    ((2126 * r + 7152 * g + 722 * b + 5000) / 10_000) as u8
                })
                .collect(),
        };
        Self { shape, pixels }
    }

    /// The picture in the middle of a black square of `side` pixels, which must not be smaller than it.
    pub fn pad_to(self, side: usize) -> Self {
        let mut square = Self::filled(
            ImageShape {
                height: side,
                width: side,
                ..self.shape
            },
            0,
        );
        let (top, left) = (
            (side - self.shape.height) / 2,
            (side - self.shape.width) / 2,
        );
        square.paste(&self, top, left);
        square
    }

    /// The picture resized (Lanczos, which averages when it shrinks) until its shorter side is `side`, and cut to the
    /// square in its middle.
    pub fn resize_to(self, side: usize) -> Self {
        if self.shape.height == side && self.shape.width == side {
            return self;
        }
        let channels = self.shape.channels;
        let side = side as u32;
        let square =
            DynamicImage::from(self.to_rgb()).resize_to_fill(side, side, FilterType::Lanczos3);
        Self::from_rgb(&square.to_rgb8()).with_channels(channels)
    }

    /// Copies `other`, which must have as many channels and fit, with its corner at row `top`, column `left`.
    fn paste(&mut self, other: &Self, top: usize, left: usize) {
        let ImageShape {
            channels,
            height,
            width,
        } = other.shape;
        for channel in 0..channels {
            for row in 0..height {
                let to = (channel * self.shape.height + top + row) * self.shape.width + left;
                let from = (channel * height + row) * width;
                self.pixels[to..to + width].copy_from_slice(&other.pixels[from..from + width]);
            }
        }
    }

    /// The values with the channels innermost, as image files have them: [height, width, channels].
    fn interleaved(&self) -> Vec<u8> {
        let area = self.shape.height * self.shape.width;
        (0..self.pixels.len())
            .map(|i| self.pixels[i % self.shape.channels * area + i / self.shape.channels])
            .collect()
    }

    fn to_rgb(&self) -> RgbImage {
        let rgb = self.clone().with_channels(3);
        let area = rgb.shape.height * rgb.shape.width;
        RgbImage::from_fn(rgb.shape.width as u32, rgb.shape.height as u32, |x, y| {
            let i = y as usize * rgb.shape.width + x as usize;
            image::Rgb([
                rgb.pixels[i],
                rgb.pixels[area + i],
                rgb.pixels[2 * area + i],
            ])
        })
    }

    fn from_rgb(image: &RgbImage) -> Self {
        let shape = ImageShape {
            channels: 3,
            height: image.height() as usize,
            width: image.width() as usize,
        };
        let pixels = (0..3)
            .flat_map(|channel| image.pixels().map(move |pixel| pixel.0[channel]))
            .collect();
        Self { shape, pixels }
    }
}

/// Reads a PNG, JPEG, BMP or WebP file; the contents decide the format, not the name. Transparent parts become white,
/// and a camera's orientation tag is obeyed.
///
/// With `size`, the result is a square of that side, as [`Picture::resize_to`] makes it. `channels` is 1 or 3.
///
/// # Errors
/// A file that cannot be read or decoded, a size of 0, or another number of channels.
pub fn read(path: &Path, size: Option<usize>, channels: usize) -> Result<Picture, DataError> {
    let bytes = std::fs::read(path).map_err(DataError::read(path))?;
    decode(&bytes, &path.display().to_string(), size, channels)
}

/// Decodes the bytes of an image file as [`read`] does; `origin` names them in errors.
///
/// # Errors
/// As [`read`].
pub fn decode(
    bytes: &[u8],
    origin: &str,
    size: Option<usize>,
    channels: usize,
) -> Result<Picture, DataError> {
    check_channels(channels, origin)?;
    if let Some(side) = size {
        check_side(side, origin)?;
    }
    let image = decode_upright(bytes).map_err(|error| DataError::Image {
        origin: origin.to_owned(),
        reason: error.to_string(),
    })?;
    let mut picture = Picture::from_rgb(&over_white(image));
    if let Some(side) = size {
        picture = picture.resize_to(side);
    }
    Ok(picture.with_channels(channels))
}

fn decode_upright(bytes: &[u8]) -> ImageResult<DynamicImage> {
    let mut decoder = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()?
        .into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

fn over_white(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let rgba = image.into_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [colour @ .., alpha] = rgba.get_pixel(x, y).0.map(u32::from);
        image::Rgb(colour.map(|value| ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8))
    })
}

/// Writes `picture` to `path` as PNG.
///
/// # Errors
/// A file that cannot be written, or a picture that is none (no pixels, or not `shape.len()` of them).
pub fn write_png(path: impl AsRef<Path>, picture: &Picture) -> Result<(), DataError> {
    let path = path.as_ref();
    let bytes = encode_png(picture)?;
    std::fs::write(path, bytes).map_err(|source| DataError::Write {
        path: path.to_path_buf(),
        source,
    })
}

/// The bytes of a PNG file.
///
/// # Errors
/// A picture that is none (no pixels, or not `shape.len()` of them).
pub fn encode_png(picture: &Picture) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    encode(picture, |values, width, height, color| {
        PngEncoder::new(&mut bytes).write_image(values, width, height, color)
    })?;
    Ok(bytes)
}

/// The bytes of a JPEG file of `quality` 1 (smallest) to 100 (best).
///
/// # Errors
/// A picture that is none (no pixels, or not `shape.len()` of them).
pub fn encode_jpeg(picture: &Picture, quality: u8) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, quality.clamp(1, 100));
    encode(picture, |values, width, height, color| {
        encoder.write_image(values, width, height, color)
    })?;
    Ok(bytes)
}

/// Gives a checked picture's values [height, width, channels], width, height and colour type to `write`.
fn encode(
    picture: &Picture,
    write: impl FnOnce(&[u8], u32, u32, ExtendedColorType) -> ImageResult<()>,
) -> Result<(), DataError> {
    let origin = "the picture to encode";
    let unusable = |reason: String| DataError::Image {
        origin: origin.into(),
        reason,
    };
    let ImageShape {
        channels,
        height,
        width,
    } = picture.shape;
    check_channels(channels, origin)?;
    let (expected, got) = (picture.shape.len(), picture.pixels.len());
    if expected == 0 || expected != got {
        return Err(unusable(format!(
            "{} needs {expected} values, at least one, and has {got}",
            picture.shape
        )));
    }
    let color = if channels == 1 {
        ExtendedColorType::L8
    } else {
        ExtendedColorType::Rgb8
    };
    write(&picture.interleaved(), width as u32, height as u32, color)
        .map_err(|error| unusable(error.to_string()))
}

/// Pictures side by side on white, `columns` to a row, with `margin` white pixels around each. All cells have the size
/// of the largest picture; grey ones become RGB when others are.
pub fn grid(pictures: &[Picture], columns: usize, margin: usize) -> Picture {
    let largest =
        |side: fn(&ImageShape) -> usize| pictures.iter().map(|p| side(&p.shape)).max().unwrap_or(1);
    let channels = largest(|shape| shape.channels);
    let (height, width) = (
        largest(|shape| shape.height) + margin,
        largest(|shape| shape.width) + margin,
    );
    let columns = columns.clamp(1, pictures.len().max(1));
    let rows = pictures.len().div_ceil(columns).max(1);
    let shape = ImageShape {
        channels,
        height: rows * height + margin,
        width: columns * width + margin,
    };
    let mut sheet = Picture::filled(shape, 255);
    for (i, picture) in pictures.iter().enumerate() {
        let (top, left) = (i / columns * height + margin, i % columns * width + margin);
        sheet.paste(&picture.clone().with_channels(channels), top, left);
    }
    sheet
}
