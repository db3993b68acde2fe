//! What can be wrong with a dataset, said so that its owner can correct it.

use crate::{ImageShape, amount};
use fewstep_diffusion::limits::OutOfRange;
use std::path::{Path, PathBuf};

/// A dataset or image that cannot be read, used or written.
///
/// `origin` fields name the place: a file, and within it the record, row or byte where that is
/// known.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system refused to read a file or a folder.
    #[error("cannot read {}: {source}; check the path and its permissions", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// An image or a cache could not be written.
    #[error("cannot write {}: {source}; check that the folder exists, is writable and has space", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file that the kind of dataset needs is not there.
    #[error("no {wanted} in {}: {hint}", path.display())]
    Missing {
        /// The folder (or file) that was searched.
        path: PathBuf,
        /// The accepted names.
        wanted: String,
        /// What to do.
        hint: String,
    },
    /// A folder, file or class has no images.
    #[error("{origin}: no images, expected at least one; {hint}")]
    Empty {
        /// What was searched.
        origin: String,
        /// What to do.
        hint: String,
    },
    /// One image could not be decoded or encoded.
    #[error("{origin}: unreadable image: {reason}; replace or remove it")]
    Image {
        /// The file, or the file and record.
        origin: String,
        /// The decoder's reason.
        reason: String,
    },
    /// Latents that are only planned were requested.
    #[error("the latents of {name} are not made yet")]
    NotMade {
        /// What the set is called.
        name: String,
    },
    /// An image has more pixels than are allowed.
    #[error(
        "{origin}: an image of {width}x{height} pixels, expected at most {limit} in all; make it smaller, remove it, or allow more (`max_pixels`)"
    )]
    TooLarge {
        /// The file, or the file and record.
        origin: String,
        /// Columns of pixels.
        width: u32,
        /// Rows of pixels.
        height: u32,
        /// How many pixels are allowed.
        limit: u64,
    },
    /// An image and the one given with it do not show the same part of a scene.
    #[error(
        "{origin}: an image of {}x{} pixels, and the one given with it, {partner}, of {}x{}: the squares in their middles would show different parts; bring both to one aspect ratio",
        image[0], image[1], given[0], given[1]
    )]
    Aspect {
        /// The file, or the file and record, of the image.
        origin: String,
        /// The same of the given image.
        partner: String,
        /// Width and height of the image.
        image: [u32; 2],
        /// Width and height of the given image.
        given: [u32; 2],
    },
    /// A mask does not say what is to be filled.
    #[error("{origin}: no usable mask: {reason}")]
    Mask {
        /// The file.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// A label names no class.
    #[error("{origin}: label {label} is out of range: expected 0 to {} ({classes} classes); correct the labels or the class names", .classes.saturating_sub(1))]
    LabelRange {
        /// The file and record.
        origin: String,
        /// The label found.
        label: i64,
        /// How many classes there are.
        classes: usize,
    },
    /// The classes of a set have other names than those of the model.
    #[error(
        "{origin}: its classes are not those of the model: {difference}; name them as the model does (`class_names` gives them other names, in the order of the labels), or choose other data"
    )]
    ClassNames {
        /// The set.
        origin: String,
        /// A class that only one of both has.
        difference: String,
    },
    /// A set and a model have different numbers of classes, and not both have names.
    #[error(
        "{origin}: {found} classes, expected labelled images of {expected} classes, which the model has"
    )]
    ClassCount {
        /// The set.
        origin: String,
        /// How many it has.
        found: usize,
        /// How many the model has.
        expected: usize,
    },
    /// A binary file is shorter or longer than its format says.
    #[error(
        "{origin}: expected {expected}, got {got}; the file is truncated or damaged, fetch it again"
    )]
    Length {
        /// The file, and where in it.
        origin: String,
        /// The length that the format asks for.
        expected: String,
        /// What the file has.
        got: String,
    },
    /// A file does not start as its format must.
    #[error(
        "{origin}: wrong magic number: expected {expected:#010x} ({format}), got {got:#010x}; is this the right file?"
    )]
    Magic {
        /// The file.
        origin: String,
        /// The format expected.
        format: &'static str,
        /// Its first four bytes, as a big-endian number.
        expected: u32,
        /// The file's first four bytes, as a big-endian number.
        got: u32,
    },
    /// A file's contents contradict its format.
    #[error("{origin}: damaged: {reason}")]
    Damaged {
        /// The file, and where in it.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// An image is not of the shape of the others.
    #[error(
        "{origin}: expected an image of {expected}, as the first one, got {got}; set `size` to resize all images to one side"
    )]
    Shape {
        /// The file or record.
        origin: String,
        /// The shape of the set.
        expected: ImageShape,
        /// The shape of this image.
        got: ImageShape,
    },
    /// A set with classes for a model without.
    #[error(
        "{origin}: it has {found} classes, and the model has none: `labels = false` reads the images without them"
    )]
    NoClasses {
        /// The set.
        origin: String,
        /// Its number of classes.
        found: usize,
    },
    /// Images and labels do not pair up.
    #[error(
        "{origin}: {images} images but {labels} labels; expected one label per image, so the files do not belong together"
    )]
    Count {
        /// The files.
        origin: String,
        /// How many images.
        images: usize,
        /// How many labels.
        labels: usize,
    },
    /// A parquet file lacks a usable column.
    #[error("{}: no usable column `{wanted}`: expected {expected}, got {got}", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column's accepted names.
        wanted: String,
        /// Its accepted types.
        expected: &'static str,
        /// What the file has.
        got: String,
    },
    /// A parquet file is compressed in a way that is not supported.
    #[error(
        "{}: compressed with {codec}; expected zstd, snappy, gzip, brotli, lz4 or none; write the file again with one of these",
        path.display()
    )]
    Compression {
        /// The file.
        path: PathBuf,
        /// The codec's name.
        codec: String,
    },
    /// One example of a captioned set cannot be used.
    #[error("{origin}: {reason}")]
    Example {
        /// The file, or the shard and sample.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// One line of a list of examples cannot be used: what and where.
    #[error("{0}")]
    Listed(String),
    /// Examples of a captioned set cannot be used.
    #[error(
        "{origin}: {bad} example(s) cannot be used: {}; correct or remove them",
        named(problems, *bad)
    )]
    Examples {
        /// The set.
        origin: String,
        /// How many.
        bad: usize,
        /// The first of them, each with its place.
        problems: Vec<String>,
    },
    /// A cache of latents cannot be used.
    #[error("the cache {}: {reason}; remove it to have it made again", path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// More images than the memory of the machine holds.
    #[error(
        "{images} images of {shape} in {origin} take {} of memory, and there are at most {}: use a smaller `size` or a `limit`",
        amount(*needed), amount(*most)
    )]
    Memory {
        /// Where they are.
        origin: String,
        /// How many.
        images: usize,
        /// The shape that they would have.
        shape: ImageShape,
        /// Bytes of all.
        needed: u64,
        /// Bytes that they may take.
        most: u64,
    },
    /// A number of the configuration outside its range.
    #[error(transparent)]
    Number(#[from] OutOfRange),
    /// The configuration asks for something that the data cannot give.
    #[error("{key} = {got} does not fit {origin}: expected {expected}")]
    Config {
        /// The key of the configuration.
        key: &'static str,
        /// Its value.
        got: String,
        /// What it was applied to.
        origin: String,
        /// What would fit.
        expected: String,
    },
}

fn named(problems: &[String], bad: usize) -> String {
    let mut text = problems.join("; ");
    if bad > problems.len() {
        text.push_str(&format!("; and {} more", bad - problems.len()));
    }
    text
}

impl DataError {
    /// A closure for `map_err`: the error of reading `path`.
    pub(crate) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Read {
            path: path.to_path_buf(),
            source,
        }
    }
}
