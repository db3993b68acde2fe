//! Latents of pictures and states of their captions, on disk: made once, and read batch by batch.
//!
//! The file is a safetensors file, so that other tools can look into it: `captions` (I64 [examples]) says which states
//! belong to an example, `latents` (F32 [examples, copies, channels, height, width]) has one copy, or two where the
//! second is of the mirrored picture, and `states` (F32 [captions, tokens, width]) starts with those of the empty text.
//! For models that fill in pictures there is `beside` (F32 [examples, copies, holes, 1 + channels, height, width]): a
//! hole, then the latents of what is left of the picture.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::order::{Purpose, below, generator};
use crate::{Conditions, DataError, HostBatch, HostMaps, ImageShape, Order};

/// What a cache holds, and what it was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatentsHeader {
    /// Digest of all that the contents depend on: pictures, captions, networks.
    pub key: String,
    /// What to call the set.
    pub name: String,
    /// Digest of pictures and captions.
    pub fingerprint: String,
    /// A few of the captions, to draw samples from.
    pub some: Vec<String>,
    /// Which states belong to each example; 0 is the empty text, which belongs to none.
    #[serde(skip)]
    pub captions: Vec<u32>,
    /// Channels, height and width of a latent.
    pub latent: [usize; 3],
    /// Tokens of a text, and features of one state.
    pub states: [usize; 2],
    /// Whether there are latents of mirrored pictures too.
    pub mirrored: bool,
    /// The names of the classes, whose names are the captions then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Holes of each copy of a picture; 0 for models that fill in nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub holes: usize,
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

impl LatentsHeader {
    fn texts(&self) -> usize {
        1 + self.captions.iter().max().map_or(0, |&last| last as usize)
    }

    fn copies(&self) -> usize {
        1 + usize::from(self.mirrored)
    }

    fn latent_len(&self) -> usize {
        self.latent.iter().product()
    }

    /// Channels, height and width of what goes in beside a latent.
    fn beside(&self) -> [usize; 3] {
        let [channels, height, width] = self.latent;
        [1 + channels, height, width]
    }

    fn states_len(&self) -> usize {
        self.states.iter().product()
    }

    /// Bytes of the tensors, in the order in which they lie in the file.
    fn sizes(&self) -> [usize; 4] {
        let copies = self.captions.len() * self.copies();
        let beside: usize = self.beside().iter().product();
        [
            8 * self.captions.len(),
            4 * copies * self.latent_len(),
            4 * copies * self.holes * beside,
            4 * self.texts() * self.states_len(),
        ]
    }

    /// The safetensors header. The digest of the data has the same length whatever it is.
    fn to_bytes(&self, digest: &str) -> Vec<u8> {
        let [captions, latents, beside, states] = self.sizes();
        let (examples, copies) = (self.captions.len(), self.copies());
        let ([c, h, w], [b, _, _]) = (self.latent, self.beside());
        let tensor = |dtype: &str, shape: &[usize], start: usize, size: usize| json!({"dtype": dtype, "shape": shape, "data_offsets": [start, start + size]});
        let about = serde_json::to_string(self).unwrap_or_default();
        let (second, third) = (captions + latents, captions + latents + beside);
        let mut header = json!({
            "__metadata__": {"fewstep-latents": about, "sha256": digest},
            "captions": tensor("I64", &[examples], 0, captions),
            "latents": tensor("F32", &[examples, copies, c, h, w], captions, latents),
            "states": tensor("F32", &[self.texts(), self.states[0], self.states[1]], third, states),
        });
        if self.holes > 0 {
            let shape = [examples, copies, self.holes, b, h, w];
            header["beside"] = tensor("F32", &shape, second, beside);
        }
        let mut text = header.to_string().into_bytes();
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text);
        bytes
    }
}

/// Writes a cache: all latents in the order of the examples, then what goes in beside them, then all states.
#[derive(Debug)]
pub struct LatentsWriter {
    header: LatentsHeader,
    path: PathBuf,
    building: Building,
    file: BufWriter<File>,
    hash: Sha256,
    written: usize,
}

