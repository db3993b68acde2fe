//! How the server is set up.

use fewstep_generate::{Family, Generator, ModelSource, RegistryError};
use std::net::SocketAddr;
use std::time::Duration;

/// Loads a model that was found, on the device of the server.
pub type Load = Box<dyn Fn(&ModelSource) -> Result<Generator, RegistryError> + Send>;

/// A model by the name that requests give it.
#[derive(Clone, Debug)]
pub struct NamedModel {
    /// The name in requests.
    pub name: String,
    /// What the person who started the server wrote for it, which requests may say too.
    pub reference: String,
    /// The models that it stands for.
    pub family: Family,
}

/// How the server is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub address: SocketAddr,
    /// What clients must present as bearer token, or as the password of Basic authentication.
    pub token: Option<String>,
    /// Names of hosts that the `Host` header may have, if the address is a loopback one; those of
    /// the machine itself are always among them.
    pub hosts: Vec<String>,
    /// Origins of other web pages that may use the server.
    pub cors: Vec<String>,
    /// The models; the first is loaded at start.
    pub models: Vec<NamedModel>,
    /// Bytes that the weights of loaded models may have; without one, all stay loaded.
    pub memory: Option<u64>,
    /// Bytes of memory that the machine gives the program, which a model with its work must fit
    /// into; without one, that is not checked.
    pub machine: Option<u64>,
    /// Images in one network call, at most; by default what the model's generator says.
    pub batch: Option<usize>,
    /// Requests that wait or run, at most.
    pub queue: usize,
    /// How long a request may take, waiting included.
    pub timeout: Duration,
    /// How long running requests may go on after a signal to stop.
    pub grace: Duration,
    /// Bounds of single requests.
    pub limits: Limits,
}

/// Bounds of single requests.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body: usize,
    /// Pixels of an image in a request, checked before it is decoded.
    pub pixels: u64,
    /// Images of one request.
    pub images: usize,
    /// Sampling steps.
    pub steps: usize,
    /// Bytes of a prompt.
    pub prompt: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 32 << 20,
            pixels: 1 << 24,
            images: 64,
            steps: 250,
            prompt: 4096,
        }
    }
}

impl Limits {
    /// How many times as many pixels as the training images an image may have.
    pub(crate) const GROWTH: usize = 4;
}
