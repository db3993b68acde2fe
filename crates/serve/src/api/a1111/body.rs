//! Bodies of requests for images. Clients send dozens of settings with each; what has no meaning here
//! is accepted and named in the answer.

use crate::api::generation::{Generation, Manners, WantedImage, WantedSubject};
use crate::config::Limits;
use crate::engine::random_bytes;
use crate::error::ApiError;
use crate::images::decode_base64;
use fewstep_data::image::{Layer, MaskKind};
use fewstep_generate::w_of;
use serde_json::{Map, Value};

/// The fields of a request.
pub(super) struct Fields(pub(super) Map<String, Value>);

/// Fields that mean something here, or where not doing what they say changes no image.
const READ: &[&str] = &[
    "prompt",
    "negative_prompt",
    "seed",
    "steps",
    "cfg_scale",
    "width",
    "height",
    "batch_size",
    "n_iter",
    "sampler_name",
    "sampler_index",
    "override_settings",
    "send_images",
    "init_images",
    "mask",
    "inpainting_mask_invert",
    "denoising_strength",
    "include_init_images",
    "save_images",
    "do_not_save_samples",
    "do_not_save_grid",
    "override_settings_restore_afterwards",
    "subseed",
    "resize_mode",
    "seed_resize_from_h",
    "seed_resize_from_w",
    "s_tmax",
    "s_tmin",
    "s_noise",
    "s_min_uncond",
    "script_args",
];

/// What web interfaces call the layer of the text encoder whose states are taken, from the last one,
/// which is 1.
const CLIP_SKIP: &str = "CLIP_stop_at_last_layers";

/// What of `override_settings` means something here.
const OVERRIDES: [&str; 2] = ["sd_model_checkpoint", CLIP_SKIP];

/// Their names for samplers that are here too.
const SAMPLERS: &[(&str, &str)] = &[
    ("ddim", "ddim"),
    ("unipc", "unipc"),
    ("dpm++ 2m", "dpm-solver++"),
    ("heun", "heun"),
];