impl LatentsWriter {
    /// Starts a cache that is to lie at `path`; until it is finished it has another name. What a killed program left of
    /// a cache in the same folder is removed.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create(path: &Path, header: LatentsHeader) -> Result<Self, DataError> {
        let failed = failed(path);
        let start = || -> io::Result<(Building, BufWriter<File>)> {
            let folder = path.parent().unwrap_or(Path::new(""));
            fs::create_dir_all(folder)?;
            remove_leftovers(folder);
            let (building, file) = Building::start(path)?;
            let mut file = BufWriter::new(file);
            file.write_all(&header.to_bytes(&"0".repeat(64)))?;
            Ok((building, file))
        };
        let (building, file) = start().map_err(failed)?;
        let numbers: Vec<u8> = header
            .captions
            .iter()
            .flat_map(|&text| i64::from(text).to_le_bytes())
            .collect();
        let mut writer = Self {
            path: path.into(),
            building,
            file,
            hash: Sha256::new(),
            written: 0,
            header,
        };
        writer.append(&numbers)?;
        Ok(writer)
    }

    /// The latents of the next examples (each followed by that of its mirrored picture, where there are such), after
    /// them what goes in beside the next ones, hole by hole, and at last the states of the next texts.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, values: &[f32]) -> Result<(), DataError> {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.append(&bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.hash.update(bytes);
        self.written += bytes.len();
        let failed = failed(&self.path);
        self.file.write_all(bytes).map_err(failed)
    }

    /// Puts the cache into its place, whole.
    ///
    /// # Errors
    /// When it cannot be written, or when what was written is not what the header says.
    pub fn finish(self) -> Result<(), DataError> {
        let expected: usize = self.header.sizes().iter().sum();
        if self.written != expected {
            return Err(DataError::Cache {
                path: self.path,
                reason: format!("{} bytes were written instead of {expected}", self.written),
            });
        }
        let digest = hex(&self.hash.finalize());
        let (header, building, path) = (self.header, self.building, self.path);
        let end = |mut file: BufWriter<File>| -> io::Result<()> {
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&header.to_bytes(&digest))?;
            file.into_inner()?.sync_all()?;
            fs::rename(&building.0, &path)
        };
        end(self.file).map_err(failed(&path))
    }
}

/// The name of a cache that is being written. The file is gone when this is, unless it was renamed; while it is written
/// it is locked, by which others know that its program lives.
#[derive(Debug)]
struct Building(PathBuf);

impl Building {
    fn start(path: &Path) -> io::Result<(Self, File)> {
        let name = path.with_extension(format!("{}.{UNFINISHED}", std::process::id()));
        loop {
            let file = File::create(&name)?;
            // Where files cannot be locked, others leave them alone.
            let _ = file.lock();
            // Between its making and its lock another program may have taken it for a leftover.
            if name.exists() {
                return Ok((Self(name), file));
            }
        }
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        // A file that has its own name by now is not there any more.
        let _ = fs::remove_file(&self.0);
    }
}

/// The ending of a cache that is not finished.
const UNFINISHED: &str = "tmp";

/// Removes caches that were never finished and that nobody writes any more. What cannot be removed stays.
fn remove_leftovers(folder: &Path) {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    for file in files.map(|entry| entry.path()) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let unfinished = name.starts_with("latents-") && name.ends_with(UNFINISHED);
        if unfinished && File::open(&file).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_file(&file);
        }
    }
}

/// A cache, open. Batches are read from the file; the system keeps in memory what there is room for.
#[derive(Debug)]
pub struct Latents {
    header: LatentsHeader,
    path: PathBuf,
    file: Mutex<File>,
    /// Where the latents, what goes in beside them, and the states begin.
    starts: [u64; 3],
    empty: Vec<f32>,
}

impl Latents {
    /// Opens a cache and checks that it is what `key` asks for and that it is undamaged; none where there is no file.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or belongs to another key.
    pub fn open(path: &Path, key: &str) -> Result<Option<Self>, DataError> {
        if !path.is_file() {
            return Ok(None);
        }
        let damaged = |reason: &str| DataError::Cache {
            path: path.into(),
            reason: reason.into(),
        };
        let mut file = BufReader::new(File::open(path).map_err(failed(path))?);
        let read = read_header(&mut file).map_err(failed(path))?;
        let (mut header, digest, start) =
            read.ok_or_else(|| damaged("it has no readable header"))?;
        if header.key != key {
            return Err(damaged("it was made from something else"));
        }
        let (found, numbers) =
            digest_of(&mut file, 8 * header.captions.len()).map_err(failed(path))?;
        if found != digest {
            return Err(damaged("its contents are not what was written"));
        }
        let numbers = numbers
            .chunks_exact(8)
            .map(|b| b[0..4].try_into().map_or(0, u32::from_le_bytes));
        header.captions = numbers.collect();
        let [captions, latents, beside, _] = header.sizes().map(|size| size as u64);
        let first = start + captions;
        let mut cache = Self {
            starts: [first, first + latents, first + latents + beside],
            path: path.into(),
            file: Mutex::new(file.into_inner()),
            empty: vec![],
            header,
        };
        cache.empty = cache.states(0)?;
        Ok(Some(cache))
    }

    /// What is in it.
    pub fn header(&self) -> &LatentsHeader {
        &self.header
    }

    /// How many examples there are.
    pub fn len(&self) -> usize {
        self.header.captions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.header.captions.is_empty()
    }

    /// The shape of a latent.
    pub fn shape(&self) -> ImageShape {
        let [channels, height, width] = self.header.latent;
        ImageShape {
            channels,
            height,
            width,
        }
    }

