//! LoRA in prompts, as clients of A1111 write them: `<lora:name:weight>`.

use super::{Generation, WantedSubject};
use crate::engine::NamedLora;
use crate::error::ApiError;

/// LoRA of one request, at most.
const MOST: usize = 8;
/// The largest number of times that one may be added.
const LARGEST: f64 = 10.0;

impl Generation {
    /// Takes the LoRA out of all prompts. Those of the images of one request are the same, since they
    /// share a model.
    pub(crate) fn take_loras(&mut self) -> Result<(), ApiError> {
        let mut of_prompts: Option<Vec<NamedLora>> = None;
        for image in &mut self.images {
            let mut loras = vec![];
            if let WantedSubject::Prompt(prompt) = &mut image.subject {
                (*prompt, loras) = without_loras(prompt)?;
            }
            match &of_prompts {
                Some(others) if *others != loras => {
                    let message = "the prompts of one request must name the same LoRA";
                    return Err(ApiError::field("prompt", message));
                }
                _ => of_prompts = Some(loras),
            }
        }
        self.loras.extend(of_prompts.unwrap_or_default());
        if self.loras.len() > MOST {
            let message = format!("a request may name at most {MOST} LoRA");
            return Err(ApiError::field("loras", message));
        }
        match self
            .loras
            .iter()
            .find(|lora| !(-LARGEST..=LARGEST).contains(&lora.weight))
        {
            Some(NamedLora { name, weight }) => {
                let message = format!(
                    "the weight {weight} of the LoRA `{name}` must be from -{LARGEST} to {LARGEST}"
                );
                Err(ApiError::field("loras", message))
            }
            None => Ok(()),
        }
    }
}

/// A prompt without its LoRA, and they.
fn without_loras(prompt: &str) -> Result<(String, Vec<NamedLora>), ApiError> {
    const START: &str = "<lora:";
    let (mut text, mut loras, mut rest) = (String::new(), vec![], prompt);
    while let Some((before, after)) = rest.split_once(START) {
        let Some((lora, after)) = after.split_once('>') else {
            break;
        };
        let (name, weight) = lora.split_once(':').unwrap_or((lora, "1"));
        // Some give weights for network and text encoder apart; the first is taken for both.
        let weight = weight.split(':').next().unwrap_or_default().trim();
        let Ok(weight) = weight.parse() else {
            let message = format!("the weight of `{START}{lora}>` must be a number, such as 0.8");
            return Err(ApiError::field("prompt", message));
        };
        loras.push(NamedLora {
            name: name.trim().into(),
            weight,
        });
        text.push_str(before);
        rest = after;
    }
    text.push_str(rest);
    match loras.is_empty() {
        true => Ok((text, loras)),
        // Where they were, there are two spaces.
        false => Ok((text.split_whitespace().collect::<Vec<_>>().join(" "), loras)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(prompt: &str) -> (String, Vec<(String, f64)>) {
        let (text, loras) = without_loras(prompt).expect(prompt);
        let loras = loras.into_iter().map(|lora| (lora.name, lora.weight));
        (text, loras.collect())
    }

    #[test]
    fn prompts_name_lora_in_angle_brackets() {
        let lora = |name: &str, weight| (name.to_string(), weight);
        assert_eq!(read("a < b"), ("a < b".into(), vec![]));
        assert_eq!(
            read("a cat <lora:ink:0.8> at <lora:my style> night"),
            (
                "a cat at night".into(),
                vec![lora("ink", 0.8), lora("my style", 1.0)]
            )
        );
        assert_eq!(
            read("<lora:ink:-1:0.5>cat"),
            ("cat".into(), vec![lora("ink", -1.0)])
        );
        assert_eq!(read("<lora:ink"), ("<lora:ink".into(), vec![]));
        assert!(without_loras("<lora:ink:much>").is_err());
    }

    #[test]
    fn the_images_of_a_request_share_their_lora() {
        let generation = |prompts: &[&str]| {
            let prompts = prompts.iter();
            let images = prompts.map(|prompt| super::super::WantedImage {
                subject: WantedSubject::Prompt(prompt.to_string()),
                ..Default::default()
            });
            let mut generation = Generation {
                images: images.collect(),
                ..Generation::default()
            };
            generation.take_loras().map(|()| generation.loras.len())
        };
        assert_eq!(generation(&["a <lora:x:1>", "b <lora:x:1>"]), Ok(1));
        assert!(generation(&["a <lora:x:1>", "b <lora:x:0.5>"]).is_err());
        assert!(generation(&["<lora:x:11>"]).is_err());
        assert!(generation(&[&"<lora:x:1>".repeat(9)]).is_err());
    }
}
