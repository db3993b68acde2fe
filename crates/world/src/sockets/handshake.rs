//! How two ends of a connection prove to each other that they know one secret, without sending it.

use super::{receive_all, send_all};
use sha2::{Digest, Sha256};
use std::io::{Error, ErrorKind, Result};
use std::net::TcpStream;
use std::time::Instant;

/// What both ends begin with: the program and the version of this protocol.
const GREETING: &[u8; 16] = b"fewstep world 1\n";

type Nonce = [u8; 32];
type Proof = [u8; 32];

/// What a rank says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Introduction {
    pub(super) rank: usize,
    pub(super) size: usize,
}

impl Introduction {
    fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(self.rank as u64).to_le_bytes());
        bytes[8..].copy_from_slice(&(self.size as u64).to_le_bytes());
        bytes
    }

    fn of(bytes: [u8; 16]) -> Self {
        let number = |part: &[u8]| {
            let bytes = part.try_into().unwrap_or_default();
            u64::from_le_bytes(bytes) as usize
        };
        Self {
            rank: number(&bytes[..8]),
            size: number(&bytes[8..]),
        }
    }
}

/// Rank 0's side: who is at the other end.
///
/// # Errors
/// `PermissionDenied` when it does not know the secret, others when it is something else or slow.
pub(super) fn welcome(link: &mut TcpStream, secret: &str, end: Instant) -> Result<Introduction> {
    let mine = nonce()?;
    send_all(link, GREETING, end)?;
    send_all(link, &mine, end)?;
    let (mut greeting, mut theirs, mut about, mut proof) = ([0; 16], [0; 32], [0; 16], [0; 32]);
    receive_all(link, &mut greeting, end)?;
    if greeting != *GREETING {
        return Err(ErrorKind::InvalidData.into());
    }
    receive_all(link, &mut theirs, end)?;
    receive_all(link, &mut about, end)?;
    receive_all(link, &mut proof, end)?;
    check(&proof, &prove(secret, b"rank", [&mine, &theirs], &about))?;
    send_all(link, &prove(secret, b"root", [&mine, &theirs], &about), end)?;
    Ok(Introduction::of(about))
}

/// The side of another rank.
///
/// # Errors
/// As [`welcome`].
pub(super) fn introduce(
    link: &mut TcpStream,
    me: Introduction,
    secret: &str,
    end: Instant,
) -> Result<()> {
    let (mut greeting, mut theirs, mut proof) = ([0; 16], [0; 32], [0; 32]);
    receive_all(link, &mut greeting, end)?;
    if greeting != *GREETING {
        return Err(ErrorKind::InvalidData.into());
    }
    receive_all(link, &mut theirs, end)?;
    let (mine, about) = (nonce()?, me.bytes());
    send_all(link, GREETING, end)?;
    send_all(link, &mine, end)?;
    send_all(link, &about, end)?;
    send_all(link, &prove(secret, b"rank", [&theirs, &mine], &about), end)?;
    receive_all(link, &mut proof, end)?;
    check(&proof, &prove(secret, b"root", [&theirs, &mine], &about))
}

fn nonce() -> Result<Nonce> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(Error::other)?;
    Ok(nonce)
}

/// HMAC-SHA-256 of what was said, with the secret as its key (RFC 2104).
fn prove(secret: &str, side: &[u8; 4], nonces: [&Nonce; 2], about: &[u8; 16]) -> Proof {
    let mut key = [0; 64];
    // A long key is hashed first, and so are all of ours.
    key[..32].copy_from_slice(&Sha256::digest(secret));
    let inner = Sha256::new().chain_update(key.map(|byte| byte ^ 0x36));
    let said = inner.chain_update(GREETING).chain_update(side);
    let said = said.chain_update(nonces[0]).chain_update(nonces[1]);
    let inner = said.chain_update(about).finalize();
    let outer = Sha256::new().chain_update(key.map(|byte| byte ^ 0x5c));
    outer.chain_update(inner).finalize().into()
}

/// Compares in a time that says nothing of where they differ.
fn check(proof: &Proof, expected: &Proof) -> Result<()> {
    let different = proof
        .iter()
        .zip(expected)
        .fold(0, |all, (a, b)| all | (a ^ b));
    match different {
        0 => Ok(()),
        _ => Err(ErrorKind::PermissionDenied.into()),
    }
}
