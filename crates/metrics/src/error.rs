//! What can go wrong, said so that the reader can correct it.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, MetricsError>;

/// A measurement that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// A pixel buffer is not a whole number of images.
    #[error(
        "{len} bytes are not a whole number of {channels}x{height}x{width} images of {} bytes each",
        channels * height * width
    )]
    PixelCount {
        /// Bytes given.
        len: usize,
        /// Channels of an image.
        channels: usize,
        /// Rows of an image.
        height: usize,
        /// Columns of an image.
        width: usize,
    },
    /// A network does not take images of this shape.
    #[error("{network} takes {expected} images, got {got:?} (channels, height, width)")]
    ImageShape {
        /// Name of the network.
        network: String,
        /// What it takes.
        expected: &'static str,
        /// Channels, height, width of the images.
        got: [usize; 3],
    },
    /// Two sets of images for a comparison of pairs do not pair up.
    #[error("{} images of {:?} (channels, height, width) cannot be compared one by one with {} of {:?}: both sets must have the same number and shape", restored.0, restored.1, truth.0, truth.1)]
    NotPaired {
        /// Number and shape of the first set.
        restored: (usize, [usize; 3]),
        /// Number and shape of the second.
        truth: (usize, [usize; 3]),
    },
    /// A metric needs more samples.
    #[error("{metric} needs at least {needed} samples, got {got}")]
    TooFewSamples {
        /// The metric.
        metric: &'static str,
        /// Fewest samples it is defined for.
        needed: usize,
        /// Samples given.
        got: usize,
    },
    /// A count that must be at least one is zero.
    #[error("{what} must be at least 1")]
    Zero {
        /// The argument.
        what: &'static str,
    },
    /// A buffer does not hold whole rows.
    #[error("{len} values are not a whole number of rows of {width}")]
    RowWidth {
        /// Values given.
        len: usize,
        /// Values of a row.
        width: usize,
    },
    /// Two sets of features have different widths.
    #[error(
        "features of {left} and of {right} dimensions cannot be compared: \
         measure both sets with the same network"
    )]
    DimensionMismatch {
        /// Dimensions of the first set.
        left: usize,
        /// Dimensions of the second set.
        right: usize,
    },
    /// Reference statistics belong to another network.
    #[error(
        "the reference statistics of {source_name} were made with {reference}, \
         but the network in use is {network}: make them again with this network"
    )]
    NetworkMismatch {
        /// What the reference was made from.
        source_name: String,
        /// Name and hash of the reference's network.
        reference: String,
        /// Name and hash of the network in use.
        network: String,
    },
    /// Not-a-number or infinite activations.
    #[error("{metric} got activations that are not finite: the images or the weights are broken")]
    NotFinite {
        /// The metric.
        metric: &'static str,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Bytes that are no safetensors file.
    #[error("{origin} is no readable safetensors file: {source}")]
    Format {
        /// Where the bytes came from.
        origin: String,
        /// The parser's error.
        source: safetensors::SafeTensorError,
    },
    /// A safetensors file that holds something else than expected.
    #[error("{origin} does not hold {wanted}: {problems}")]
    Content {
        /// Where the bytes came from.
        origin: String,
        /// What should be in it.
        wanted: String,
        /// What is missing or has another shape.
        problems: String,
    },
}
