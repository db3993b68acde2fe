//! What all handlers share.

use super::a1111::A1111;
use super::native::JobStore;
use crate::config::Config;
use crate::engine::Engine;
use std::net::SocketAddr;
use std::sync::Arc;

/// The engine, the settings, and what the APIs remember.
pub(crate) struct App {
    pub(crate) engine: Arc<Engine>,
    pub(crate) config: Config,
    pub(crate) address: SocketAddr,
    pub(crate) jobs: JobStore,
    pub(crate) a1111: A1111,
}

impl App {
    pub(crate) fn new(engine: Arc<Engine>, config: Config, address: SocketAddr) -> Self {
        Self {
            engine,
            config,
            address,
            jobs: JobStore::default(),
            a1111: A1111::default(),
        }
    }
}
