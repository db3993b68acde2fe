//! Generating images over HTTP: batches across clients, the APIs of other servers, and a page.
//!
//! [`run`] serves until the process is told to stop. One thread owns the device and generates;
//! requests of any client that go together share its network calls. This crate knows models only
//! as `fewstep-generate` offers them, and never sees a tensor.

mod api;
mod app;
mod config;
mod connections;
mod engine;
mod error;
mod guard;
mod images;
mod page;
mod server;

pub use config::{Config, Limits, Load, NamedModel};
pub use error::ServeError;
pub use server::{Ended, run};
