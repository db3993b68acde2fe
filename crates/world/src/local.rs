//! Ranks that are threads of one process.

use crate::transport::{Failure, Transport};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// One rank's ends of the channels to all others, by rank.
pub(crate) struct Channels {
    to: Vec<Mutex<Sender<Vec<u8>>>>,
    from: Vec<Mutex<Receiver<Vec<u8>>>>,
}

impl Channels {
    /// The ends of all ranks.
    pub(crate) fn of(size: usize) -> Vec<Self> {
        let mut ends: Vec<Self> = (0..size)
            .map(|_| Self {
                to: vec![],
                from: vec![],
            })
            .collect();
        for from in 0..size {
            for to in 0..size {
                let (sender, receiver) = channel();
                ends[from].to.push(Mutex::new(sender));
                ends[to].from.push(Mutex::new(receiver));
            }
        }
        ends
    }
}

impl Transport for Channels {
    fn send(&self, to: usize, message: &[u8], _: Duration) -> Result<(), Failure> {
        let sender = self.to[to].lock().map_err(|_| Failure::Gone)?;
        sender.send(message.to_vec()).map_err(|_| Failure::Gone)
    }

    fn receive(&self, from: usize, limit: Duration) -> Result<Vec<u8>, Failure> {
        let receiver = self.from[from].lock().map_err(|_| Failure::Gone)?;
        receiver.recv_timeout(limit).map_err(|error| match error {
            RecvTimeoutError::Timeout => Failure::Late,
            RecvTimeoutError::Disconnected => Failure::Gone,
        })
    }

    fn abort(&self, code: u8) -> ! {
        std::process::exit(code.into())
    }
}
