//! Latents of images and states of their captions, on disk: made once, and read batch by batch.
//!
//! The file is a safetensors file, so that other tools can look into it: `captions` (I64 [examples]) says which states
//! belong to an example, `latents` (F32 [examples, copies, channels, height, width]) has one copy, or two where the
//! second is of the mirrored image, and `states` (F32 [captions, tokens, width]) starts with those of the empty text.
//! `beside` (F32 [examples, copies, holes, 1 + channels, height, width]) is for models that fill in images, and has no
//! holes for others: a hole, then the latents of what is left of the image.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cache::{About, CacheFile, CacheWriter, F32, I64, Part};
use crate::order::{Purpose, below, generator};
use crate::{Conditions, DataError, ExampleOrder, HostArray, HostBatch, ImageShape};
use fewstep_diffusion::{Inputs, PromptEmbeds};

/// What a cache holds, and what it was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatentsHeader {
    /// Digest of all that the contents depend on: images, captions, networks.
    pub key: String,
    /// What to call the set.
    pub name: String,
    /// Digest of images and captions.
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
    /// Whether there are latents of mirrored images too.
    pub mirrored: bool,
    /// The names of the classes, whose names are the captions then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Holes of each copy of an image; 0 for models that fill in nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub holes: usize,
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

impl LatentsHeader {
    /// The shape of a latent.
    pub fn shape(&self) -> ImageShape {
        let [channels, height, width] = self.latent;
        ImageShape {
            channels,
            height,
            width,
        }
    }

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
    fn concat(&self) -> [usize; 3] {
        let [channels, height, width] = self.latent;
        [1 + channels, height, width]
    }

    fn states_len(&self) -> usize {
        self.states.iter().product()
    }
}

/// The header with the numbers that the captions themselves tell.
#[derive(Debug, Serialize, Deserialize)]
struct Described {
    #[serde(flatten)]
    header: LatentsHeader,
    examples: usize,
    texts: usize,
}

impl About for Described {
    const KIND: &'static str = "fewstep-latents";

    fn key(&self) -> &str {
        &self.header.key
    }

    fn parts(&self) -> Vec<Part> {
        let header = &self.header;
        let copies = [self.examples, header.copies()];
        let part = |name, dtype, shape| Part { name, dtype, shape };
        let concat = [&copies[..], &[header.holes], &header.concat()].concat();
        let states = [&[self.texts][..], &header.states].concat();
        vec![
            part("captions", I64, vec![self.examples]),
            part("latents", F32, [&copies[..], &header.latent].concat()),
            part("beside", F32, concat),
            part("states", F32, states),
        ]
    }
}

/// Where the parts are among these.
const CAPTIONS: usize = 0;
const LATENTS: usize = 1;
const BESIDE: usize = 2;
const STATES: usize = 3;

/// Writes a cache: all latents in the order of the examples, then what goes in beside them, then all states.
#[derive(Debug)]
pub struct LatentsWriter(CacheWriter<Described>);

impl LatentsWriter {
    /// Starts a cache that is to lie at `path`; until it is finished it has another name. What a killed program left of
    /// a cache in the same folder is removed.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create(path: &Path, header: LatentsHeader) -> Result<Self, DataError> {
        let numbers: Vec<u8> = header
            .captions
            .iter()
            .flat_map(|&text| i64::from(text).to_le_bytes())
            .collect();
        let described = Described {
            examples: header.captions.len(),
            texts: header.texts(),
            header,
        };
        let mut writer = CacheWriter::create(path, described)?;
        writer.write(&numbers)?;
        Ok(Self(writer))
    }

    /// The latents of the next examples (each followed by that of its mirrored image, where there are such), after
    /// them what goes in beside the next ones, hole by hole, and at last the states of the next texts.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, values: &[f32]) -> Result<(), DataError> {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        self.0.write(&bytes.collect::<Vec<u8>>())
    }

    /// Puts the cache into its place, whole.
    ///
    /// # Errors
    /// When it cannot be written, or when what was written is not what the header says.
    pub fn finish(self) -> Result<(), DataError> {
        self.0.finish()
    }
}

/// A cache, open. Batches are read from the file; the system keeps in memory what there is room for.
#[derive(Debug)]
pub struct Latents {
    header: LatentsHeader,
    file: CacheFile,
    empty: Vec<f32>,
}

