//! Files and folders that are whole or absent.

use crate::FormatError;
use crate::places::{Place, STANDARD, followed, place_of};
use serde::Serialize;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes a file under a temporary name in the same folder, syncs it, and renames it into place.
/// Missing folders are made. A crash or a full disk leaves what was there before. Symbolic links
/// are followed and stay; a pipe or a device is written to, and `-` is standard output.
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
    contents: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FormatError> {
    let write = || match place_of(path)? {
        Place::StandardOutput => {
            let mut out = io::stdout().lock();
            contents(&mut out)?;
            out.flush()
        }
        Place::Stream => {
            let mut out = io::BufWriter::new(File::options().write(true).open(path)?);
            contents(&mut out)?;
            out.flush()
        }
        Place::File(target) => replace(&target, |file| contents(file)),
    };
    write().map_err(|source| failed(path, source))
}

/// Copies a file, which is there whole or not at all. Where the file system can, the two share what
/// they hold until one of them is changed.
///
/// # Errors
/// When the file cannot be read, or the folder not written.
pub fn copy_atomically(from: &Path, to: &Path) -> Result<(), FormatError> {
    let mut source = File::open(from).map_err(|source| FormatError::Read {
        path: from.into(),
        source,
    })?;
    let copied = followed(to)
        .and_then(|target| replace(&target, |file| io::copy(&mut source, file).map(drop)));
    copied.map_err(|source| failed(to, source))
}

/// Makes a folder under a temporary name next to its place, and renames it when `contents` has
/// filled it: no half of it is ever there. Nothing that exists is written over.
///
/// # Errors
/// When there is something at its place already that is no empty folder, when the folder cannot be
/// written, or when `contents` fails.
pub fn write_folder_atomically<E: From<FormatError>>(
    folder: &Path,
    contents: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |source| failed(folder, source);
    let target = vacant(folder)?;
    let around = around(&target);
    let drafts = std::fs::create_dir_all(around)
        .and_then(|()| temporary().prefix(".").tempdir_in(around))
        .map_err(failed)?;
    // One level down, where the folder has the user's ordinary permissions.
    let draft = drafts.path().join("draft");
    std::fs::create_dir(&draft).map_err(failed)?;
    contents(&draft)?;
    let place = || -> io::Result<()> {
        if target.is_dir() {
            std::fs::remove_dir(&target)?;
        }
        std::fs::rename(&draft, &target)?;
        File::open(around)?.sync_all()
    };
    Ok(place().map_err(failed)?)
}

/// Where a new folder goes, with links followed.
///
/// # Errors
/// When something is there already.
pub fn vacant(folder: &Path) -> Result<PathBuf, FormatError> {
    if folder == Path::new(STANDARD) {
        let reason = "a folder does not fit through standard output: give it a name";
        return Err(failed(folder, io::Error::other(reason)));
    }
    let target = followed(folder).map_err(|source| failed(folder, source))?;
    let mut entries = std::fs::read_dir(&target).into_iter().flatten();
    let occupied = match target.is_dir() {
        true => entries.next().is_some(),
        false => target.exists(),
    };
    match occupied {
        true => Err(FormatError::Occupied {
            path: folder.into(),
        }),
        false => Ok(target),
    }
}

/// Removes the files that killed processes were writing, in a folder where nobody else writes, and in
/// all folders below. What cannot be removed stays.
pub fn remove_unfinished(folder: &Path) {
    let is_ours = |entry: &std::fs::DirEntry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with(TEMPORARY.0) && name.ends_with(TEMPORARY.1)
    };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        // The kind of a link is a link.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => remove_unfinished(&entry.path()),
            Ok(kind) if kind.is_file() && is_ours(&entry) => {
                let _ = std::fs::remove_file(entry.path());
            }
            _ => {}
        }
    }
}

/// [`write_atomically`] of a value as indented JSON.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_json_atomically(path: &Path, value: &impl Serialize) -> Result<(), FormatError> {
    let json = serde_json::to_string_pretty(value);
    let mut json = json.map_err(|source| failed(path, source.into()))?;
    json.push('\n');
    write_atomically(path, json.as_bytes())
}

fn replace(target: &Path, contents: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let folder = around(target);
    std::fs::create_dir_all(folder)?;
    let mut file = ordinary(temporary()).tempfile_in(folder)?;
    contents(file.as_file_mut())?;
    file.as_file().sync_all()?;
    file.persist(target)?;
    File::open(folder)?.sync_all()
}

