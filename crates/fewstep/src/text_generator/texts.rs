//! The texts of a request as the network understands them.

use crate::TextRequest;
use burn::tensor::{Device, Int, Tensor, TensorData};
use fewstep_diffusion::PromptEmbeds;
use fewstep_formats::TextEncoder;
use std::collections::HashMap;
use std::ops::Range;

/// The states of the texts of a request.
#[derive(Debug)]
pub struct Texts {
    /// Of the negative prompt, `[1, tokens, width]`.
    empty: Tensor<3>,
    prompts: Prompts,
}

#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a program has a handful of these"
)]
enum Prompts {
    /// All different ones, `[texts, tokens, width]`, and which of them each image has.
    Read(Tensor<3>, Vec<usize>),
    /// Not yet: their states would take more memory than what makes them.
    Unread(TextEncoder, Vec<String>),
}

/// Texts that are encoded together.
const TOGETHER: usize = 16;

impl Texts {
    /// Reads all texts of a request and lets go of the text encoder. Where their states would take more memory than it
    /// does, it stays, and every batch is read when it is drawn.
    pub fn read(encoder: TextEncoder, request: &TextRequest) -> Self {
        let (empty, _) = encoder.encode(std::slice::from_ref(&request.negative));
        let (texts, numbers) = numbered(&request.prompts);
        let values = texts.len() * encoder.length() * encoder.width();
        let prompts = if values > encoder.parameters() {
            Prompts::Unread(encoder, request.prompts.clone())
        } else {
            let parts = texts.chunks(TOGETHER);
            let states = parts.map(|texts| encoder.encode(texts).0).collect();
            Prompts::Read(Tensor::cat(states, 0), numbers)
        };
        Self { empty, prompts }
    }

    /// The states for some of the images, by their place in the request.
    pub(super) fn of(&self, images: Range<usize>, device: &Device) -> PromptEmbeds {
        let states = match &self.prompts {
            Prompts::Read(states, numbers) => {
                let rows: Vec<i64> = numbers[images].iter().map(|&n| n as i64).collect();
                let count = rows.len();
                let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), device);
                states.clone().select(0, rows)
            }
            Prompts::Unread(encoder, prompts) => encoder.encode(&prompts[images]).0,
        };
        PromptEmbeds {
            uncond: self.empty.clone().expand(states.dims()),
            cond: states,
        }
    }
}

/// All different texts, and the number of each text among them.
fn numbered(texts: &[String]) -> (Vec<String>, Vec<usize>) {
    let mut different: Vec<String> = vec![];
    let mut known: HashMap<&str, usize> = HashMap::new();
    let numbers = texts.iter().map(|text| {
        *known.entry(text).or_insert_with(|| {
            different.push(text.clone());
            different.len() - 1
        })
    });
    let numbers = numbers.collect();
    (different, numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Canvas, Sampler};
    use fewstep_formats::Pipeline;

    const FOLDER: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../formats/tests/golden/latent/sd1"
    );

    fn request(prompts: Vec<String>) -> TextRequest {
        TextRequest {
            prompts,
            negative: "rain".into(),
            size: [16, 16],
            first: 0,
            seed: 0,
            steps: 1,
            sampler: Sampler::Deterministic.into(),
            w: None,
            batch: 1,
            canvas: Canvas::Blank,
            controls: None,
        }
    }

    fn values(states: Tensor<3>) -> Vec<f32> {
        states.into_data().try_to_vec().expect("f32 data")
    }

    /// Texts that are read ahead, and those that are too many for it, are what the encoder makes of each.
    #[test]
    fn texts_read_ahead_are_those_read_when_needed() {
        let device = Device::flex();
        let encoder = || {
            let pipeline = Pipeline::load(FOLDER.as_ref(), &device).expect("a model");
            pipeline.text_encoder
        };
        let some = ["a cat", "a dog", "a cat", "a house"].map(String::from);
        let many: Vec<String> = (0..400).map(|n| format!("image {n}")).collect();
        for (prompts, ahead) in [(some.to_vec(), true), (many, false)] {
            let request = request(prompts);
            let texts = Texts::read(encoder(), &request);
            assert_eq!(matches!(texts.prompts, Prompts::Read(..)), ahead);
            let text = texts.of(1..4, &device);
            let expected = encoder().encode(&request.prompts[1..4]).0;
            assert_eq!(values(text.cond), values(expected));
            let rain = vec!["rain".to_string(); 3];
            assert_eq!(values(text.uncond), values(encoder().encode(&rain).0));
        }
    }
}
