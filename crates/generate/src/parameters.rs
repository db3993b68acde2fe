//! How an image was made, as a text for its file.

use crate::{Generator, Init, Request, Subject};
use std::borrow::Cow;
use std::path::Path;

/// diffusers' guidance scale 1 + w of a weight, without what the addition does to the last digits.
pub fn scale_of(w: f64) -> f64 {
    tidy(1.0 + w)
}

/// The guidance weight w of diffusers' guidance scale.
pub fn w_of(scale: f64) -> f64 {
    tidy(scale - 1.0)
}

fn tidy(number: f64) -> f64 {
    (number * 1e9).round() / 1e9
}

impl Generator {
    /// The text about an image of a request, as tools for Stable Diffusion store it in the file.
    /// `loras` are the LoRA of the model as prompts name them.
    pub fn parameters(
        &self,
        model: &str,
        loras: &[String],
        request: &Request,
        index: usize,
    ) -> String {
        let image = &request.images[index];
        let mut text = match &image.subject {
            Subject::Prompt(prompt) => prompt.clone(),
            Subject::Class(class) => self.classes()[*class as usize].clone(),
            Subject::Any => String::new(),
        };
        for lora in loras {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(lora);
        }
        if !request.negative.is_empty() {
            text.push_str(&format!("\nNegative prompt: {}", request.negative));
        }
        let w = self.effective_w(image.w);
        let guidance = w.map(|w| format!(", CFG scale: {}", scale_of(w)));
        let clip_skip = match self.clip_skip(image) {
            0 => String::new(),
            skipped => format!(", Clip skip: {}", self.web_clip_skip(skipped)),
        };
        let strength = match image.init {
            Init::Image { strength, .. } => format!(", Denoising strength: {strength}"),
            Init::Instruct { scale, .. } => {
                let scale = scale.unwrap_or_else(|| self.model().recipe.default_image_guidance());
                format!(", Image CFG scale: {scale}")
            }
            Init::Noise | Init::Inpaint { .. } => String::new(),
        };
        let usual = match &image.init {
            Init::Instruct { image, .. } => image.shape,
            _ => self.image_shape(),
        };
        let [height, width] = request.size.unwrap_or([usual.height, usual.width]);
        let name = Path::new(model).file_name();
        let name = name.map_or(model.into(), |name| name.to_string_lossy());
        let name = quoted(&name);
        text.push_str(&format!(
            "\nSteps: {}, Sampler: {}{}, Seed: {}, Size: {width}x{height}, Model: {name}{strength}{clip_skip}, Image: {}, Version: fewstep {}",
            request.steps,
            request.sampler.name(),
            guidance.unwrap_or_default(),
            image.seed,
            image.index,
            env!("CARGO_PKG_VERSION")
        ));
        text
    }
}

/// A value as web interfaces write it among others: in quotes where it holds what separates them.
fn quoted(value: &str) -> Cow<'_, str> {
    match value.contains([',', ':', '\n', '"']) {
        true => serde_json::json!(value).to_string().into(),
        false => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{quoted, scale_of, w_of};

    #[test]
    fn a_scale_becomes_a_weight_without_rounding_noise() {
        assert_eq!(w_of(2.3), 1.3);
        assert_eq!(scale_of(1.3), 2.3);
        assert_eq!((w_of(1.0), scale_of(-1.0)), (0.0, 0.0));
        assert_eq!(w_of(7.512345678), 6.512345678);
    }

    #[test]
    fn values_that_hold_separators_are_quoted() {
        assert_eq!(quoted("steps-4"), "steps-4");
        assert_eq!(quoted("a, b: c"), "\"a, b: c\"");
        assert_eq!(quoted("a \"b\""), "\"a \\\"b\\\"\"");
    }
}
