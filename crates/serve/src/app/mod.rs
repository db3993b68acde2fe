//! What all handlers share: the engine, the settings, and what the APIs remember between requests.

mod clients;
mod jobs;

pub(crate) use jobs::{Restyling, Submitted, Task, TaskKind};

use crate::config::Config;
use crate::engine::Engine;
use clients::A1111Clients;
use jobs::JobStore;
use std::net::SocketAddr;
use std::sync::Arc;

/// The engine, the settings, and what the APIs remember.
pub(crate) struct App {
    pub(crate) engine: Arc<Engine>,
    pub(crate) config: Config,
    pub(crate) address: SocketAddr,
    pub(crate) jobs: JobStore,
    pub(crate) a1111: A1111Clients,
}

impl App {
    pub(crate) fn new(engine: Arc<Engine>, config: Config, address: SocketAddr) -> Self {
        Self {
            engine,
            config,
            address,
            jobs: JobStore::default(),
            a1111: A1111Clients::default(),
        }
    }
}