    /// The batch of `size` samples that starts at `clock`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn batch(
        &self,
        conditions: Option<&Conditions>,
        order: &mut Order,
        clock: u64,
        size: usize,
    ) -> Result<HostBatch, DataError> {
        let (mut pixels, mut beside) = (vec![], vec![]);
        let (mut states, mut indices) = (vec![], vec![]);
        let mut hints = conditions.map(HostMaps::new);
        let holes = self.header.holes;
        let (len, len_beside) = (self.header.latent_len(), self.header.beside());
        for clock in clock..clock + size as u64 {
            let pick = order.at(clock);
            indices.push(pick.index as u64);
            let copy =
                pick.index * self.header.copies() + usize::from(pick.flip && self.header.mirrored);
            pixels.extend(self.read(self.starts[0], copy, len)?);
            if holes > 0 {
                let random = &mut generator(order.seed(), Purpose::Condition, clock);
                let index = copy * holes + below(holes as u64, random) as usize;
                let len = len_beside.iter().product();
                beside.extend(self.read(self.starts[1], index, len)?);
            }
            states.extend(self.states(self.header.captions[pick.index] as usize)?);
            if let Some((conditions, hints)) = conditions.zip(hints.as_mut()) {
                // Conditions of a captioned set have a source for every example.
                if let Some(source) = conditions.source(pick)? {
                    hints.add(conditions, &source, order.seed(), clock);
                }
            }
        }
        Ok(HostBatch {
            clock,
            labels: vec![None; size],
            indices,
            pixels,
            shape: self.shape(),
            hints,
            beside: (holes > 0).then_some(HostMaps {
                pixels: beside,
                shape: len_beside,
            }),
            text: Some(HostText {
                states,
                empty: self.empty.clone(),
                shape: self.header.states,
            }),
        })
    }

    /// The states of a text.
    fn states(&self, text: usize) -> Result<Vec<f32>, DataError> {
        self.read(self.starts[2], text, self.header.states_len())
    }

    /// The `index`-th of many tensors of `len` numbers.
    fn read(&self, start: u64, index: usize, len: usize) -> Result<Vec<f32>, DataError> {
        let mut bytes = vec![0; 4 * len];
        let mut file = self
            .file
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        file.seek(SeekFrom::Start(start + (4 * len * index) as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(failed(&self.path))?;
        let values = bytes.chunks_exact(4);
        Ok(values
            .map(|b| b.try_into().map_or(f32::NAN, f32::from_le_bytes))
            .collect())
    }
}

/// The states of the captions of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct HostText {
    /// [batch, tokens, width].
    pub states: Vec<f32>,
    /// Those of the empty text, [tokens, width].
    pub empty: Vec<f32>,
    /// Tokens and width.
    pub shape: [usize; 2],
}

/// The header, the digest of the data, and where the data begins. The captions are zeros, as many as there are.
fn read_header(file: &mut impl Read) -> io::Result<Option<(LatentsHeader, String, u64)>> {
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let mut text = vec![];
    file.take(length.min(1 << 20)).read_to_end(&mut text)?;
    let Ok(Value::Object(all)) = serde_json::from_slice::<Value>(&text) else {
        return Ok(None);
    };
    let parsed = |all: &Map<String, Value>| -> Option<(LatentsHeader, String)> {
        let metadata = all.get("__metadata__")?;
        let about = metadata.get("fewstep-latents")?.as_str()?;
        let mut header: LatentsHeader = serde_json::from_str(about).ok()?;
        let examples = all.get("captions")?.get("shape")?.get(0)?.as_u64()?;
        header.captions = vec![0; examples as usize];
        Some((header, metadata.get("sha256")?.as_str()?.into()))
    };
    Ok(parsed(&all).map(|(header, digest)| (header, digest, 8 + length)))
}

