//! Everything that generates images with a model: finding it by the name that a user gives, loading
//! it, encoding prompts, sampling pixels or latents, decoding. It knows no command line and no
//! server; both use it.
//!
//! - [`ModelSource`] finds a model: a folder, a file, a run, `builtin:NAME`, or a name on the hub.
//! - [`Generator`] is a model ready to generate. It takes a [`Request`] and returns images; an
//!   observer sees every step, can show previews, and can cancel.
//! - [`Restyler`] turns images of one class or prompt into images of another.
//!
//! ```no_run
//! use burn::tensor::Device;
//! use fewstep_generate::{ImageRequest, LoadOptions, ModelSource, Subject, ignore};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let source = ModelSource::find("builtin:fashion-mnist", Some(4))?;
//! let generator = source.generator(&LoadOptions::default(), &Device::flex())?;
//! let sneakers = (0..4).map(|index| ImageRequest {
//!     subject: Subject::Class(7),
//!     w: Some(1.0),
//!     ..ImageRequest::new(0, index)
//! });
//! let request = generator.request(sneakers.collect());
//! let images = generator.generate(&request, &mut ignore)?;
//! assert_eq!(images.len(), 4);
//! # Ok(())
//! # }
//! ```

mod classes;
mod control;
mod error;
mod generator;
mod images;
mod init;
mod parameters;
mod prompts;
mod registry;
mod request;
mod restyle;

pub use classes::{UnknownClass, find_class};
pub use control::ControlImage;
pub use error::GenerateError;
pub use fewstep_kernels::memory::Predicted;
pub use generator::{Extent, Generator, KeptGuidance, Progress, ignore};
pub use images::{from_images, to_images};
pub use init::Init;
pub use parameters::{scale_of, w_of};
pub use prompts::KeepEncoder;
pub use registry::{
    Builtin, Candidate, Choice, EmbeddingChoice, Family, HubModel, LoadOptions, LoraChoice,
    ModelSource, RegistryError, builtin_models, find_part, hub_models, run_models,
};
pub use request::{ImageRequest, Request, Subject};
pub use restyle::{RestyleError, RestyleRequest, RestyleStep, Restyler};

/// The examples of the book's page on the libraries compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/library.md")]
struct LibraryPage;
