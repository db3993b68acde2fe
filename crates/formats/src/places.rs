//! What a path stands for: a file, or a stream such as a pipe, a device or standard output.

use std::io;
use std::path::{Path, PathBuf};

/// Where something is written to.
pub(crate) enum Place {
    /// To standard output.
    StandardOutput,
    /// Into what is there and is no regular file: a pipe or a device.
    Stream,
    /// To a file, with links followed.
    File(PathBuf),
}

/// What stands for standard output, and for standard input where something is read.
pub(crate) const STANDARD: &str = "-";

pub(crate) fn place_of(path: &Path) -> io::Result<Place> {
    if is_standard_output(path) {
        return Ok(Place::StandardOutput);
    }
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() => Ok(Place::Stream),
        _ => followed(path).map(Place::File),
    }
}

/// Whether what is written to this path goes to standard output: `-`, `/dev/stdout`, or another
/// name of what standard output is.
pub fn is_standard_output(path: &Path) -> bool {
    path == Path::new(STANDARD) || is_open_as_standard_output(path)
}

#[cfg(unix)]
fn is_open_as_standard_output(path: &Path) -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    let open = io::stdout().as_fd().try_clone_to_owned();
    let open = open.and_then(|open| std::fs::File::from(open).metadata());
    match (open, std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_open_as_standard_output(_: &Path) -> bool {
    false
}

/// Where a path leads, which need not exist yet.
pub(crate) fn followed(path: &Path) -> io::Result<PathBuf> {
    // As many as Linux follows.
    const LINKS: usize = 40;
    let mut path = path.to_path_buf();
    for _ in 0..LINKS {
        match std::fs::read_link(&path) {
            Ok(next) => path = path.parent().unwrap_or(Path::new("")).join(next),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other(
        "its symbolic links lead to each other in a circle",
    ))
}
