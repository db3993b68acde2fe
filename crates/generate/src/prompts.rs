//! Prompts as embeddings, with a cache of them.

use crate::GenerateError;
use burn::tensor::Device;
use fewstep_diffusion::{PromptEmbeds, TextEmbeds};
use fewstep_formats::{Loras, PipelineComponents, TextEncoder};
use fewstep_kernels::memory;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

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

/// A text encoder with a cache of embeddings, which takes at most as much memory as the encoder
/// itself.
#[derive(Debug)]
pub(crate) struct PromptCache {
    components: PipelineComponents,
    /// What is added to the encoder whenever it is loaded.
    loras: Loras,
    classes: Vec<String>,
    keep: KeepEncoder,
    /// Tokens of a prompt, known without the encoder, which may be at work or not in memory.
    length: usize,
    /// Whether the empty negative prompt is zeros.
    zero_empty: bool,
    /// Values in the embeddings of one prompt, and how many values may be kept.
    values_each: usize,
    max_values: usize,
    device: Device,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    encoder: Option<TextEncoder>,
    /// The embeddings of each prompt.
    embeds: HashMap<String, TextEmbeds>,
}

impl PromptCache {
    pub(crate) fn new(
        encoder: TextEncoder,
        components: PipelineComponents,
        loras: Loras,
        keep: KeepEncoder,
        device: &Device,
    ) -> Result<Self, GenerateError> {
        let encoder = loras.add_to_text(encoder, device)?;
        Ok(Self {
            components,
            loras,
            classes: encoder.classes().to_vec(),
            keep,
            length: encoder.length(),
            zero_empty: encoder.zero_empty(),
            values_each: encoder.length() * encoder.width() + encoder.pooled(),
            max_values: encoder.parameters(),
            device: device.clone(),
            state: Mutex::new(State {
                encoder: Some(encoder),
                embeds: HashMap::new(),
            }),
        })
    }

    /// Parameters of the text encoder.
    pub(crate) fn encoder_parameters(&self) -> usize {
        self.max_values
    }

    /// Whether the text encoder stays in memory.
    pub(crate) fn keeps_encoder(&self) -> bool {
        self.keep == KeepEncoder::Always
    }

    /// The classes of a model that takes classes instead of prompts.
    pub(crate) fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The folder with the encoder.
    pub(crate) fn components(&self) -> &PipelineComponents {
        &self.components
    }

    /// The end of a prompt that is cut off because it is too long.
    pub(crate) fn cut(&self, prompt: &str) -> Result<Option<String>, GenerateError> {
        let mut state = self.lock();
        Ok(self.encoder(&mut state)?.tokens(prompt).cut)
    }

    /// Tokens of a prompt, start and end included.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Encodes all prompts of a request in advance, if their embeddings fit into the cache; then
    /// drops the encoder, unless it is to be kept.
    pub(crate) fn prepare<'a>(
        &self,
        prompts: impl Iterator<Item = &'a str>,
    ) -> Result<(), GenerateError> {
        let mut prompts: Vec<&str> = prompts.collect();
        prompts.sort_unstable();
        prompts.dedup();
        if prompts.len() * self.values_each > self.max_values {
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

    /// The embeddings of prompts, each with those of the negative prompt.
    pub(crate) fn embed(
        &self,
        prompts: &[&str],
        negative: &str,
    ) -> Result<PromptEmbeds, GenerateError> {
        let mut state = self.lock();
        let zeros = negative.is_empty() && self.zero_empty;
        let mut needed = prompts.to_vec();
        needed.extend((!zeros).then_some(negative));
        self.encode(&mut state, &needed)?;
        let of = |prompt: &str| state.embeds[prompt].clone();
        let cond = TextEmbeds::cat(prompts.iter().map(|prompt| of(prompt)).collect());
        Ok(PromptEmbeds {
            uncond: match zeros {
                true => cond.zeros_like(),
                false => of(negative).expand(prompts.len()),
            },
            cond,
        })
    }

    /// Makes sure that the prompts are in the cache.
    fn encode(&self, state: &mut State, prompts: &[&str]) -> Result<(), GenerateError> {
        let mut needed = prompts.to_vec();
        needed.sort_unstable();
        needed.dedup();
        let new = |state: &State| -> Vec<String> {
            let new = needed.iter().filter(|p| !state.embeds.contains_key(**p));
            new.map(|prompt| prompt.to_string()).collect()
        };
        let mut missing = new(state);
        if (state.embeds.len() + missing.len()) * self.values_each > self.max_values {
            state.embeds.clear();
            missing = new(state);
        }
        if missing.is_empty() {
            return Ok(());
        }
        let mut new_embeds = vec![];
        for some in missing.chunks(TOGETHER) {
            new_embeds.extend(self.encoder(state)?.encode(some).0.split());
        }
        state.embeds.extend(missing.into_iter().zip(new_embeds));
        Ok(())
    }

    fn encoder<'a>(&self, state: &'a mut State) -> Result<&'a TextEncoder, GenerateError> {
        let encoder = match state.encoder.take() {
            Some(encoder) => encoder,
            None => {
                let encoder = self.components.text_encoder(&self.device)?;
                self.loras.add_to_text(encoder, &self.device)?
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

    fn cache(keep: KeepEncoder) -> PromptCache {
        let device = Device::flex();
        let pipeline = Pipeline::load(FOLDER.as_ref(), &device).expect("a model");
        let loras = Loras::default();
        let cache = PromptCache::new(
            pipeline.text_encoder,
            pipeline.components,
            loras,
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
        let encode = |prompts: &[String]| values(pipeline.text_encoder.encode(prompts).0);
        let some = ["a cat", "a dog", "a cat", "a house"].map(String::from);
        let many: Vec<String> = (0..400).map(|n| format!("image {n}")).collect();
        for keep in [KeepEncoder::Always, KeepEncoder::WhileEncoding] {
            for (prompts, ahead) in [(some.to_vec(), true), (many.clone(), false)] {
                let cache = cache(keep);
                let all = prompts.iter().map(String::as_str).chain(["rain"]);
                cache.prepare(all).expect("encoded");
                let dropped = cache.lock().encoder.is_none();
                assert_eq!(dropped, ahead && keep == KeepEncoder::WhileEncoding);
                let three: Vec<&str> = prompts[1..4].iter().map(String::as_str).collect();
                let three = cache.embed(&three, "rain").expect("encoded");
                assert_eq!(values(three.cond), encode(&prompts[1..4]));
                assert_eq!(values(three.uncond), encode(&vec!["rain".to_string(); 3]));
                // A prompt that is not in the cache loads the encoder again.
                let other = cache.embed(&["snow"], "").expect("encoded");
                assert_eq!(values(other.cond), encode(&["snow".into()]));
            }
        }
    }

    #[test]
    fn the_cache_is_no_larger_than_the_encoder() {
        let cache = cache(KeepEncoder::Always);
        for number in 0..600 {
            cache
                .embed(&[&format!("prompt {number}")], "")
                .expect("encoded");
            assert!(
                cache.lock().embeds.len() * cache.values_each
                    <= cache.max_values.max(2 * cache.values_each)
            );
        }
    }
}
