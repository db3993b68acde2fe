//! A copy of a run's folder that is kept elsewhere, to go on from on another machine.
//!
//! The contents of files are objects named by their hash, and a manifest says which files they are.
//! The manifest is written after all of them, and what the one before needs is removed after that. So
//! a mirror is whole whenever the copying stops, and what has not changed is not sent again.
//!
//! A thread copies a snapshot of the folder while the run goes on, one after another.

mod manifest;
mod place;
mod snapshot;

use crate::console;
use crate::error::{CliError, CliResult};
use fewstep_distill::World;
use fewstep_distill::run::Event;
pub(crate) use place::MirrorPlace;
use snapshot::Snapshot;
pub(crate) use snapshot::remove as remove_snapshot;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;

/// Keeps the mirror of a run as its folder is.
pub(crate) struct Mirror {
    folder: PathBuf,
    /// The place, in messages.
    shown: String,
    /// To the thread that copies.
    snapshots: Sender<Snapshot>,
    /// From it.
    copied: Receiver<CliResult>,
    is_copying: bool,
    /// Whether the folder has changed since the last copy was begun, or that has failed.
    is_behind: bool,
    /// Whether the run has saved something since this process began.
    has_saved: bool,
}

impl Mirror {
    /// The mirror in a place which is that of this run, or has none.
    pub(crate) fn new(mut place: MirrorPlace) -> Self {
        let (folder, shown) = (place.folder().into(), place.to_string());
        let (snapshots, to_copy) = channel::<Snapshot>();
        let (result, copied) = channel();
        thread::spawn(move || {
            for snapshot in to_copy {
                let copied = place.copy(snapshot.folder());
                drop(snapshot);
                // Nobody waits for it after a panic.
                let _ = result.send(copied);
            }
        });
        Self {
            folder,
            shown,
            snapshots,
            copied,
            is_copying: false,
            is_behind: true,
            has_saved: false,
        }
    }

    /// Follows the run: something was saved, or time went by. A warning where something could not be
    /// copied, which is tried again after the next checkpoint: the run itself goes on.
    pub(crate) fn after(&mut self, event: &Event<'_>) -> Option<String> {
        let followed = match event {
            Event::Saved => self.follow(),
            Event::Updated { .. } => self.go_on(),
            _ => Ok(()),
        };
        followed.err().map(|error| self.warning(error))
    }

    /// Begins to copy what is new, unless the copy before is still under way: then this one is begun
    /// once that has ended.
    fn follow(&mut self) -> CliResult {
        let ended = self.ended();
        (self.is_behind, self.has_saved) = (true, true);
        if !self.is_copying {
            self.begin()?;
        }
        ended.unwrap_or(Ok(()))
    }

    /// Begins the copy that waits for the end of another.
    fn go_on(&mut self) -> CliResult {
        match self.ended() {
            Some(Ok(())) if self.is_behind => self.begin(),
            Some(ended) => ended,
            None => Ok(()),
        }
    }

    fn begin(&mut self) -> CliResult {
        let snapshot = Snapshot::take(&self.folder)?;
        self.snapshots.send(snapshot).map_err(|_| lost())?;
        (self.is_copying, self.is_behind) = (true, false);
        Ok(())
    }

    /// How the copy that was under way has ended, if it has.
    fn ended(&mut self) -> Option<CliResult> {
        if !self.is_copying {
            return None;
        }
        match self.copied.try_recv() {
            Ok(copied) => Some(self.end(copied)),
            Err(TryRecvError::Disconnected) => Some(self.end(Err(lost()))),
            Err(TryRecvError::Empty) => None,
        }
    }

    fn end(&mut self, copied: CliResult) -> CliResult {
        self.is_copying = false;
        self.is_behind |= copied.is_err();
        copied
    }

    /// The same for one that is waited for.
    fn wait(&mut self) -> CliResult {
        match self.is_copying {
            true => {
                let copied = self.copied.recv();
                self.end(copied.unwrap_or_else(|_| Err(lost())))
            }
            false => Ok(()),
        }
    }

    /// Says that there is something new in the folder, which is copied when the run ends.
    pub(crate) fn be_behind(&mut self) {
        self.is_behind = true;
    }

    /// Waits until the mirror is what the folder is, at the end of a run, and gives how that `ended`:
    /// on all ranks alike, or with an error of this one, which others may still have to learn of. A
    /// run that failed before it saved anything leaves the mirror as it is.
    ///
    /// # Errors
    /// Those of the run; after a run without, when the mirror stays behind.
    pub(crate) fn finish<T>(
        mirror: Option<Self>,
        (world, is_alike): (&World, bool),
        ended: CliResult<T>,
    ) -> CliResult<T> {
        let mut mirror = mirror.filter(|mirror| ended.is_ok() || mirror.has_saved);
        let mut catch_up = || mirror.as_mut().map_or(Ok(()), Self::catch_up);
        let caught_up = match (is_alike, &ended) {
            (true, _) => world.first_at_rank_0(catch_up)?,
            (false, Err(error)) if world.is_single() => {
                console::note(format_args!("the run has failed: {}", error.message()));
                catch_up()
            }
            // The other processes are to end now.
            (false, _) => mirror.as_ref().map_or(Ok(()), Self::is_level),
        };
        match (caught_up, ended, mirror) {
            (Ok(()), ended, _) | (Err(_), ended, None) => ended,
            (Err(error), Ok(_), Some(mirror)) => Err(CliError::Work(anyhow::anyhow!(
                "the run is whole in {}, and its mirror {} is behind (--resume copies it again): {}",
                mirror.folder.display(),
                mirror.shown,
                error.message()
            ))),
            (Err(error), Err(ended), Some(mirror)) => {
                eprintln!("{}", mirror.warning(error));
                Err(ended)
            }
        }
    }

    /// An error where there is something left to copy.
    fn is_level(&self) -> CliResult {
        match self.is_copying || self.is_behind {
            false => Ok(()),
            true => Err(CliError::Work(anyhow::anyhow!(
                "the run has ended without waiting for it (--resume copies it again)"
            ))),
        }
    }

    fn catch_up(&mut self) -> CliResult {
        if self.is_copying || self.is_behind {
            console::note(format_args!(
                "waiting until the mirror {} has all of the run",
                self.shown
            ));
        }
        // What failed before is tried once more.
        let _ = self.wait();
        if self.is_behind {
            self.begin()?;
        }
        self.wait()
    }

    fn warning(&self, error: CliError) -> String {
        let context = format!("the mirror {} is behind", self.shown);
        format!("warning: {}", error.context(&context).message())
    }
}

fn lost() -> CliError {
    CliError::Work(anyhow::anyhow!("the thread that copies has ended"))
}
