//! Image datasets in host memory, and the deterministic order in which training sees them.
//!
//! - [`load`] reads what a [`DataConfig`] names (IDX, CIFAR-10, a folder of images, parquet) into a
//!   [`Dataset`]: all images of one shape, 8 bit, CHW, with their labels.
//! - [`Captioned`] is a set of images with captions, which stays on disk; [`Source`] is a captioned
//!   or a labelled set whose images are encoded to [`Latents`].
//! - [`ExampleOrder`] says which example the n-th sample of a run is. It is a pure function of
//!   (seed, clock), where the clock counts the samples seen, so that a resumed run sees exactly
//!   what an uninterrupted one does.
//! - [`batch`] and [`Loader`] make [`HostBatch`]es: f32 in [-1, 1], NCHW; the loader runs ahead on
//!   a thread.
//! - [`Conditions`] makes the control image of each example: a smaller or masked image, edges, or a
//!   given image.
//! - [`image`] reads and writes single images and grids.
//!
//! The crate knows no tensor library: it hands out slices. Every [`DataError`] says what was
//! expected, what was found, where, and what to do.

#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod amount;
mod batch;
mod cache;
mod captioned;
mod checks;
mod cifar;
mod classes;
mod collector;
pub mod condition;
mod config;
mod dataset;
mod error;
mod examples;
mod folder;
mod idx;
pub mod image;
mod input;
mod latents;
mod listing;
mod load;
mod loader;
mod order;
mod pairs;
mod parquet;
mod shape;
mod skip;
mod source;
mod splits;
mod stored;
mod survey;

pub use amount::amount;
pub use batch::{HostArray, HostBatch, HostInputs, HostTexts, batch};
pub use captioned::{Captioned, Check, Contents, Example};
pub use condition::{ConditionConfig, Conditions, MaskKind, Masks};
pub use config::{DataConfig, DataKind, Split, expand_home};
pub use dataset::Dataset;
pub use error::DataError;
pub use examples::Examples;
pub use folder::load_images;
pub use idx::{FASHION_MNIST_CLASSES, parse_idx};
pub use input::read_text;
pub use latents::{Latents, LatentsHeader, LatentsWriter};
pub use load::{fit, load};
pub use loader::Loader;
pub use order::{Draw, ExampleOrder};
pub use pairs::{GivenImages, GivenKind, Location};
pub use shape::ImageShape;
pub use source::{Labelled, Source};
pub use stored::{StoredFile, StoredSet, is_archive};
pub use survey::{Problem, SKIP_LIST_HEAD, Survey, survey};