impl Latents {
    /// Opens a cache and checks that it is what `key` asks for and that it is undamaged; none where there is no file.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or belongs to another key.
    pub fn open(path: &Path, key: &str) -> Result<Option<Self>, DataError> {
        let Some((file, described)) = CacheFile::open::<Described>(path, key)? else {
            return Ok(None);
        };
        let mut header = described.header;
        let captions = file.read(CAPTIONS, 0, 8 * described.examples)?;
        let numbers = captions.chunks_exact(8);
        let numbers = numbers.map(|b| b[0..4].try_into().map_or(0, u32::from_le_bytes));
        header.captions = numbers.collect();
        let mut cache = Self {
            empty: vec![],
            header,
            file,
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

    /// The batch of `size` samples that starts at `clock`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn batch(
        &self,
        conditions: Option<&Conditions>,
        order: &mut ExampleOrder,
        clock: u64,
        size: usize,
    ) -> Result<HostBatch, DataError> {
        let (mut latents, mut concat) = (vec![], vec![]);
        let (mut states, mut indices) = (vec![], vec![]);
        let mut control = conditions.map(HostArray::of_conditions);
        let holes = self.header.holes;
        let (len, shape_concat) = (self.header.latent_len(), self.header.concat());
        for clock in clock..clock + size as u64 {
            let pick = order.at(clock);
            indices.push(pick.index as u64);
            let copy =
                pick.index * self.header.copies() + usize::from(pick.flip && self.header.mirrored);
            latents.extend(self.read(LATENTS, copy, len)?);
            if holes > 0 {
                let random = &mut generator(order.seed(), Purpose::Condition, clock);
                let index = copy * holes + below(holes as u64, random) as usize;
                let len = shape_concat.iter().product();
                concat.extend(self.read(BESIDE, index, len)?);
            }
            states.extend(self.states(self.header.captions[pick.index] as usize)?);
            if let Some((conditions, control)) = conditions.zip(control.as_mut()) {
                // Conditions of a captioned set have a source for every example.
                if let Some(source) = conditions.source(pick)? {
                    control.add_condition(conditions, &source, order.seed(), clock);
                }
            }
        }
        Ok(HostBatch {
            clock,
            indices,
            images: HostArray {
                values: latents,
                shape: self.header.latent,
            },
            inputs: Inputs {
                prompt: Some(PromptEmbeds {
                    cond: HostArray {
                        values: states,
                        shape: self.header.states,
                    },
                    uncond: HostArray {
                        values: self.empty.clone(),
                        shape: self.header.states,
                    },
                }),
                control,
                concat: (holes > 0).then_some(HostArray {
                    values: concat,
                    shape: shape_concat,
                }),
                ..Inputs::default()
            },
        })
    }

    /// The states of a text.
    fn states(&self, text: usize) -> Result<Vec<f32>, DataError> {
        self.read(STATES, text, self.header.states_len())
    }

    /// The `index`-th of the tensors of `len` numbers that a part has one behind the other.
    fn read(&self, part: usize, index: usize, len: usize) -> Result<Vec<f32>, DataError> {
        let bytes = self.file.read(part, index, 4 * len)?;
        let values = bytes.chunks_exact(4);
        Ok(values
            .map(|b| b.try_into().map_or(f32::NAN, f32::from_le_bytes))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

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
            let mut order = ExampleOrder::new(3, 3, true);
            let batch = cache.batch(None, &mut order, 4, 7).unwrap();
            let prompt = batch.inputs.prompt.as_ref().unwrap();
            for sample in 0..7 {
                let pick = order.at(4 + sample as u64);
                let flipped = usize::from(pick.flip && mirrored);
                let base = (100 * pick.index + 10 * flipped) as f32;
                assert_eq!(
                    batch.images.values[4 * sample..][..4],
                    [base, base + 1.0, base + 2.0, base + 3.0]
                );
                let caption = header(mirrored, holes).captions[pick.index] as f32;
                assert_eq!(prompt.cond.values[6 * sample..][..6], [1000.0 * caption; 6]);
                if let Some(concat) = &batch.inputs.concat {
                    let seen = &concat.values[6 * sample..][..6];
                    let of_holes = (0..holes).map(|hole| [base + 0.1 * hole as f32; 6]);
                    assert!(of_holes.into_iter().any(|hole| hole == seen), "{seen:?}");
                }
            }
            let concat = batch.inputs.concat.as_ref().map(|concat| concat.shape);
            assert_eq!(concat, (holes > 0).then_some([3, 1, 2]));
            assert_eq!(prompt.uncond.values, [0.0; 6]);
        }
    }

    #[test]
    fn holes_take_turns_by_seed_and_clock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.safetensors");
        write(&path, false, 3);
        let cache = Latents::open(&path, "key").unwrap().unwrap();
        let concat = |seed, clock, size| {
            let order = &mut ExampleOrder::new(seed, 3, false);
            cache
                .batch(None, order, clock, size)
                .unwrap()
                .inputs
                .concat
                .unwrap()
                .values
        };
        assert_eq!(concat(1, 4, 8), concat(1, 0, 12)[4 * 6..]);
        let mut seen: Vec<i32> = concat(1, 0, 90).iter().map(|v| (10.0 * v) as i32).collect();
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
