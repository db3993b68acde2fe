//! Messages over sockets between rank 0 and every other rank: ids, agreements and errors, for a
//! transport that only sums numbers. Gradients do not go this way.

mod handshake;
mod meeting;
#[cfg(test)]
mod tests;

pub(crate) use meeting::Meeting;

use crate::transport::{Failure, Transport};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The longest message. A longer one is none of ours.
const LONGEST: u64 = 1 << 30;

/// One rank's connections, by the rank at the other end.
pub(crate) struct Sockets {
    links: Vec<Option<Mutex<TcpStream>>>,
}

impl Sockets {
    fn with<T>(
        &self,
        rank: usize,
        work: impl FnOnce(&mut TcpStream) -> std::io::Result<T>,
    ) -> Result<T, Failure> {
        let link = self.links.get(rank).and_then(Option::as_ref);
        let link = link.ok_or(Failure::Gone)?;
        // A panic in the middle of a message would leave half of it.
        let mut link = link.lock().map_err(|_| Failure::Gone)?;
        work(&mut link).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Failure::Late,
            _ => Failure::Gone,
        })
    }

    /// The first rank whose process has ended, of those that this one is connected to.
    pub(crate) fn gone(&self) -> Option<usize> {
        let ended = |rank: &usize| {
            let peeked = self.with(*rank, |link| {
                link.set_nonblocking(true)?;
                let peeked = link.peek(&mut [0]);
                link.set_nonblocking(false)?;
                peeked
            });
            matches!(peeked, Ok(0) | Err(Failure::Gone))
        };
        let linked = (0..self.links.len()).filter(|rank| self.links[*rank].is_some());
        linked.into_iter().find(ended)
    }
}

impl Transport for Sockets {
    fn send(&self, to: usize, message: &[u8], limit: Duration) -> Result<(), Failure> {
        let end = Instant::now() + limit;
        self.with(to, |link| {
            send_all(link, &(message.len() as u64).to_le_bytes(), end)?;
            send_all(link, message, end)
        })
    }

    fn receive(&self, from: usize, limit: Duration) -> Result<Vec<u8>, Failure> {
        let end = Instant::now() + limit;
        self.with(from, |link| {
            let mut length = [0; 8];
            receive_all(link, &mut length, end)?;
            let length = u64::from_le_bytes(length);
            if length > LONGEST {
                return Err(ErrorKind::InvalidData.into());
            }
            let mut message = vec![0; length as usize];
            receive_all(link, &mut message, end)?;
            Ok(message)
        })
    }

    /// The others see that the connection ends, each when it needs this rank next.
    fn abort(&self, code: u8) -> ! {
        std::process::exit(code.into())
    }
}

/// The time that is left, at least a little: no limit at all is written as 0.
fn left(end: Instant) -> std::io::Result<Duration> {
    match end.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

fn send_all(link: &mut TcpStream, mut bytes: &[u8], end: Instant) -> std::io::Result<()> {
    while !bytes.is_empty() {
        link.set_write_timeout(Some(left(end)?))?;
        match link.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn receive_all(link: &mut TcpStream, mut bytes: &mut [u8], end: Instant) -> std::io::Result<()> {
    while !bytes.is_empty() {
        link.set_read_timeout(Some(left(end)?))?;
        match link.read(bytes) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => bytes = &mut bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
