//! Image datasets in host memory, and the deterministic order in which training sees them.
//!
//! - [`load`] reads what a [`DataConfig`] names (IDX, CIFAR-10, a folder of images, parquet) into a [`Dataset`]:
//!   all images of one shape, 8 bit, CHW, with their labels.
//! - [`Captioned`] is a set of images with captions, which stays on disk; [`Source`] is one, or a labelled set, whose
//!   images are to become [`Latents`].
//! - [`ExampleOrder`] says which example the n-th sample of a run is. It is a pure function of (seed, clock), where the
//!   clock counts the samples seen, so that a resumed run sees exactly what an uninterrupted one does.
//! - [`batch`] and [`Loader`] make [`HostBatch`]es: f32 in [-1, 1], NCHW; the loader runs ahead on a thread.
//! - [`Conditions`] makes the control image of each example: smaller, with a hole, its edges, or a given one.
//! - [`image`] reads and writes single images and grids.
//!
//! The crate knows no tensor library: it hands out slices. Every [`DataError`] says what was expected, what came,
//! where, and what to do.

#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod cache;
mod captioned;
mod cifar;
pub mod condition;
mod config;
mod dataset;
mod error;
mod examples;
mod folder;
mod gather;
mod idx;
pub mod image;
mod latents;
mod loader;
mod order;
mod parquet;
mod shape;
mod source;

pub use captioned::{Captioned, Check, Contents, Example};
pub use condition::{ConditionConfig, Conditions, Holes, Location, MaskKind};
pub use config::{DataConfig, DataKind, Split, expand_home, load};
pub use dataset::Dataset;
pub use error::DataError;
pub use examples::Examples;
pub use idx::{FASHION_MNIST_CLASSES, parse_idx};
pub use latents::{Latents, LatentsHeader, LatentsWriter};
pub use loader::{HostArray, HostBatch, HostInputs, Loader, batch};
pub use order::{ExampleOrder, Pick};
pub use shape::ImageShape;
pub use source::{Labelled, Source};
