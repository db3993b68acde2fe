//! Captioned or labelled images in object storage, encoded shard by shard.
//!
//! Every shard has a cache file of its own, whose name follows from the identities of its objects, so
//! nothing is read again to know whether it is there. A shard is copied to this machine only while it
//! is encoded. The ranks of a run encode different shards, and all read the files of all.

use super::captioned::{Wanted, check_kind, encode, images};
use crate::console;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::remote::RemoteFiles;
use crate::storage::Storage;
use fewstep_data::{Examples, Latents, Source, StoredSet};
use fewstep_distill::{Encoding, LatentsFile, World};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

/// The set that an address names, and where its files are.
pub(super) struct Remote {
    files: RemoteFiles,
    set: StoredSet,
    name: String,
}

impl Remote {
    /// Lists the files of the set.
    ///
    /// # Errors
    /// A set that cannot be read from object storage, or not for this model.
    pub(super) fn open(wanted: &Wanted) -> CliResult<Self> {
        let data = wanted.data;
        check_kind(data, &wanted.components.classes().input_error()?)?;
        if wanted.condition.is_some() {
            return Err(CliError::input(format!(
                "[condition]: control images and source images are those of images on this machine, and {} are in object storage",
                data.path.display()
            )));
        }
        let files = RemoteFiles::list(&data.path)?;
        let set = StoredSet::new(data, files.files().to_vec()).input_error()?;
        Ok(Self {
            files,
            set,
            name: data.path.display().to_string(),
        })
    }

    /// Copies the files of a shard into a folder.
    fn fetch(&self, shard: usize, folder: &Path) -> CliResult {
        self.files.fetch(&self.set.shards()[shard], folder)
    }

    fn shown(&self, shard: usize) -> String {
        let files = &self.set.shards()[shard];
        let first = files.first().map_or("", |file| &file.name);
        match files.len() {
            1 => self.files.shown(first),
            more => format!("{} and {} more", self.files.shown(first), more - 1),
        }
    }
}

/// The caches of the shards of a set: on this machine, and where machines share them.
struct Caches {
    files: Vec<LatentsFile>,
    shared: Option<Storage>,
}

impl Caches {
    fn of(identities: &[String], wanted: &Wanted) -> CliResult<Self> {
        let file = |identity: &String| {
            let Wanted {
                components, copies, ..
            } = wanted;
            LatentsFile::of(identity, components, *copies, &wanted.folder()?).input_error()
        };
        let shared = wanted
            .data
            .cache
            .as_deref()
            .map(Path::new)
            .map(Storage::open);
        let shared = shared.transpose()?;
        Ok(Self {
            files: identities.iter().map(file).collect::<CliResult<_>>()?,
            // A folder is where the files are already.
            shared: shared.filter(|storage| storage.folder().is_none()),
        })
    }

