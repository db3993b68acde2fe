//! Images that were generated in shards: what each shard is, and the set that they make.

use super::generate::PromptedArgs;
use super::image_files::{ImageArgs, numbered_name};
use super::shard::{Shard, check_whole};
use crate::error::{CliError, CliResult};
use crate::storage::Storage;
use fewstep_generate::{Generator, Subject};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A shard of generated images: a JSON file next to them, written when all are there.
#[derive(Serialize, Deserialize)]
pub(crate) struct ImageShard {
    shard: Shard,
    set: SetSettings,
    /// The numbers of its images: the first, and the one after the last.
    numbers: [u64; 2],
    /// The hash of the file of each image; empty before they are written.
    hashes: Vec<String>,
}

/// Images that are in memory at the same time while they are copied.
const CHUNK: usize = 256;

/// A setting that is not there.
const NONE: &str = "none";

/// What all images of a set depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SetSettings {
    /// Number of images.
    count: usize,
    /// Everything else by its name.
    #[serde(flatten)]
    settings: BTreeMap<String, String>,
}

impl ImageShard {
    /// Where its images go.
    pub(crate) fn place(images: &mut ImageArgs) -> CliResult<Storage> {
        images.take_folder()?.ok_or_else(|| {
            CliError::input(
                "--shard writes one file per image: give a folder for them with --out, or a place in object storage",
            )
        })
    }

    /// The shard of the images that these flags generate. Changes the flags to generate only it.
    pub(crate) fn of(
        shard: Shard,
        prompted: &mut PromptedArgs,
        generator: &Generator,
        subjects: &[Subject],
        count: usize,
    ) -> CliResult<Self> {
        let count = prompted.generate.count.unwrap_or(count);
        let share = shard.share_of(count)?;
        let request = prompted.generate.request(generator, vec![])?;
        let w = generator.effective_w(prompted.generate.guidance.w());
        let subjects = Sha256::digest(format!("{subjects:?}"));
        let negative = prompted.prompts.negative_prompt.as_deref();
        let used = prompted.generate.load.used()?.with_hashes();
        let [loras, embeddings] = used.map(|used| listed(&used));
        let settings = [
            ("model", generator.weights_hash().to_string()),
            ("LoRA", loras),
            ("embeddings", embeddings),
            ("CLIP skip", generator.model().recipe.clip_skip.to_string()),
            ("sampler", format!("{:?}", request.sampler)),
            ("steps", request.steps.to_string()),
            ("w", format!("{w:?}")),
            ("seed", prompted.generate.seed.to_string()),
            ("first", prompted.first.to_string()),
            ("size", format!("{:?}", prompted.prompts.size)),
            ("classes or prompts", format!("{subjects:x}")),
            ("negative prompt", negative.unwrap_or_default().into()),
            ("precision", prompted.generate.precision.describe()),
        ];
        let settings = settings.map(|(name, value)| (name.to_string(), value));
        let first = prompted.first.checked_add(share.start as u64);
        prompted.first = first.unwrap_or(prompted.first);
        prompted.generate.count = Some(share.len());
        Ok(Self {
            shard,
            set: SetSettings {
                count,
                settings: settings.into(),
            },
            numbers: [
                prompted.first,
                prompted.first.saturating_add(share.len() as u64),
            ],
            hashes: vec![],
        })
    }

    /// Says what the shard is, now that its images are there.
    pub(crate) fn write(self, storage: &Storage) -> CliResult {
        let [first, end] = self.numbers;
        let names: Vec<String> = (first..end).map(numbered_name).collect();
        let mut hashes = vec![];
        storage.get_all(&names, |_, bytes| {
            hashes.push(hash(&bytes?));
            Ok(())
        })?;
        let complete = Self { hashes, ..self };
        let text = format!("{:#}\n", serde_json::json!(complete));
        storage.put(&complete.shard.file("json"), text.into())
    }

    /// All shards in these places.
    pub(crate) fn find(places: &[Storage]) -> CliResult<Vec<(Self, usize)>> {
        let mut found = vec![];
        for (place, storage) in places.iter().enumerate() {
            let names = storage.list("shard-", ".json")?;
            storage.get_all(&names, |index, bytes| {
                let shard = serde_json::from_slice(&bytes?).map_err(|error| {
                    CliError::input(format!(
                        "{} is no shard of images: {error}",
                        storage.shown(&names[index])
                    ))
                })?;
                found.push((shard, place));
                Ok(())
            })?;
        }
        Ok(found)
    }
}

/// Files with their hashes.
fn listed(files: &[String]) -> String {
    match files {
        [] => NONE.into(),
        _ => files.join(" "),
    }
}

/// The hash of a file.
fn hash(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Checks that shards make one set with all its images, and copies the images that are elsewhere
/// into one place. Returns the number of images.
pub(crate) fn merge(
    mut shards: Vec<(ImageShard, usize)>,
    places: &[Storage],
    out: &Storage,
) -> CliResult<usize> {
    shards.sort_by_key(|(shard, _)| shard.shard.index);
    let file = |(shard, place): &(ImageShard, usize)| {
        (shard.shard, places[*place].shown(&shard.shard.file("json")))
    };
    let files: Vec<(Shard, String)> = shards.iter().map(file).collect();
    check_whole(&files)?;
    let set = &shards[0].0.set;
    for ((shard, _), (_, file)) in shards.iter().zip(&files) {
        if let Some(difference) = set.difference(&shard.set) {
            return Err(CliError::input(format!(
                "{file} is of another set than {}: {difference}. Run the shards of a set with the same flags",
                files[0].1
            )));
        }
    }
    for ((shard, place), (_, file)) in shards.iter().zip(&files) {
        let storage = &places[*place];
        let [first, end] = shard.numbers;
        if shard.hashes.len() as u64 != end - first {
            return Err(CliError::input(format!(
                "{file} is damaged: it has {} hashes for {} images. Run the shard again",
                shard.hashes.len(),
                end - first
            )));
        }
        let names: Vec<String> = (first..end).map(numbered_name).collect();
        for (names, hashes) in names.chunks(CHUNK).zip(shard.hashes.chunks(CHUNK)) {
            let mut copies = vec![];
            storage.get_all(names, |index, bytes| {
                let bytes = bytes.map_err(|error| {
                    error.context(&format!("shard {} is not whole, run it again", shard.shard))
                })?;
                if hash(&bytes) != hashes[index] {
                    return Err(CliError::input(format!(
                        "{} is not the image that shard {} wrote: run the shard again",
                        storage.shown(&names[index]),
                        shard.shard
                    )));
                }
                if !storage.is(out) {
                    copies.push(Ok((names[index].clone(), bytes)));
                }
                Ok(())
            })?;
            out.put_all(copies.into_iter())?;
        }
    }
    let text = format!("{:#}\n", serde_json::json!(set));
    out.put("set.json", text.into())?;
    Ok(set.count)
}

impl SetSettings {
    fn difference(&self, other: &Self) -> Option<String> {
        if self.count != other.count {
            return Some(format!("{} images there, {} here", self.count, other.count));
        }
        let value = |set: &Self, name: &String| -> String {
            set.settings.get(name).map_or(NONE, String::as_str).into()
        };
        let mut names = self.settings.keys().chain(other.settings.keys());
        let name = names.find(|name| value(self, name) != value(other, name))?;
        let [there, here] = [self, other].map(|set| value(set, name));
        Some(format!("the {name} is {there} there and {here} here"))
    }
}
