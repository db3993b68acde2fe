//! Prompts as a network understands them.

use crate::GenerateError;
use burn::tensor::{Device, Tensor};
use fewstep_diffusion::PromptEmbeds;
use fewstep_formats::{PipelineComponents, TextEncoder};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// How long a text encoder stays in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepEncoder {
    /// As long as the generator: for one that gets many requests.
    #[default]
    Always,
    /// Until the prompts of a request are encoded, to leave its memory to the sampler. It is read again when a prompt
    /// comes that is not known yet.
    WhileEncoding,
}

/// The lines of text that are encoded together.
const TOGETHER: usize = 16;

/// A text encoder that remembers what it encoded. The memory of that is at most as large as the encoder's own.
#[derive(Debug)]
pub(crate) struct PromptCache {
    components: PipelineComponents,
    classes: Vec<String>,
    keep: KeepEncoder,
    /// Values of the states of one prompt, and how many of them may be kept.
    size: usize,
    most: usize,
    device: Device,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    encoder: Option<TextEncoder>,
    /// The states of each prompt, `[1, tokens, width]`.
    known: HashMap<String, Tensor<3>>,
}

impl PromptCache {
    pub(crate) fn new(
        encoder: TextEncoder,
        components: PipelineComponents,
        keep: KeepEncoder,
        device: &Device,
    ) -> Self {
        Self {
            components,
            classes: encoder.classes().to_vec(),
            keep,
            size: encoder.length() * encoder.width(),
            most: encoder.parameters(),
            device: device.clone(),
            state: Mutex::new(State {
                encoder: Some(encoder),
                known: HashMap::new(),
            }),
        }
    }

    /// The classes that stand for prompts; none where there are prompts.
    pub(crate) fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The folder with the encoder.
    pub(crate) fn components(&self) -> &PipelineComponents {
        &self.components
    }

    /// What of a prompt is cut off because it is too long.
    pub(crate) fn cut(&self, prompt: &str) -> Result<Option<String>, GenerateError> {
        let mut state = self.lock();
        Ok(self.encoder(&mut state)?.tokens(prompt).cut)
    }

    /// Tokens of a prompt, start and end included.
    pub(crate) fn length(&self) -> Result<usize, GenerateError> {
        let mut state = self.lock();
        Ok(self.encoder(&mut state)?.length())
    }

    /// Encodes all prompts of a request ahead, where what they become is not larger than the encoder; then the encoder
    /// is dropped unless it is to be kept.
    pub(crate) fn prepare<'a>(
        &self,
        prompts: impl Iterator<Item = &'a str>,
    ) -> Result<(), GenerateError> {
        let mut prompts: Vec<&str> = prompts.collect();
        prompts.sort_unstable();
        prompts.dedup();
        if prompts.len() * self.size > self.most {
            return Ok(());
        }
        let mut state = self.lock();
        self.encode(&mut state, &prompts)?;
        if self.keep == KeepEncoder::WhileEncoding {
            state.encoder = None;
        }
        Ok(())
    }

    /// The embeddings of prompts, each with those of the negative prompt.
    ///
    /// # Shapes
    /// - output: `[prompts, tokens, width]`
    pub(crate) fn embed(
        &self,
        prompts: &[&str],
        negative: &str,
    ) -> Result<PromptEmbeds, GenerateError> {
        let mut state = self.lock();
        let mut needed = prompts.to_vec();
        needed.push(negative);
        self.encode(&mut state, &needed)?;
        let of = |prompt: &str| state.known[prompt].clone();
        let cond = Tensor::cat(prompts.iter().map(|prompt| of(prompt)).collect(), 0);
        Ok(PromptEmbeds {
            uncond: of(negative).expand(cond.dims()),
            cond,
        })
    }

    /// Makes sure that the prompts are known.
    fn encode(&self, state: &mut State, prompts: &[&str]) -> Result<(), GenerateError> {
        let is_new = |state: &State, prompt: &str| !state.known.contains_key(prompt);
        let count = |state: &State| prompts.iter().filter(|p| is_new(state, p)).count();
        if (state.known.len() + count(state)) * self.size > self.most {
            state.known.clear();
        }
        let mut new: Vec<String> = vec![];
        for prompt in prompts {
            if is_new(state, prompt) && !new.iter().any(|known| known == prompt) {
                new.push(prompt.to_string());
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let mut states = vec![];
        for some in new.chunks(TOGETHER) {
            states.extend(self.encoder(state)?.encode(some).0.split(1, 0));
        }
        state.known.extend(new.into_iter().zip(states));
        Ok(())
    }

    fn encoder<'a>(&self, state: &'a mut State) -> Result<&'a TextEncoder, GenerateError> {
        let encoder = match state.encoder.take() {
            Some(encoder) => encoder,
            None => self.components.text_encoder(&self.device)?,
        };
        Ok(state.encoder.insert(encoder))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // What a panicking caller left is whole: it is only ever added to.
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

    fn values(states: Tensor<3>) -> Vec<f32> {
        states.into_data().try_to_vec().expect("f32 data")
    }

    fn cache(keep: KeepEncoder) -> PromptCache {
        let device = Device::flex();
        let pipeline = Pipeline::load(FOLDER.as_ref(), &device).expect("a model");
        PromptCache::new(pipeline.text_encoder, pipeline.components, keep, &device)
    }

    /// Prompts that are encoded ahead, and those that are too many for it, are what the encoder makes of each.
    #[test]
    fn prompts_encoded_ahead_are_those_encoded_when_needed() {
        let pipeline = Pipeline::load(FOLDER.as_ref(), &Device::flex()).expect("a model");
        let encode = |prompts: &[String]| values(pipeline.text_encoder.encode(prompts).0);
        let some = ["a cat", "a dog", "a cat", "a house"].map(String::from);
        let many: Vec<String> = (0..400).map(|n| format!("image {n}")).collect();
        for keep in [KeepEncoder::Always, KeepEncoder::WhileEncoding] {
            for (prompts, ahead) in [(some.to_vec(), true), (many.clone(), false)] {
                let cache = cache(keep);
                let texts = prompts.iter().map(String::as_str).chain(["rain"]);
                cache.prepare(texts).expect("encoded");
                let dropped = cache.lock().encoder.is_none();
                assert_eq!(dropped, ahead && keep == KeepEncoder::WhileEncoding);
                let three: Vec<&str> = prompts[1..4].iter().map(String::as_str).collect();
                let embeds = cache.embed(&three, "rain").expect("encoded");
                assert_eq!(values(embeds.cond), encode(&prompts[1..4]));
                assert_eq!(values(embeds.uncond), encode(&vec!["rain".to_string(); 3]));
                // What is not known yet brings the encoder back.
                let other = cache.embed(&["snow"], "").expect("encoded");
                assert_eq!(values(other.cond), encode(&["snow".into()]));
            }
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_by_the_encoder() {
        let cache = cache(KeepEncoder::Always);
        for number in 0..600 {
            cache
                .embed(&[&format!("prompt {number}")], "")
                .expect("encoded");
            assert!(cache.lock().known.len() * cache.size <= cache.most.max(2 * cache.size));
        }
    }
}