/// The folder that a file or folder is in.
fn around(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// How names of unfinished files begin and end.
const TEMPORARY: (&str, &str) = (".tmp", ".tmp");

fn temporary() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY.0).suffix(TEMPORARY.1);
    builder
}

/// Temporary files are private by default; ours become the user's ordinary files, as the umask
/// says.
fn ordinary(
    mut builder: tempfile::Builder<'static, 'static>,
) -> tempfile::Builder<'static, 'static> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder
}

fn failed(path: &Path, source: io::Error) -> FormatError {
    FormatError::Write {
        path: path.into(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("made/too/file");
        for text in ["first", "second"] {
            write_atomically(&path, text.as_bytes()).expect("written");
            assert_eq!(std::fs::read_to_string(&path).expect("read"), text);
        }
        let failing = |_: &mut dyn Write| Err(io::Error::other("no"));
        write_atomically_with(&path, failing).expect_err("failed");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "second");
        let around = path.parent().expect("in a folder");
        assert_eq!(std::fs::read_dir(around).expect("listed").count(), 1);
    }

    #[test]
    fn what_killed_processes_left_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("a/b")).expect("made");
        let (_, left) = ordinary(temporary())
            .tempfile_in(path("a/b"))
            .expect("made")
            .keep()
            .expect("kept");
        for kept in ["a/b/file", "a/mine.tmp"] {
            std::fs::write(path(kept), "").expect("written");
        }
        remove_unfinished(folder.path());
        assert!(!left.exists() && path("a/b/file").exists() && path("a/mine.tmp").exists());
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_and_what_they_lead_to_is_written() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("elsewhere")).expect("made");
        std::fs::write(path("elsewhere/there"), "old").expect("written");
        for (link, leads) in [
            ("link", "elsewhere/there"),
            ("second", "link"),
            ("dangling", "elsewhere/new"),
        ] {
            symlink(leads, path(link)).expect("linked");
            write_atomically(&path(link), link.as_bytes()).expect("written");
            assert!(path(link).is_symlink(), "{link} is a file now");
        }
        let read = |name: &str| std::fs::read_to_string(path(name)).expect("read");
        assert_eq!(read("elsewhere/there"), "second");
        assert_eq!(read("elsewhere/new"), "dangling");
        symlink("round", path("round")).expect("linked");
        let error = write_atomically(&path("round"), b"x").expect_err("refused");
        assert!(error.to_string().contains("round"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_written_to_and_stays() {
        use std::os::unix::fs::FileTypeExt;
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo runs").success());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("pipe", &link).expect("linked");
        for out in [&pipe, &link] {
            let reader = std::thread::spawn({
                let pipe = pipe.clone();
                move || std::fs::read(pipe).expect("read")
            });
            write_atomically(out, b"through").expect("written");
            assert_eq!(reader.join().expect("ended"), b"through");
        }
        let kind = std::fs::metadata(&pipe).expect("there").file_type();
        assert!(kind.is_fifo() && link.is_symlink());
    }

    #[test]
    fn a_folder_is_made_whole_and_nothing_is_written_over() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("in/new");
        let fill = |text: &'static str| {
            move |draft: &Path| {
                assert_can_be_entered(draft.parent().expect("in a folder"));
                write_atomically(&draft.join("file"), text.as_bytes())
            }
        };
        let fails = |draft: &Path| {
            fill("half")(draft)?;
            Err(failed(draft, io::Error::other("no")))
        };
        write_folder_atomically(&folder, fails).expect_err("failed");
        assert!(!folder.exists());
        std::fs::create_dir(&folder).expect("made");
        write_folder_atomically(&folder, fill("whole")).expect("written");
        let error = write_folder_atomically(&folder, fill("other")).expect_err("refused");
        assert!(matches!(error, FormatError::Occupied { .. }), "{error}");
        let kept = std::fs::read_to_string(folder.join("file")).expect("read");
        assert_eq!(kept, "whole");
        let around = folder.parent().expect("in a folder");
        assert_eq!(std::fs::read_dir(around).expect("listed").count(), 1);
    }

    /// By its owner: to root, whom tests may run as, it makes no difference.
    #[cfg(unix)]
    fn assert_can_be_entered(folder: &Path) {
        use std::os::unix::fs::PermissionsExt;
        let mode = folder.metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o700, 0o700, "{mode:o}");
    }

    #[cfg(not(unix))]
    fn assert_can_be_entered(_: &Path) {}
}
