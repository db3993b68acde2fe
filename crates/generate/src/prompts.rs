//! Prompts as embeddings, with a cache of them.

use crate::GenerateError;
use burn::tensor::Device;
use fewstep_diffusion::{PromptEmbeds, TextEmbeds};
use fewstep_formats::{Embeddings, Loras, PipelineComponents, TextEncoder, TextFacts};
use fewstep_kernels::memory;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use tracing::debug;

/// How long a text encoder stays in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepEncoder {
    /// As long as the generator, for one that gets many requests.
    #[default]
    Always,
    /// Until the prompts of a request are encoded, to leave its memory to the sampler. It is loaded
    /// again for a prompt that is not in the cache.
    WhileEncoding,
}

/// Prompts that are encoded together.
const TOGETHER: usize = 16;

/// What is added to a text encoder whenever it is loaded.
#[derive(Debug, Default)]
pub(crate) struct TextAdditions {
    pub(crate) loras: Loras,
    pub(crate) embeddings: Embeddings,
}

impl TextAdditions {
    fn add_to(&self, encoder: TextEncoder, device: &Device) -> Result<TextEncoder, GenerateError> {
        let encoder = self.loras.add_to_text(encoder, device)?;
        Ok(self.embeddings.add_to(encoder)?)
    }
}

/// A text, and how many of the last layers of the encoder are skipped for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Text<'a> {
    pub(crate) text: &'a str,
    pub(crate) clip_skip: usize,
}

/// A text encoder with a cache of embeddings, which takes at most as much memory as the encoder
/// itself.
#[derive(Debug)]
pub(crate) struct PromptCache {
    components: PipelineComponents,
    additions: TextAdditions,
    keep: KeepEncoder,
    /// Known without the encoder, which may be at work or not in memory.
    facts: TextFacts,
    device: Device,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    encoder: Option<TextEncoder>,
    /// The prompts, by the layers that were skipped.
    encoded: HashMap<(usize, String), Encoded>,
}

#[derive(Debug)]
struct Encoded {
    embeds: TextEmbeds,
    /// The end that was cut off because the prompt is too long.
    cut: Option<String>,
}

impl Text<'_> {
    fn key(&self) -> (usize, String) {
        (self.clip_skip, self.text.into())
    }
}

impl PromptCache {
    pub(crate) fn new(
        encoder: TextEncoder,
        components: PipelineComponents,
        additions: TextAdditions,
        keep: KeepEncoder,
        device: &Device,
    ) -> Result<Self, GenerateError> {
        let encoder = additions.add_to(encoder, device)?;
        Ok(Self {
            components,
            additions,
            keep,
            facts: encoder.facts(),
            device: device.clone(),
            state: Mutex::new(State {
                encoder: Some(encoder),
                encoded: HashMap::new(),
            }),
        })
    }

    /// What is known of the text encoder.
    pub(crate) fn facts(&self) -> &TextFacts {
        &self.facts
    }

    /// Parameters of the text encoder that are in memory.
    pub(crate) fn encoder_in_memory(&self) -> usize {
        let is_there = self.keeps_encoder() || self.lock().encoder.is_some();
        if is_there { self.facts.parameters } else { 0 }
    }

    /// Numbers in the embeddings that are kept where the encoder does not stay; where it does, its cache
    /// is small next to it.
    pub(crate) fn embeds_in_memory(&self) -> usize {
        match self.keeps_encoder() {
            true => 0,
            false => self.lock().encoded.len() * self.facts.embeds_len(),
        }
    }

    /// Whether the text encoder stays in memory.
    pub(crate) fn keeps_encoder(&self) -> bool {
        self.keep == KeepEncoder::Always
    }

    /// The folder with the encoder.
    pub(crate) fn components(&self) -> &PipelineComponents {
        &self.components
    }

    /// What is added to the text encoder.
    pub(crate) fn additions(&self) -> &TextAdditions {
        &self.additions
    }

    /// The end of a prompt that is cut off because it is too long.
    pub(crate) fn cut(&self, prompt: Text<'_>) -> Result<Option<String>, GenerateError> {
        let mut state = self.lock();
        match state.encoded.get(&prompt.key()) {
            Some(encoded) => Ok(encoded.cut.clone()),
            None => Ok(self.encoder(&mut state)?.tokens(prompt.text).cut),
        }
    }

    /// Whether the embeddings of so many prompts may be kept.
    fn holds(&self, prompts: usize) -> bool {
        prompts * self.facts.embeds_len() <= self.facts.parameters
    }