/// The digest of all that is left of a file, and its first bytes.
fn digest_of(file: &mut impl Read, first: usize) -> io::Result<(String, Vec<u8>)> {
    let mut hash = Sha256::new();
    let mut start = vec![0; first];
    file.read_exact(&mut start)?;
    hash.update(&start);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((hex(&hash.finalize()), start)),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn header(mirrored: bool, holes: usize) -> LatentsHeader {
        LatentsHeader {
            key: "key".into(),
            name: "three".into(),
            fingerprint: "0123".into(),
            some: vec!["a cat".into()],
            captions: vec![1, 2, 1],
            latent: [2, 1, 2],
            states: [2, 3],
            mirrored,
            classes: vec![],
            holes,
        }
    }

    /// Every number of latent and states tells where it belongs.
    fn write(path: &Path, mirrored: bool, holes: usize) {
        let mut writer = LatentsWriter::create(path, header(mirrored, holes)).unwrap();
        let copies = 1 + usize::from(mirrored);
        let bases = (0..3 * copies).map(|i| (100 * (i / copies) + 10 * (i % copies)) as f32);
        for base in bases.clone() {
            writer
                .write(&[base, base + 1.0, base + 2.0, base + 3.0])
                .unwrap();
        }
        for base in bases {
            for hole in 0..holes {
                writer.write(&[base + 0.1 * hole as f32; 6]).unwrap();
            }
        }
        for text in 0..3 {
            writer.write(&[1000.0 * text as f32; 6]).unwrap();
        }
        writer.finish().unwrap();
    }

    #[test]
    fn batches_are_those_of_the_order_with_their_texts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.safetensors");
        for (mirrored, holes) in [(false, 0), (true, 0), (false, 2), (true, 3)] {
            write(&path, mirrored, holes);
            let cache = Latents::open(&path, "key").unwrap().unwrap();
            assert_eq!(*cache.header(), header(mirrored, holes));
            let mut order = Order::new(3, 3, true);
            let batch = cache.batch(None, &mut order, 4, 7).unwrap();
            let text = batch.text.as_ref().unwrap();
            for sample in 0..7 {
                let pick = order.at(4 + sample as u64);
                let flipped = usize::from(pick.flip && mirrored);
                let base = (100 * pick.index + 10 * flipped) as f32;
                assert_eq!(
                    batch.pixels[4 * sample..][..4],
                    [base, base + 1.0, base + 2.0, base + 3.0]
                );
                let caption = header(mirrored, holes).captions[pick.index] as f32;
                assert_eq!(text.states[6 * sample..][..6], [1000.0 * caption; 6]);
                if let Some(beside) = &batch.beside {
                    let seen = &beside.pixels[6 * sample..][..6];
                    let of_holes = (0..holes).map(|hole| [base + 0.1 * hole as f32; 6]);
                    assert!(of_holes.into_iter().any(|hole| hole == seen), "{seen:?}");
                }
            }
            let beside = batch.beside.as_ref().map(|beside| beside.shape);
            assert_eq!(beside, (holes > 0).then_some([3, 1, 2]));
            assert_eq!(text.empty, [0.0; 6]);
        }
    }

    #[test]
    fn holes_take_turns_by_seed_and_clock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.safetensors");
        write(&path, false, 3);
        let cache = Latents::open(&path, "key").unwrap().unwrap();
        let beside = |seed, clock, size| {
            let order = &mut Order::new(seed, 3, false);
            cache
                .batch(None, order, clock, size)
                .unwrap()
                .beside
                .unwrap()
                .pixels
        };
        assert_eq!(beside(1, 4, 8), beside(1, 0, 12)[4 * 6..]);
        let mut seen: Vec<i32> = beside(1, 0, 90).iter().map(|v| (10.0 * v) as i32).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 9, "{seen:?}");
    }

    #[test]
    fn a_cache_that_is_not_what_was_written_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.safetensors");
        assert!(Latents::open(&path, "key").unwrap().is_none());
        write(&path, false, 0);
        let other = Latents::open(&path, "other").unwrap_err().to_string();
        assert!(
            other.contains("something else") && other.contains("remove it"),
            "{other}"
        );
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(
            Latents::open(&path, "key")
                .unwrap_err()
                .to_string()
                .contains("contents")
        );
        fs::write(&path, &bytes[..last]).unwrap();
        assert!(Latents::open(&path, "key").is_err());
        fs::write(&path, b"hello").unwrap();
        assert!(Latents::open(&path, "key").is_err());
    }

    #[test]
    fn an_unfinished_cache_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.safetensors");
        let mut writer = LatentsWriter::create(&path, header(false, 0)).unwrap();
        writer.write(&[0.0; 5]).unwrap();
        assert!(
            writer
                .finish()
                .unwrap_err()
                .to_string()
                .contains("instead of")
        );
        assert!(Latents::open(&path, "key").unwrap().is_none());
        assert_eq!(names(folder.path()), [""; 0]);
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_program_left_goes_and_what_another_writes_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        for name in ["latents-a.17.tmp", "latents-b.safetensors", "other.tmp"] {
            fs::write(file(name), "begun").unwrap();
        }
        let alive = File::create(file("latents-c.18.tmp")).unwrap();
        alive.lock().unwrap();
        let writer =
            LatentsWriter::create(&file("latents-d.safetensors"), header(false, 0)).unwrap();
        let own = format!("latents-d.{}.tmp", std::process::id());
        let kept = ["latents-b.safetensors", "latents-c.18.tmp", "other.tmp"];
        let mut expected = [&kept[..], &[&own]].concat();
        expected.sort();
        assert_eq!(names(folder.path()), expected);
        drop(writer);
        assert_eq!(names(folder.path()), kept);
    }
}
