//! Where the processes of a run find each other.

use super::Sockets;
use super::handshake::{Introduction, introduce, welcome};
use crate::WorldError;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long one connection may take to introduce itself.
const INTRODUCTION: Duration = Duration::from_secs(5);

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// Rank 0's address, and the secret that all ranks know.
#[derive(Clone, Debug)]
pub(crate) struct Meeting {
    host: String,
    pub(super) port: u16,
    secret: String,
}

impl Meeting {
    /// From the variables of the environment; none where they name no address.
    ///
    /// torchrun has a store of its own at MASTER_PORT, and says so; then the next port is ours.
    ///
    /// # Errors
    /// When the port is no number, or there is no secret for a host that others reach.
    pub(crate) fn of(
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, WorldError> {
        let (Some(host), Some(port)) = (variable("MASTER_ADDR"), variable("MASTER_PORT")) else {
            return Ok(None);
        };
        let wrong = || {
            WorldError::Launch(format!(
                "the variable MASTER_PORT is `{port}`, and must be the number of a port"
            ))
        };
        let number: u16 = port.trim().parse().map_err(|_| wrong())?;
        let taken = variable("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|is| is == "True");
        let number = number.checked_add(taken.into()).filter(|port| *port > 0);
        let secret = variable("FEWSTEP_SECRET").filter(|secret| !secret.is_empty());
        let is_here = ["localhost", "127.0.0.1", "::1"].contains(&host.as_str());
        match secret {
            None if !is_here => Err(WorldError::Launch(format!(
                "processes on several machines meet at {host} over the network: set FEWSTEP_SECRET to one random text for all of them, so that no others can join"
            ))),
            secret => Ok(Some(Self {
                host,
                port: number.ok_or_else(wrong)?,
                secret: secret.unwrap_or_default(),
            })),
        }
    }

    /// Connects rank 0 with every other rank.
    ///
    /// # Errors
    /// Names the ranks that did not come in time, or what is wrong with those that came.
    pub(crate) fn join(
        &self,
        rank: usize,
        size: usize,
        limit: Duration,
    ) -> Result<Sockets, WorldError> {
        let end = Instant::now() + limit;
        let mut links: Vec<Option<Mutex<TcpStream>>> = (0..size).map(|_| None).collect();
        match rank {
            0 => self.wait_for_others(&mut links, end)?,
            _ => links[0] = Some(Mutex::new(self.call(Introduction { rank, size }, end)?)),
        }
        Ok(Sockets { links })
    }

    fn wait_for_others(
        &self,
        links: &mut [Option<Mutex<TcpStream>>],
        end: Instant,
    ) -> Result<(), WorldError> {
        let port = self.port;
        let unusable = |error: std::io::Error| {
            let reason = match error.kind() {
                ErrorKind::AddrInUse => "another program uses it".into(),
                _ => error.to_string(),
            };
            WorldError::Launch(format!(
                "rank 0 cannot wait for the others at port {port}: {reason}. Set MASTER_PORT to a free one, the same for all"
            ))
        };
        let listener = listen(port).map_err(unusable)?;
        listener.set_nonblocking(true).map_err(unusable)?;
        let (size, mut refused) = (links.len(), 0);
        while links.iter().skip(1).any(Option::is_none) {
            match listener.accept() {
                Ok((link, _)) => match self.admit(link) {
                    Ok((about, link)) => seat(links, about, link)?,
                    Err(error) => refused += usize::from(is_refused(&error)),
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
                Err(error) => return Err(unusable(error)),
            }
            if Instant::now() > end {
                let absent = (1..size).filter(|rank| links[*rank].is_none());
                let absent: Vec<String> = absent.map(|rank| rank.to_string()).collect();
                let refused = match refused {
                    0 => String::new(),
                    count => format!(" ({count} that came had another FEWSTEP_SECRET)"),
                };
                return Err(WorldError::Launch(format!(
                    "rank {} did not come to {}:{port} in time{refused}: all must be started together, and reach that address",
                    absent.join(", "),
                    self.host
                )));
            }
        }
        Ok(())
    }

    fn admit(&self, mut link: TcpStream) -> std::io::Result<(Introduction, TcpStream)> {
        link.set_nonblocking(false)?;
        link.set_nodelay(true)?;
        let about = welcome(&mut link, &self.secret, Instant::now() + INTRODUCTION)?;
        Ok((about, link))
    }

    /// Calls rank 0, which may not be there yet.
    fn call(&self, me: Introduction, end: Instant) -> Result<TcpStream, WorldError> {
        let place = format!("{}:{}", self.host, self.port);
        loop {
            let unreachable = match self.connect(end) {
                Ok(mut link) => {
                    let limit = Instant::now() + INTRODUCTION;
                    let met = introduce(&mut link, me, &self.secret, limit);
                    return met.map(|()| link).map_err(|error| {
                        let reason = match is_refused(&error) {
                            true => "FEWSTEP_SECRET must be the same for all processes".into(),
                            false => {
                                format!("what answers there is not rank 0 of this run ({error})")
                            }
                        };
                        WorldError::Launch(format!(
                            "rank {} cannot join at {place}: {reason}",
                            me.rank
                        ))
                    });
                }
                Err(error) => error,
            };
            if Instant::now() > end {
                return Err(WorldError::Launch(format!(
                    "rank {} did not reach rank 0 at {place} in time: {unreachable}",
                    me.rank
                )));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The first of the host's addresses that answers.
    fn connect(&self, end: Instant) -> std::io::Result<TcpStream> {
        let mut last = std::io::Error::from(ErrorKind::AddrNotAvailable);
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            let left = end.saturating_duration_since(Instant::now());
            let patience = left.clamp(PAUSE, INTRODUCTION);
            match TcpStream::connect_timeout(&address, patience) {
                Ok(link) => {
                    link.set_nodelay(true)?;
                    return Ok(link);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// On all addresses: the name of a machine may stand for any of them.
fn listen(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind(("::", port)) {
        Err(error) if error.kind() != ErrorKind::AddrInUse => TcpListener::bind(("0.0.0.0", port)),
        bound => bound,
    }
}

/// Gives a rank its place.
fn seat(
    links: &mut [Option<Mutex<TcpStream>>],
    about: Introduction,
    link: TcpStream,
) -> Result<(), WorldError> {
    let size = links.len();
    if about.size != size || !(1..size).contains(&about.rank) {
        return Err(WorldError::Launch(format!(
            "a process says that it is rank {} of {}, and rank 0 is one of {size}: start all with the same number",
            about.rank, about.size
        )));
    }
    match links[about.rank].replace(Mutex::new(link)) {
        None => Ok(()),
        Some(_) => Err(WorldError::Launch(format!(
            "two processes say that they are rank {}",
            about.rank
        ))),
    }
}

/// Whether the other end does not accept the proof, or has none: it then ends the connection.
fn is_refused(error: &std::io::Error) -> bool {
    use ErrorKind::{ConnectionReset, PermissionDenied, UnexpectedEof};
    matches!(
        error.kind(),
        PermissionDenied | UnexpectedEof | ConnectionReset
    )
}