    /// Encodes all prompts of a request in advance, if their embeddings fit into the cache; then
    /// drops the encoder, unless it is to be kept.
    pub(crate) fn prepare<'a>(
        &self,
        prompts: impl Iterator<Item = Text<'a>>,
    ) -> Result<(), GenerateError> {
        let mut prompts: Vec<Text<'_>> = prompts.collect();
        prompts.sort_unstable();
        prompts.dedup();
        if !self.holds(prompts.len()) {
            return Ok(());
        }
        let mut state = self.lock();
        self.encode(&mut state, &prompts)?;
        if self.keep == KeepEncoder::WhileEncoding {
            state.encoder = None;
            // The sampler is to have its memory.
            memory::give_back();
        }
        Ok(())
    }

    /// The embeddings of prompts, each with those of the negative prompt, for which as many layers are
    /// skipped.
    pub(crate) fn embed(
        &self,
        prompts: &[Text<'_>],
        negative: &str,
    ) -> Result<PromptEmbeds, GenerateError> {
        let mut state = self.lock();
        let zeros = negative.is_empty() && self.facts.zero_empty;
        let negatives: Vec<Text<'_>> = match zeros {
            true => vec![],
            false => {
                let negative = |prompt: &Text<'_>| Text {
                    text: negative,
                    ..*prompt
                };
                prompts.iter().map(negative).collect()
            }
        };
        self.encode(&mut state, &[prompts, &negatives].concat())?;
        let of = |text: &Text<'_>| state.encoded[&text.key()].embeds.clone();
        let all = |texts: &[Text<'_>]| TextEmbeds::cat(texts.iter().map(of).collect());
        let cond = all(prompts);
        Ok(PromptEmbeds {
            uncond: match zeros {
                true => cond.zeros_like(),
                false => all(&negatives),
            },
            cond,
        })
    }

    /// Makes sure that the prompts are in the cache.
    fn encode(&self, state: &mut State, prompts: &[Text<'_>]) -> Result<(), GenerateError> {
        let mut needed = prompts.to_vec();
        needed.sort_unstable();
        needed.dedup();
        needed.sort_by_key(|text| text.clip_skip);
        let new = |state: &State| -> Vec<(usize, String)> {
            let keys = needed.iter().map(Text::key);
            keys.filter(|key| !state.encoded.contains_key(key))
                .collect()
        };
        let mut missing = new(state);
        if !self.holds(state.encoded.len() + missing.len()) {
            state.encoded.clear();
            missing = new(state);
        }
        if missing.is_empty() {
            return Ok(());
        }
        let start = Instant::now();
        let mut encoded = vec![];
        for alike in missing.chunk_by(|a, b| a.0 == b.0) {
            let texts: Vec<String> = alike.iter().map(|(_, text)| text.clone()).collect();
            for some in texts.chunks(TOGETHER) {
                let (embeds, cut) = self.encoder(state)?.encode(some, alike[0].0);
                let each = embeds.split().into_iter().zip(cut);
                encoded.extend(each.map(|(embeds, cut)| Encoded { embeds, cut }));
            }
        }
        let count = missing.len();
        debug!(
            "{count} texts took {:.2?}, with reading the text encoder",
            start.elapsed()
        );
        state.encoded.extend(missing.into_iter().zip(encoded));
        Ok(())
    }

    fn encoder<'a>(&self, state: &'a mut State) -> Result<&'a TextEncoder, GenerateError> {
        let encoder = match state.encoder.take() {
            Some(encoder) => encoder,
            None => {
                let encoder = self.components.text_encoder(&self.device)?;
                self.additions.add_to(encoder, &self.device)?
            }
        };
        Ok(state.encoder.insert(encoder))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // The cache is valid even after a panic, since entries are only added.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep_formats::Pipeline;

    const FOLDER: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../formats/tests/golden/latent/sd1"
    );

    fn values(embeds: TextEmbeds) -> Vec<f32> {
        let mut values: Vec<f32> = embeds.states.into_data().try_to_vec().expect("f32 data");
        if let Some(pooled) = embeds.pooled {
            values.extend(pooled.into_data().try_to_vec::<f32>().expect("f32 data"));
        }
        values
    }

    fn text(text: &str) -> Text<'_> {
        Text { text, clip_skip: 0 }
    }

    fn cache(keep: KeepEncoder) -> PromptCache {
        cache_of(FOLDER, keep)
    }

    fn cache_of(folder: &str, keep: KeepEncoder) -> PromptCache {
        let device = Device::flex();
        let pipeline = Pipeline::load(folder.as_ref(), &device).expect("a model");
        let additions = TextAdditions::default();
        let cache = PromptCache::new(
            pipeline.text_encoder,
            pipeline.components,
            additions,
            keep,
            &device,
        );
        cache.expect("a cache")
    }

    /// Prompts encoded in advance, and those too many for that, have the embeddings that the
    /// encoder gives each.
    #[test]
    fn prompts_encoded_in_advance_equal_those_encoded_when_needed() {
        let pipeline = Pipeline::load(FOLDER.as_ref(), &Device::flex()).expect("a model");
        let encode = |prompts: &[String]| values(pipeline.text_encoder.encode(prompts, 0).0);
        let some = ["a cat", "a dog", "a cat", "a house"].map(String::from);
        let many: Vec<String> = (0..400).map(|n| format!("image {n}")).collect();
        for keep in [KeepEncoder::Always, KeepEncoder::WhileEncoding] {
            for (prompts, ahead) in [(some.to_vec(), true), (many.clone(), false)] {
                let cache = cache(keep);
                let all = prompts.iter().map(String::as_str).chain(["rain"]).map(text);
                cache.prepare(all).expect("encoded");
                let dropped = cache.lock().encoder.is_none();
                assert_eq!(dropped, ahead && keep == KeepEncoder::WhileEncoding);
                let three: Vec<Text<'_>> = prompts[1..4].iter().map(|p| text(p)).collect();
                let three = cache.embed(&three, "rain").expect("encoded");
                assert_eq!(values(three.cond), encode(&prompts[1..4]));
                assert_eq!(values(three.uncond), encode(&vec!["rain".to_string(); 3]));
                // A prompt that is not in the cache loads the encoder again.
                let other = cache.embed(&[text("snow")], "").expect("encoded");
                assert_eq!(values(other.cond), encode(&["snow".into()]));
            }
        }
    }

    /// One prompt with different layers skipped, in one batch, has different embeddings, and its
    /// negative prompt too.
    #[test]
    fn prompts_are_kept_by_the_layers_that_are_skipped() {
        let pipeline = Pipeline::load(FOLDER.as_ref(), &Device::flex()).expect("a model");
        let encode = |text: &str, clip_skip| {
            let texts = [text.to_string()];
            values(pipeline.text_encoder.encode(&texts, clip_skip).0)
        };
        let cache = cache(KeepEncoder::Always);
        let texts = [1, 0].map(|clip_skip| Text {
            text: "a cat",
            clip_skip,
        });
        let made = cache.embed(&texts, "rain").expect("encoded");
        let both = |text| [encode(text, 1), encode(text, 0)].concat();
        assert_eq!(values(made.cond), both("a cat"));
        assert_eq!(values(made.uncond), both("rain"));
        assert_ne!(encode("a cat", 0), encode("a cat", 1));
    }

    /// An empty negative prompt is the empty text, unless the model says that it is zeros; and what
    /// is in the cache stays there while there is room.
    #[test]
    fn empty_negative_prompts_are_what_the_model_says() {
        let sdxl = FOLDER.replace("sd1", "sdxl");
        for (folder, zeros) in [(FOLDER, false), (&sdxl, true)] {
            let cache = cache_of(folder, KeepEncoder::Always);
            let pipeline = Pipeline::load(folder.as_ref(), &Device::flex()).expect("a model");
            let encode = |text: &str| values(pipeline.text_encoder.encode(&[text.into()], 0).0);
            for negative in ["rain", ""] {
                let made = cache.embed(&[text("a cat")], negative).expect("encoded");
                let uncond = values(made.uncond);
                match zeros && negative.is_empty() {
                    true => assert!(uncond.iter().all(|&value| value == 0.0)),
                    false => assert_eq!(uncond, encode(negative)),
                }
            }
            let kept = |state: &State| {
                let keys = ["a cat", "rain"].map(|prompt| text(prompt).key());
                keys.iter().all(|key| state.encoded.contains_key(key))
            };
            assert!(kept(&cache.lock()), "{folder}");
        }
    }

    #[test]
    fn the_cache_is_no_larger_than_the_encoder() {
        let cache = cache(KeepEncoder::Always);
        for number in 0..600 {
            cache
                .embed(&[text(&format!("prompt {number}"))], "")
                .expect("encoded");
            let kept = cache.lock().encoded.len();
            assert!(kept <= 2 || cache.holds(kept));
        }
    }
}
