//! Files that are whole or absent.

use crate::FormatError;
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// Writes a file under a temporary name in the same folder, syncs it, and renames it into place.
/// Missing folders are made. A crash or a full disk leaves what was there before.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), FormatError> {
    write_atomically_with(path, |file| file.write_all(bytes))
}

/// The same, for what is written piece by piece.
///
/// # Errors
/// When the folder cannot be written, or what writes fails.
pub fn write_atomically_with(
    path: &Path,
    contents: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), FormatError> {
    let write = || -> std::io::Result<()> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(folder)?;
        let mut file = temporary().tempfile_in(folder)?;
        contents(&mut file)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().map_err(|source| FormatError::Write {
        path: path.into(),
        source,
    })
}

/// Temporary files are private by default; ours become the user's ordinary files, as the umask
/// says.
fn temporary() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder
}

/// [`write_atomically`] of a value as indented JSON.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_json_atomically(path: &Path, value: &impl Serialize) -> Result<(), FormatError> {
    let mut json = serde_json::to_string_pretty(value).map_err(|source| FormatError::Write {
        path: path.into(),
        source: source.into(),
    })?;
    json.push('\n');
    write_atomically(path, json.as_bytes())
}
