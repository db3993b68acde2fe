//! Latents of images and states of their captions, on disk: made once, and read batch by batch.
//!
//! The file is a safetensors file, so that other tools can read it: `captions` (I64 [examples])
//! says which states belong to an example, `latents` (F32 [examples, copies, channels, height,
//! width]) has one copy, or two if the second is of the mirrored image, and `states` (F32
//! [captions, tokens, width]) starts with those of the empty text. `concat` (F32 [examples, copies,
//! masks, 1 + channels, height, width]) is for models that do inpainting and has no masks for
//! others: a mask, then the latents of the masked image. `pooled` (F32 [captions, features]) is
//! there for models that take it.

mod header;
mod joined;
#[cfg(test)]
mod tests;
mod writer;

pub use header::LatentsHeader;
pub use writer::LatentsWriter;

use crate::cache::CacheFile;
use crate::order::{Purpose, below, generator};
use crate::{Conditions, DataError, ExampleOrder, HostArray, HostBatch, HostTexts};
use fewstep_diffusion::{Inputs, PromptEmbeds};
use header::{CAPTIONS, CONCAT, LATENTS, POOLED, STATES, StoredHeader};
use std::path::Path;

/// An open cache, or several one after another. Batches are read from the files; the system keeps in
/// memory what there is room for.
#[derive(Debug)]
pub struct Latents {
    header: LatentsHeader,
    /// Each with the number of its first example.
    files: Vec<(usize, CacheFile)>,
    empty: HostTexts,
}

impl Latents {
    /// Opens a cache and checks that it belongs to `key` and is undamaged; none if there is no
    /// file.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or belongs to another key.
    pub fn open(path: &Path, key: &str) -> Result<Option<Self>, DataError> {
        let Some((file, stored)) = CacheFile::open::<StoredHeader>(path, key)? else {
            return Ok(None);
        };
        let mut header = stored.header;
        let captions = file.read(CAPTIONS, 0, 8 * stored.examples)?;
        let numbers = captions.chunks_exact(8);
        let numbers = numbers.map(|b| b[0..4].try_into().map_or(0, u32::from_le_bytes));
        header.captions = numbers.collect();
        let mut cache = Self {
            empty: header.no_texts(),
            header,
            files: vec![(0, file)],
        };
        let mut empty = cache.header.no_texts();
        cache.read_text(&cache.files[0].1, 0, &mut empty)?;
        cache.empty = empty;
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
        let (mut texts, mut indices) = (self.header.no_texts(), vec![]);
        let mut control = conditions.map(HostArray::of_conditions);
        let concats = self.header.concats();
        let (len, shape_concat) = (self.header.latent_len(), self.header.concat());
        for clock in clock..clock + size as u64 {
            let draw = order.at(clock);
            indices.push(draw.index as u64);
            let (first, file) = self.file_of(draw.index);
            let copy = (draw.index - first) * self.header.copies()
                + usize::from(draw.flip && self.header.mirrored);
            latents.extend(read(file, LATENTS, copy, len)?);
            if concats > 0 {
                let random = &mut generator(order.seed(), Purpose::Condition, clock);
                let index = copy * concats + below(concats as u64, random) as usize;
                let len = shape_concat.iter().product();
                concat.extend(read(file, CONCAT, index, len)?);
            }
            self.read_text(file, self.header.captions[draw.index] as usize, &mut texts)?;
            if let Some((conditions, control)) = conditions.zip(control.as_mut()) {
                // Conditions of a captioned set have a source for every example.
                if let Some(source) = conditions.source(draw)? {
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
                    cond: texts,
                    uncond: self.empty.clone(),
                }),
                time_ids: self.header.time_ids().map(|ids| vec![ids; size]),
                control,
                concat: (concats > 0).then_some(HostArray {
                    values: concat,
                    shape: shape_concat,
                }),
                ..Inputs::default()
            },
        })
    }

    /// The file with an example, and the number of the first one in it.
    fn file_of(&self, example: usize) -> (usize, &CacheFile) {
        let after = self.files.partition_point(|(first, _)| *first <= example);
        let (first, file) = &self.files[after - 1];
        (*first, file)
    }

    /// Adds the embeddings of a text of a file.
    fn read_text(
        &self,
        file: &CacheFile,
        text: usize,
        to: &mut HostTexts,
    ) -> Result<(), DataError> {
        let states = read(file, STATES, text, self.header.states_len())?;
        to.states.values.extend(states);
        if let Some(pooled) = &mut to.pooled {
            pooled
                .values
                .extend(read(file, POOLED, text, self.header.pooled)?);
        }
        Ok(())
    }
}

/// The `index`-th piece of `len` numbers of a tensor.
fn read(file: &CacheFile, tensor: usize, index: usize, len: usize) -> Result<Vec<f32>, DataError> {
    let bytes = file.read(tensor, index, 4 * len)?;
    let values = bytes.chunks_exact(4);
    Ok(values
        .map(|b| b.try_into().map_or(f32::NAN, f32::from_le_bytes))
        .collect())
}
