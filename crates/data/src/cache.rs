//! Big safetensors files that are made once: written piece by piece under another name, so that they are whole or absent,
//! and checked when they are opened.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::DataError;

/// A tensor of a cache.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// As safetensors writes it, and bytes of a number.
    pub(crate) dtype: (&'static str, usize),
    pub(crate) shape: Vec<usize>,
}

pub(crate) const U8: (&str, usize) = ("U8", 1);

impl Part {
    fn bytes(&self) -> usize {
        self.dtype.1 * self.shape.iter().product::<usize>()
    }
}

/// What a cache says about itself: its kind is the name of the metadata that holds it.
pub(crate) trait About: Serialize + DeserializeOwned {
    const KIND: &'static str;

    /// Digest of all that the contents depend on.
    fn key(&self) -> &str;

    /// Its tensors, in the order in which they lie in the file.
    fn parts(&self) -> Vec<Part>;

    /// The safetensors header. The digest of the data has the same length whatever it is.
    fn header(&self, digest: &str) -> Vec<u8> {
        let about = serde_json::to_string(self).unwrap_or_default();
        let mut header = Map::new();
        header.insert(
            "__metadata__".into(),
            json!({Self::KIND: about, "sha256": digest}),
        );
        let mut start = 0;
        for part in self.parts() {
            let end = start + part.bytes();
            let entry =
                json!({"dtype": part.dtype.0, "shape": part.shape, "data_offsets": [start, end]});
            header.insert(part.name.into(), entry);
            start = end;
        }
        let mut text = Value::Object(header).to_string().into_bytes();
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text);
        bytes
    }
}

/// Writes the data of a cache from start to end.
#[derive(Debug)]
pub(crate) struct CacheWriter<A> {
    about: A,
    path: PathBuf,
    building: PathBuf,
    file: BufWriter<File>,
    hash: Sha256,
    written: usize,
}

impl<A: About> CacheWriter<A> {
    /// Starts a cache that is to lie at `path`; until it is finished it has another name.
    pub(crate) fn create(path: &Path, about: A) -> Result<Self, DataError> {
        let building = path.with_extension(format!("{}.tmp", std::process::id()));
        let start = || -> io::Result<BufWriter<File>> {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            let mut file = BufWriter::new(File::create(&building)?);
            file.write_all(&about.header(&"0".repeat(64)))?;
            Ok(file)
        };
        Ok(Self {
            file: start().map_err(failed(path))?,
            path: path.into(),
            building,
            hash: Sha256::new(),
            written: 0,
            about,
        })
    }

    /// The next bytes of the data.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.hash.update(bytes);
        self.written += bytes.len();
        self.file.write_all(bytes).map_err(failed(&self.path))
    }

    /// Puts the cache into its place, whole; refuses one whose data is not as long as it says.
    pub(crate) fn finish(self) -> Result<(), DataError> {
        let expected: usize = self.about.parts().iter().map(Part::bytes).sum();
        if self.written != expected {
            return Err(DataError::Cache {
                path: self.path,
                reason: format!("{} bytes were written instead of {expected}", self.written),
            });
        }
        let header = self.about.header(&hex(&self.hash.finalize()));
        let (building, path) = (self.building, self.path);
        let end = |mut file: BufWriter<File>| -> io::Result<()> {
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&header)?;
            file.into_inner()?.sync_all()?;
            fs::rename(&building, &path)
        };
        end(self.file).map_err(failed(&path))
    }
}

/// A cache, open. It is read piece by piece; the system keeps in memory what there is room for.
#[derive(Debug)]
pub(crate) struct CacheFile {
    path: PathBuf,
    file: Mutex<File>,
    /// Where each part begins.
    starts: Vec<u64>,
}

impl CacheFile {
    /// Opens a cache and checks that it is what `key` asks for and that it is undamaged; none where there is no file.
    pub(crate) fn open<A: About>(path: &Path, key: &str) -> Result<Option<(Self, A)>, DataError> {
        if !path.is_file() {
            return Ok(None);
        }
        let damaged = |reason: &str| DataError::Cache {
            path: path.into(),
            reason: reason.into(),
        };
        let mut file = BufReader::new(File::open(path).map_err(failed(path))?);
        let read = read_header::<A>(&mut file).map_err(failed(path))?;
        let (about, digest, mut start) =
            read.ok_or_else(|| damaged("it has no readable header"))?;
        if about.key() != key {
            return Err(damaged("it was made from something else"));
        }
        if digest_of(&mut file).map_err(failed(path))? != digest {
            return Err(damaged("its contents are not what was written"));
        }
        let starts = about.parts().into_iter().map(|part| {
            start += part.bytes() as u64;
            start - part.bytes() as u64
        });
        let cache = Self {
            starts: starts.collect(),
            path: path.into(),
            file: Mutex::new(file.into_inner()),
        };
        Ok(Some((cache, about)))
    }

    /// The `index`-th piece of `len` bytes of a part.
    pub(crate) fn read(&self, part: usize, index: usize, len: usize) -> Result<Vec<u8>, DataError> {
        let mut bytes = vec![0; len];
        let mut file = self
            .file
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        file.seek(SeekFrom::Start(self.starts[part] + (len * index) as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(failed(&self.path))?;
        Ok(bytes)
    }
}

/// What a cache is, the digest of its data, and where that begins.
fn read_header<A: About>(file: &mut impl Read) -> io::Result<Option<(A, String, u64)>> {
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let mut text = vec![];
    file.take(length.min(1 << 20)).read_to_end(&mut text)?;
    let parsed = || -> Option<(A, String)> {
        let all: Value = serde_json::from_slice(&text).ok()?;
        let metadata = all.get("__metadata__")?;
        let about = metadata.get(A::KIND)?.as_str()?;
        let digest = metadata.get("sha256")?.as_str()?;
        Some((serde_json::from_str(about).ok()?, digest.into()))
    };
    Ok(parsed().map(|(about, digest)| (about, digest, 8 + length)))
}

/// The digest of all that is left of a file.
fn digest_of(file: &mut impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn failed(path: &Path) -> impl Fn(io::Error) -> DataError + '_ {
    |error| DataError::Cache {
        path: path.into(),
        reason: error.to_string(),
    }
}
