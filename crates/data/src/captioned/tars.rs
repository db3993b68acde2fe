//! WebDataset: tars in which files of one name and several endings are one example.

use super::example::Named;
use super::location::column;
use super::parts::{Parts, Wanted};
use crate::input::MAX_IMAGE_FILE;
use crate::listing::is_clutter;
use crate::skip::name_of;
use crate::splits::part_within;
use crate::{DataConfig, DataError, Location};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use tar::{Archive, Entry};

/// One tar file, and how many examples are in it.
#[derive(Debug)]
pub(super) struct Tar {
    path: PathBuf,
    /// Its name in the set.
    name: String,
    /// The folder in it that is the split's; none where it is not divided.
    part: Option<PathBuf>,
    examples: usize,
    wanted: Wanted,
}

impl Tar {
    /// Reads the tar's headers. The members of an example that are wanted are those with the
    /// endings that `data.column`, `data.caption` and the location of given images name.
    pub(super) fn open(
        path: &Path,
        config: &DataConfig,
        given: Option<&Location>,
    ) -> Result<Self, DataError> {
        let what = "ending of their names in the tar, such as `source.png`";
        let given = given.map(|location| column(location, what)).transpose()?;
        let wanted = Wanted::new(config, given);
        let file = File::open(path).map_err(DataError::read(path))?;
        let damaged = |error: io::Error| DataError::Damaged {
            origin: path.display().to_string(),
            reason: match compression(path) {
                Some(name) => format!("it is compressed with {name}: unpack it first"),
                None => error.to_string(),
            },
        };
        let mut keys: Vec<String> = vec![];
        let (mut seen, mut links) = (HashSet::new(), 0);
        let mut archive = archive(file);
        for entry in archive.entries_with_seek().map_err(damaged)? {
            let entry = entry.map_err(damaged)?;
            let kind = entry.header().entry_type();
            links += usize::from(kind.is_symlink() || kind.is_hard_link());
            let Some(name) = member(&entry) else {
                continue;
            };
            let (key, ending) = split(&name);
            let twice = seen.replace(format!("{key}.{ending}"));
            if keys.last() != Some(&key) {
                keys.push(key);
            }
            if let Some(twice) = twice {
                return Err(DataError::Damaged {
                    origin: path.display().to_string(),
                    reason: format!(
                        "it has two files `{twice}`, and it is unclear which is meant: write it again with one of them"
                    ),
                });
            }
        }
        if links > 0 {
            tracing::warn!(tar = %path.display(), "{links} links in it are left out: write it again with the files themselves");
        }
        let folders = keys.iter().map(|key| folder(key)).collect();
        let part = part_within(&folders, config.split).map_err(|parts| DataError::Missing {
            path: path.into(),
            wanted: format!("folder for `split`, only {parts}"),
            hint: "set `split` to the other one, or give a tar with it".into(),
        })?;
        let examples = keys
            .iter()
            .filter(|key| is_in(key, part.as_deref()))
            .count();
        Ok(Self {
            path: path.into(),
            name: name_of(path, config),
            part,
            examples,
            wanted,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn len(&self) -> usize {
        self.examples
    }

    /// The examples of the tar, which is the `shard`-th of its set.
    pub(super) fn examples(&self, shard: usize) -> Box<dyn Iterator<Item = Named> + Send + '_> {
        let file = self.path.file_name().unwrap_or_default().to_string_lossy();
        let origin = format!("shard {shard} ({file})");
        // A tar's entries borrow their archive, so what comes out of a file is read at once: a
        // shard fits in memory.
        let examples = match self.read() {
            Ok(parts) => parts
                .into_iter()
                .enumerate()
                .map(|(number, parts)| {
                    let sample = format!("{origin}, sample {}", number + 1);
                    let name = format!("{}:{}", self.name, parts.key());
                    (name, parts.example(&sample, &self.wanted))
                })
                .collect(),
            Err(error) => {
                let reason = error.to_string();
                vec![(
                    self.name.clone(),
                    Err(DataError::Damaged { origin, reason }),
                )]
            }
        };
        Box::new(examples.into_iter())
    }

    fn read(&self) -> io::Result<Vec<Parts>> {
        let mut all: Vec<Parts> = vec![];
        let mut archive = archive(File::open(&self.path)?);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let Some(name) = member(&entry) else {
                continue;
            };
            let (key, ending) = split(&name);
            if !is_in(&key, self.part.as_deref()) {
                continue;
            }
            if all.last().is_none_or(|last| last.key() != key) {
                all.push(Parts::new(key));
            }
            let Some(parts) = all.last_mut().filter(|_| self.wanted.has(&ending)) else {
                continue;
            };
            // A sparse file may claim any size.
            if entry.size() > MAX_IMAGE_FILE {
                let message = format!("`{name}` has more than {MAX_IMAGE_FILE} bytes");
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
            }
            let mut bytes = vec![];
            entry.read_to_end(&mut bytes)?;
            parts.push(ending, bytes);
        }
        Ok(all)
    }
}

/// A tar, or several that were put one after another, each of which ends with zeros.
fn archive(file: File) -> Archive<BufReader<File>> {
    let mut archive = Archive::new(BufReader::new(file));
    archive.set_ignore_zeros(true);
    archive
}

/// What a file is compressed with, if it is.
fn compression(path: &Path) -> Option<&'static str> {
    let mut start = [0; 4];
    File::open(path).ok()?.read_exact(&mut start).ok()?;
    match start {
        [0x1f, 0x8b, ..] => Some("gzip"),
        [0x28, 0xb5, 0x2f, 0xfd] => Some("zstd"),
        [0xfd, b'7', b'z', b'X'] => Some("xz"),
        [b'B', b'Z', b'h', _] => Some("bzip2"),
        _ => None,
    }
}

/// The name of a file in a tar, if it is one of the set's.
fn member<R: Read>(entry: &Entry<'_, R>) -> Option<String> {
    let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let name = path.trim_start_matches("./");
    let is_name = |part: &&str| !matches!(*part, "." | "..");
    let clutter = name.split('/').filter(is_name).any(is_clutter);
    (entry.header().entry_type().is_file() && !clutter).then(|| name.into())
}

/// The folders of an example in its tar.
fn folder(key: &str) -> &str {
    key.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Whether an example is in this part of its tar.
fn is_in(key: &str, part: Option<&Path>) -> bool {
    part.is_none_or(|part| Path::new(folder(key)).starts_with(part))
}

/// The name of an example, up to the first dot of the file's name, and all that comes after that
/// dot.
fn split(path: &str) -> (String, String) {
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    let dot = path[name..].find('.').map_or(path.len(), |dot| name + dot);
    let ending = path[dot..].trim_start_matches('.').to_lowercase();
    (path[..dot].into(), ending)
}
