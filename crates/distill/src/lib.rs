//! The methods of distillation, the training loop that runs them, and the recipes that describe a
//! run.

mod error;
mod latents;
pub mod method;
pub mod optim;
pub mod recipe;
pub mod run;

pub use fewstep_world::{Launched, RankName, World, WorldError};
pub use latents::{Copies, Encoding, ExtraCopies, LatentsError, LatentsFile};

#[cfg(doctest)]
#[doc = include_str!("../../../docs/add-a-method.md")]
struct AddAMethod;
