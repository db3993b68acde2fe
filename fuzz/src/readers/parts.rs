//! Several files in one input.

use std::fs;
use tempfile::TempDir;

/// What stands between two files.
const SEPARATOR: &[u8] = b"\n--8<--\n";

/// The files in an input, one at least.
pub(super) fn parts(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut rest) = (vec![], bytes);
    let next = |bytes: &[u8]| bytes.windows(SEPARATOR.len()).position(|w| w == SEPARATOR);
    while let Some(at) = next(rest) {
        parts.push(&rest[..at]);
        rest = &rest[at + SEPARATOR.len()..];
    }
    parts.push(rest);
    parts
}

/// A folder with these files. Empty ones are left out.
pub(super) fn folder<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in files {
        if !bytes.is_empty() {
            fs::write(folder.path().join(name), bytes).expect("written");
        }
    }
    folder
}
