//! Big safetensors files that are made once: written piece by piece under another name, so that
//! they are whole or absent, and checked when they are opened.

use crate::DataError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A tensor of a cache.
#[derive(Clone, Debug)]
pub(crate) struct TensorSpec {
    pub(crate) name: &'static str,
    /// As safetensors writes it, and bytes of a number.
    pub(crate) dtype: (&'static str, usize),
    pub(crate) shape: Vec<usize>,
}

pub(crate) const U8: (&str, usize) = ("U8", 1);
pub(crate) const I64: (&str, usize) = ("I64", 8);
pub(crate) const F32: (&str, usize) = ("F32", 4);

impl TensorSpec {
    fn bytes(&self) -> usize {
        self.dtype.1 * self.shape.iter().product::<usize>()
    }
}

/// What a cache says about itself; `KIND` is the name of the metadata that holds it.
pub(crate) trait CacheHeader: Serialize + DeserializeOwned {
    const KIND: &'static str;

    /// Digest of all that the contents depend on.
    fn key(&self) -> &str;

    /// Its tensors, in the order in which they lie in the file.
    fn tensors(&self) -> Vec<TensorSpec>;

    /// The safetensors header. Every digest of the data has the same length.
    fn to_bytes(&self, digest: &str) -> Vec<u8> {
        let own = serde_json::to_string(self).unwrap_or_default();
        let mut header = Map::new();
        header.insert(
            "__metadata__".into(),
            json!({Self::KIND: own, "sha256": digest}),
        );
        let mut start = 0;
        for tensor in self.tensors() {
            let end = start + tensor.bytes();
            let entry = json!({"dtype": tensor.dtype.0, "shape": tensor.shape, "data_offsets": [start, end]});
            header.insert(tensor.name.into(), entry);
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
pub(crate) struct CacheWriter<H> {
    header: H,
    path: PathBuf,
    partial: PartialFile,
    file: BufWriter<File>,
    hash: Sha256,
    written: usize,
}

impl<H: CacheHeader> CacheWriter<H> {
    /// Starts a cache at `path`; it has another name until it is finished. Unfinished caches of the
    /// same kind that a killed program left in the same folder are removed.
    pub(crate) fn create(path: &Path, header: H) -> Result<Self, DataError> {
        let start = || -> io::Result<(PartialFile, BufWriter<File>)> {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            remove_leftovers(path);
            let (partial, file) = PartialFile::start(path)?;
            let mut file = BufWriter::new(file);
            file.write_all(&header.to_bytes(&"0".repeat(64)))?;
            Ok((partial, file))
        };
        let (partial, file) = start().map_err(unwritten(path))?;
        Ok(Self {
            file,
            path: path.into(),
            partial,
            hash: Sha256::new(),
            written: 0,
            header,
        })
    }

    /// The next bytes of the data.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.hash.update(bytes);
        self.written += bytes.len();
        self.file.write_all(bytes).map_err(unwritten(&self.path))
    }

    /// Gives the finished cache its name; refuses one whose data is not as long as the header says.
    pub(crate) fn finish(self) -> Result<(), DataError> {
        let expected: usize = self.header.tensors().iter().map(TensorSpec::bytes).sum();
        if self.written != expected {
            return Err(DataError::Cache {
                path: self.path,
                reason: format!("{} bytes were written instead of {expected}", self.written),
            });
        }
        let header = self.header.to_bytes(&hex(&self.hash.finalize()));
        let (partial, path) = (self.partial, self.path);
        let end = |mut file: BufWriter<File>| -> io::Result<()> {
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&header)?;
            file.into_inner()?.sync_all()?;
            fs::rename(&partial.0, &path)
        };
        end(self.file).map_err(unwritten(&path))
    }
}

/// The name of a cache that is being written. Dropping it removes the file, unless the file was
/// renamed. The file is locked while it is written, which tells other programs that its writer is
/// alive.
#[derive(Debug)]
struct PartialFile(PathBuf);

impl PartialFile {
    fn start(path: &Path) -> io::Result<(Self, File)> {
        let name = path.with_extension(format!("{}.{UNFINISHED}", std::process::id()));
        loop {
            let file = File::create(&name)?;
            // Where files cannot be locked, other programs do not remove them.
            let _ = file.lock();
            // Between creating and locking it another program may have removed it as a leftover.
            if name.exists() {
                return Ok((Self(name), file));
            }
        }
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove.
        let _ = fs::remove_file(&self.0);
    }
}

/// The ending of a cache that is not finished.
const UNFINISHED: &str = "tmp";

/// Removes unfinished caches of the same kind (the part of the name before the key) that nobody is
/// writing any more. What cannot be removed stays.
fn remove_leftovers(path: &Path) {
    let name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let ours = name(path);
    let kind = ours.split_inclusive('-').next().unwrap_or_default();
    let folder = path.parent().unwrap_or(Path::new(""));
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    for file in files.map(|entry| entry.path()) {
        let unfinished = name(&file).starts_with(kind) && name(&file).ends_with(UNFINISHED);
        if unfinished && File::open(&file).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_file(&file);
        }
    }
}

/// An open cache. It is read piece by piece; the system keeps in memory what there is room for.
#[derive(Debug)]
pub(crate) struct CacheFile {
    path: PathBuf,
    file: Mutex<File>,
    /// Where each tensor begins.
    starts: Vec<u64>,
}

impl CacheFile {
    /// Opens a cache and checks that it belongs to `key` and is undamaged; none if there is no
    /// file.
    pub(crate) fn open<H: CacheHeader>(
        path: &Path,
        key: &str,
    ) -> Result<Option<(Self, H)>, DataError> {
        if !path.is_file() {
            return Ok(None);
        }
        let damaged = |reason: &str| DataError::Cache {
            path: path.into(),
            reason: reason.into(),
        };
        let mut file = BufReader::new(File::open(path).map_err(failed(path))?);
        let read = read_header::<H>(&mut file).map_err(failed(path))?;
        let (header, digest, mut start) =
            read.ok_or_else(|| damaged("it has no readable header"))?;
        if header.key() != key {
            return Err(damaged("it was made from something else"));
        }
        if digest_of(&mut file).map_err(failed(path))? != digest {
            return Err(damaged("its contents are not what was written"));
        }
        let starts = header.tensors().into_iter().map(|tensor| {
            start += tensor.bytes() as u64;
            start - tensor.bytes() as u64
        });
        let cache = Self {
            starts: starts.collect(),
            path: path.into(),
            file: Mutex::new(file.into_inner()),
        };
        Ok(Some((cache, header)))
    }