impl Fields {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, name: &str) -> Result<Option<f64>, ApiError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or_else(|| {
                ApiError::field(name, format!("`{name}` must be a number, not {value}"))
            }),
        }
    }

    fn whole(&self, name: &str, default: usize) -> Result<usize, ApiError> {
        match self.number(name)? {
            None => Ok(default),
            Some(number) if number >= 0.0 && number.fract() == 0.0 && number < 1e9 => {
                Ok(number as usize)
            }
            Some(number) => {
                let message = format!("`{name}` must be a whole number, not {number}");
                Err(ApiError::field(name, message))
            }
        }
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(default)
    }

    pub(super) fn strength(&self) -> Result<f64, ApiError> {
        Ok(self.number("denoising_strength")?.unwrap_or(0.75))
    }

    /// The model that only this request uses.
    fn model(&self) -> Option<String> {
        let overrides = self.0.get("override_settings")?;
        Some(overrides.get("sd_model_checkpoint")?.as_str()?.to_owned())
    }

    /// The layer of the text encoder that is taken, from the last one, which is 1.
    fn clip_skip(&self) -> Result<Option<usize>, ApiError> {
        let overrides = self.0.get("override_settings");
        match overrides.and_then(|overrides| overrides.get(CLIP_SKIP)) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(layer) if layer >= 1.0 && layer.fract() == 0.0 && layer < 1e9 => {
                    Ok(Some(layer as usize))
                }
                _ => {
                    let message =
                        format!("`{CLIP_SKIP}` must be a whole number of at least 1, not {value}");
                    Err(ApiError::field("override_settings", message))
                }
            },
        }
    }

    /// The names of fields that were sent with a value and mean nothing here.
    pub(super) fn ignored(&self) -> Vec<String> {
        let says_nothing = |value: &Value| match value {
            Value::Null => true,
            Value::Bool(flag) => !flag,
            Value::Number(number) => matches!(number.as_f64(), Some(0.0 | -1.0)),
            Value::String(text) => text.is_empty() || text.eq_ignore_ascii_case("automatic"),
            Value::Array(list) => list.is_empty(),
            Value::Object(fields) => fields.is_empty(),
        };
        let has_mask = !self.text("mask").is_empty();
        // Clients send what goes with a mask or with a second pass always.
        let is_idle = |name: &str| {
            name.starts_with("hr_")
                || (name.starts_with("inpaint") || name == "mask_blur") && !has_mask
        };
        let unread = |name: &str| !READ.contains(&name) && !is_idle(name);
        let fields = self.0.iter().filter(|(_, value)| !says_nothing(value));
        let fields = fields.filter(|(name, _)| unread(name));
        let mut names: Vec<String> = fields.map(|(name, _)| name.clone()).collect();
        let overrides = self.0.get("override_settings").and_then(Value::as_object);
        let overrides = overrides.into_iter().flatten();
        let overrides = overrides
            .filter(|(name, value)| !OVERRIDES.contains(&name.as_str()) && !says_nothing(value));
        names.extend(overrides.map(|(name, _)| format!("override_settings.{name}")));
        names
    }

    pub(super) fn batch_size(&self) -> Result<usize, ApiError> {
        self.whole("batch_size", 1)
    }

    pub(super) fn generation(
        &self,
        chosen: String,
        limits: &Limits,
    ) -> Result<Generation, ApiError> {
        let count = self.batch_size()?.saturating_mul(self.whole("n_iter", 1)?);
        if !(1..=limits.images).contains(&count) {
            let message = format!(
                "{count} images were asked for, and this server allows 1 to {}",
                limits.images
            );
            return Err(ApiError::field("batch_size", message));
        }
        let seed = match self.number("seed")? {
            Some(seed) if seed >= 0.0 => seed as u64,
            _ => u32::from_le_bytes(random_bytes()).into(),
        };
        let w = self.number("cfg_scale")?.map(w_of);
        let images = (0..count as u64).map(|number| WantedImage {
            subject: WantedSubject::Prompt(self.text("prompt").into()),
            w,
            // Their images have seeds that follow each other.
            seed: seed.saturating_add(number),
            index: 0,
        });
        let sampler = [self.text("sampler_name"), self.text("sampler_index")];
        let sampler = sampler.into_iter().find(|name| !name.is_empty());
        let sampler = sampler.filter(|name| !name.eq_ignore_ascii_case("automatic"));
        let ours = |name: &str| {
            let known = SAMPLERS
                .iter()
                .find(|(theirs, _)| name.eq_ignore_ascii_case(theirs));
            known.map_or(name, |(_, ours)| *ours).to_owned()
        };
        let size = match (self.whole("width", 0)?, self.whole("height", 0)?) {
            (0, 0) => None,
            (width, height) => Some([height, width]),
        };
        Ok(Generation {
            model: Some(self.model().unwrap_or(chosen)),
            steps: match self.whole("steps", 0)? {
                0 => None,
                steps => Some(steps),
            },
            sampler: sampler.map(ours),
            negative: self.text("negative_prompt").into(),
            clip_skip: self.clip_skip()?,
            size,
            images: images.collect(),
            manners: Manners::Adapting,
            ..Generation::default()
        })
    }

    /// The first of `init_images`.
    pub(super) fn init_image(&self, limits: &Limits) -> Result<Layer, ApiError> {
        let images = self.0.get("init_images").and_then(Value::as_array);
        let image = images.and_then(|images| images.first()?.as_str());
        let missing = || ApiError::field("init_images", "`init_images` has no image");
        decode_base64(image.ok_or_else(missing)?, "init_images", limits)
    }

    /// The mask, white where the image is to be filled.
    pub(super) fn mask(&self, limits: &Limits) -> Result<Option<(Layer, MaskKind)>, ApiError> {
        let text = self.text("mask");
        if text.is_empty() {
            return Ok(None);
        }
        let mask = decode_base64(text, "mask", limits)?;
        let is_inverted = self.0.get("inpainting_mask_invert").is_some_and(|value| {
            value.as_bool().unwrap_or(false) || value.as_i64().is_some_and(|value| value != 0)
        });
        let mask = if is_inverted { mask.inverted() } else { mask };
        Ok(Some((mask, MaskKind::White)))
    }
}
