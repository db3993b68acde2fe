//! Waiting for what only says whether it is done.

use crate::transport::Failure;
use std::time::{Duration, Instant};

/// The longest pause between two looks for something.
const PAUSE: Duration = Duration::from_micros(200);

/// How long is looked without a pause.
const EAGER: Duration = Duration::from_micros(200);

/// Asks again and again until there is an answer, but not longer than this.
pub(crate) fn poll<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Result<T, Failure> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        let waited = start.elapsed();
        if waited > limit {
            return Err(Failure::Late);
        }
        match waited > EAGER {
            true => std::thread::sleep(PAUSE),
            false => std::thread::yield_now(),
        }
    }
}
