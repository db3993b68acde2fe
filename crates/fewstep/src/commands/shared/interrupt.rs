//! Ctrl-C and SIGTERM: a run stops after a checkpoint, or at once when asked again.

use crate::error::{CliError, CliResult, IntoCliResult};
use fewstep_distill::run::Ended;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown, register_usize};
use signal_hook::low_level::signal_name;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Watches for signals until it is dropped; then they end the program at once.
pub(crate) struct Interrupt {
    /// The signal that came; 0 before.
    signal: Arc<AtomicUsize>,
    /// Whether the next signal ends the program.
    armed: Arc<AtomicBool>,
}

impl Interrupt {
    pub(crate) fn watch() -> CliResult<Self> {
        let (signal, armed) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        for number in [SIGINT, SIGTERM] {
            // In this order: the first signal does not end the program, and is known once the flag is
            // set.
            register_conditional_shutdown(number, exit_code(number as usize), Arc::clone(&armed))
                .and_then(|_| register_usize(number, Arc::clone(&signal), number as usize))
                .and_then(|_| register(number, Arc::clone(&armed)))
                .work_error()?;
        }
        announce(&signal, &armed);
        Ok(Self { signal, armed })
    }

    /// Whether a run is to go on.
    pub(crate) fn flow(&self) -> ControlFlow<()> {
        match self.signal.load(Ordering::Relaxed) {
            0 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }

    /// The result of a run that ended like this.
    pub(crate) fn result(&self, ended: Ended) -> CliResult {
        match ended {
            Ended::Done => Ok(()),
            Ended::Stopped {
                phase,
                updates,
                checkpoint,
            } => Err(CliError::Stopped {
                code: exit_code(self.signal.load(Ordering::Relaxed)) as u8,
                message: format!(
                    "stopped in `{phase}` after {updates} updates; nothing is lost: {} has them. Continue with the same command and --resume",
                    checkpoint.display()
                ),
            }),
        }
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.armed.store(true, Ordering::Relaxed);
    }
}

/// Says that a signal came, as soon as it comes: an update may take minutes.
fn announce(signal: &Arc<AtomicUsize>, armed: &Arc<AtomicBool>) {
    let (signal, armed) = (Arc::clone(signal), Arc::clone(armed));
    thread::spawn(move || {
        while !armed.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(50));
        }
        let number = signal.load(Ordering::Relaxed);
        if number != 0 {
            let name = signal_name(number as i32).unwrap_or("signal");
            eprintln!(
                "{name}: the run stops after this update, with a checkpoint; once more ends it at once"
            );
        }
    });
}

/// The exit code of programs that a signal ends.
fn exit_code(signal: usize) -> i32 {
    128 + signal as i32
}
