//! Caches of the shards of a set, as one.

use super::{Latents, LatentsHeader};
use crate::DataError;
use sha2::{Digest, Sha256};

/// How many captions a header names.
const SOME: usize = 16;

impl Latents {
    /// The examples of these caches one after another, under the name of the whole set. Its digests
    /// follow from the contents of the shards, wherever these are and whatever their files are
    /// called; `key` makes one of all that its contents depend on from that of images and captions.
    ///
    /// # Errors
    /// Without caches, and when they are of different networks or sizes.
    pub fn join(
        shards: Vec<Self>,
        name: &str,
        key: impl FnOnce(&str) -> String,
    ) -> Result<Self, DataError> {
        let mut hash = Sha256::new();
        let (mut captions, mut some, mut files) = (vec![], vec![], vec![]);
        let mut first: Option<(LatentsHeader, _)> = None;
        for shard in shards {
            let header = &shard.header;
            if let Some((known, _)) = &first
                && !is_alike(known, header)
            {
                return Err(DataError::Damaged {
                    origin: name.into(),
                    reason: "the latents of its shards are of different sizes".into(),
                });
            }
            hash.update(&header.fingerprint);
            let start = captions.len();
            captions.extend_from_slice(&header.captions);
            some.extend_from_slice(&header.some);
            let Self {
                header,
                files: own,
                empty,
            } = shard;
            files.extend(own.into_iter().map(|(at, file)| (start + at, file)));
            first.get_or_insert((header, empty));
        }
        let Some((header, empty)) = first else {
            return Err(DataError::Empty {
                origin: name.into(),
                hint: "it has no shards".into(),
            });
        };
        let step = some.len().div_ceil(SOME).max(1);
        let fingerprint = crate::cache::hex(&hash.finalize()[..8]);
        Ok(Self {
            header: LatentsHeader {
                key: key(&fingerprint),
                name: name.into(),
                fingerprint,
                some: some.into_iter().step_by(step).collect(),
                captions,
                ..header
            },
            files,
            empty,
        })
    }
}

fn is_alike(a: &LatentsHeader, b: &LatentsHeader) -> bool {
    let shape = |header: &LatentsHeader| {
        let LatentsHeader {
            latent,
            states,
            pooled,
            image,
            ..
        } = *header;
        (latent, states, pooled, image)
    };
    let rest = |header: &LatentsHeader| (header.mirrored, header.masks, header.source_images);
    shape(a) == shape(b) && rest(a) == rest(b) && a.classes == b.classes
}