    fn name(&self, shard: usize) -> String {
        let name = self.files[shard].path().file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The shards without a cache that all ranks can read.
    fn missing(&self) -> CliResult<Vec<usize>> {
        let shared: Option<HashSet<String>> = match &self.shared {
            Some(storage) => Some(
                storage
                    .list("latents-", ".safetensors")?
                    .into_iter()
                    .collect(),
            ),
            None => None,
        };
        let is_there = |shard: &usize| match &shared {
            Some(names) => names.contains(&self.name(*shard)),
            None => self.files[*shard].path().is_file(),
        };
        Ok((0..self.files.len())
            .filter(|shard| !is_there(shard))
            .collect())
    }

    /// Gives the other machines what this one has made.
    fn share(&self, shard: usize) -> CliResult {
        match &self.shared {
            Some(storage) => storage.put_file(&self.name(shard), self.files[shard].path()),
            None => Ok(()),
        }
    }

    /// The latents of a shard, fetched first if another machine has made them.
    fn open(&self, shard: usize, name: &str) -> CliResult<Latents> {
        let file = &self.files[shard];
        if let Some(storage) = &self.shared
            && !file.path().is_file()
        {
            storage.fetch(&self.name(shard), file.path())?;
        }
        let latents = file.open().input_error()?;
        latents.ok_or_else(|| {
            CliError::input(format!(
                "{name}: another process has encoded a part of it, and {} is not on this machine: set `data.cache` to a folder that all machines share, or to a place in object storage",
                file.path().display()
            ))
        })
    }
}

/// The latents of a set in object storage. What no machine has encoded is shared among the ranks.
pub(super) fn examples(wanted: &Wanted, remote: &Remote) -> CliResult<Examples> {
    let shards = 0..remote.set.shards().len();
    let identities = shards.clone().map(|shard| remote.set.identity(shard));
    let identities = identities.collect::<Result<Vec<_>, _>>().input_error()?;
    let caches = Caches::of(&identities, wanted)?;
    let world = wanted.world;
    let missing = of_rank_0(world, || caches.missing())?;
    if let (true, Some(&first)) = (wanted.planned, missing.first()) {
        console::note(format_args!(
            "{}: the examples of its first shard of {} are counted; the others are not read for a plan",
            remote.name,
            shards.len()
        ));
        return with_shard(wanted, remote, first, |source| {
            encoding(wanted, source, (&caches, &identities), first)
                .map(|encoding| images(&encoding, None))
        });
    }
    // All begin a shard together, so that none waits for another for longer than that takes.
    for turn in missing.chunks(world.size()) {
        if let Some(&shard) = turn.get(world.rank()) {
            make(wanted, remote, (&caches, &identities), shard)?;
        }
        world.barrier()?;
    }
    let latents = shards.map(|shard| caches.open(shard, &remote.name));
    let latents = latents.collect::<CliResult<Vec<_>>>()?;
    let key = |contents: &str| {
        let file = LatentsFile::of(contents, wanted.components, wanted.copies, Path::new(""));
        file.map_or_else(|_| contents.into(), |file| file.key().into())
    };
    let latents = Latents::join(latents, &remote.name, key).input_error()?;
    let examples = Examples::Latents {
        latents: Arc::new(latents),
        conditions: None,
    };
    wanted.check(&examples)?;
    Ok(examples)
}

/// Encodes a shard, unless this machine has it, and gives it to the others.
fn make(wanted: &Wanted, remote: &Remote, caches: (&Caches, &[String]), shard: usize) -> CliResult {
    if caches.0.files[shard].path().is_file() {
        return caches.0.share(shard);
    }
    tracing::info!("encoding {}", remote.shown(shard));
    with_shard(wanted, remote, shard, |source| {
        let encoding = encoding(wanted, source, caches, shard)?;
        (wanted.fits)(&images(&encoding, None))?;
        encode(encoding, wanted.device).map(drop)
    })?;
    caches.0.share(shard)
}

fn encoding<'a>(
    wanted: &Wanted<'a>,
    source: &'a Source,
    (caches, identities): (&Caches, &[String]),
    shard: usize,
) -> CliResult<Encoding<'a>> {
    let file = (caches.files[shard].clone(), &*identities[shard]);
    let Wanted {
        components,
        copies,
        device,
        ..
    } = *wanted;
    Encoding::of_shard(source, components, copies, file, device).input_error()
}

/// Does something with the images of a shard, which are on this machine meanwhile.
fn with_shard<T>(
    wanted: &Wanted,
    remote: &Remote,
    shard: usize,
    work: impl FnOnce(&Source) -> CliResult<T>,
) -> CliResult<T> {
    let shown = remote.shown(shard);
    let folder = tempfile::tempdir().work_error()?;
    remote.fetch(shard, folder.path())?;
    let classes = wanted.components.classes().input_error()?;
    let named = |error: CliError| error.context(&shown);
    let opened = remote
        .set
        .open(shard, folder.path(), &classes)
        .input_error();
    let source = Source::Captioned(Box::new(opened.map_err(named)?));
    work(&source).map_err(named)
}

/// What rank 0 finds, for all.
fn of_rank_0(world: &World, find: impl FnOnce() -> CliResult<Vec<usize>>) -> CliResult<Vec<usize>> {
    let found = match world.is_first() {
        true => find()?,
        false => vec![],
    };
    let bytes = found.iter().flat_map(|shard| (*shard as u64).to_le_bytes());
    let bytes = world.broadcast(bytes.collect())?;
    let numbers = bytes
        .chunks_exact(8)
        .filter_map(|bytes| bytes.try_into().ok());
    Ok(numbers
        .map(|bytes| u64::from_le_bytes(bytes) as usize)
        .collect())
}