    /// The `index`-th piece of `len` bytes of a tensor.
    pub(crate) fn read(
        &self,
        tensor: usize,
        index: usize,
        len: usize,
    ) -> Result<Vec<u8>, DataError> {
        let mut bytes = vec![0; len];
        let mut file = self
            .file
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        file.seek(SeekFrom::Start(self.starts[tensor] + (len * index) as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(failed(&self.path))?;
        Ok(bytes)
    }
}

/// A cache's own header, the digest of its data, and where the data begins.
fn read_header<H: CacheHeader>(file: &mut impl Read) -> io::Result<Option<(H, String, u64)>> {
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let mut text = vec![];
    file.take(length.min(1 << 20)).read_to_end(&mut text)?;
    let parsed = || -> Option<(H, String)> {
        let all: Value = serde_json::from_slice(&text).ok()?;
        let metadata = all.get("__metadata__")?;
        let own = metadata.get(H::KIND)?.as_str()?;
        let digest = metadata.get("sha256")?.as_str()?;
        Some((serde_json::from_str(own).ok()?, digest.into()))
    };
    Ok(parsed().map(|(header, digest)| (header, digest, 8 + length)))
}

/// The digest of the rest of a file.
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

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn failed(path: &Path) -> impl Fn(io::Error) -> DataError + '_ {
    |error| DataError::Cache {
        path: path.into(),
        reason: error.to_string(),
    }
}

fn unwritten(path: &Path) -> impl Fn(io::Error) -> DataError + '_ {
    |source| DataError::Write {
        path: path.into(),
        source,
    }
}
