//! Bodies of requests.

use crate::api::class::ClassName;
use crate::api::generation::{Generation, Manners, Start, WantedImage, WantedSubject};
use crate::api::lora::LoraBody;
use crate::api::seed::Seed;
use crate::config::Limits;
use crate::error::ApiError;
use crate::images::{Format, decode_base64};
use fewstep_data::image::MaskKind;
use fewstep_generate::w_of;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A value for all images, or a list with one for each.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(untagged, expecting = "a value, or a list with one for each image")]
pub(crate) enum OneOrMany<T> {
    /// For all images.
    One(T),
    /// One for each image.
    Many(Vec<T>),
}

/// What to generate.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GenerateBody {
    /// The name of a model; by default the server's first.
    pub(crate) model: Option<String>,
    /// Sampling steps; by default those that the model was distilled for.
    pub(crate) steps: Option<usize>,
    /// The sampler; by default the one that the model was made for.
    pub(crate) sampler: Option<String>,
    /// Number of images; by default the length of the lists, or 1.
    pub(crate) count: Option<usize>,
    /// For models that generate from prompts.
    pub(crate) prompt: Option<OneOrMany<String>>,
    /// For models that generate classes; by default all of them in turn.
    pub(crate) class: Option<OneOrMany<ClassName>>,
    /// Guidance weight w of the papers; by default the model's own.
    pub(crate) w: Option<OneOrMany<f64>>,
    /// Guidance scale of diffusers, which is 1 + w. Instead of `w`.
    pub(crate) guidance_scale: Option<OneOrMany<f64>>,
    /// One seed for all images, which then have the numbers `first`, `first` + 1, ...; or a list with
    /// a seed for each, all of which have the number `first`. -1, the default, is a random one.
    pub(crate) seed: Option<OneOrMany<Seed>>,
    /// Number of the first image of a seed.
    pub(crate) first: u64,
    /// LoRA to add to the model; a prompt may name them too, as `<lora:name:weight>`.
    pub(crate) loras: Vec<LoraBody>,
    /// How many of the last layers of the CLIP text encoder are skipped, as diffusers counts them: 1 is
    /// CLIP skip 2 of web interfaces. By default what the model says.
    pub(crate) clip_skip: Option<usize>,
    /// Only for models with classifier-free guidance.
    pub(crate) negative_prompt: String,
    /// Width in pixels; by default that of the training images.
    pub(crate) width: Option<usize>,
    /// Height in pixels; by default that of the training images.
    pub(crate) height: Option<usize>,
    /// An image to start from, in base64. It is scaled to cover the result, and its middle is taken.
    pub(crate) image: Option<String>,
    /// How much of `image` may change, above 0 and at most 1; by default 0.6.
    pub(crate) strength: Option<f64>,
    /// A mask for `image`, in base64: white is filled, the rest stays. For models that inpaint.
    pub(crate) mask: Option<String>,
    /// The control image of models that generate from one, in base64.
    pub(crate) control: Option<String>,
    /// `png` (the default), `jpeg` or `webp`.
    pub(crate) format: Option<String>,
    /// Quality of JPEG, 1 to 100.
    #[schema(minimum = 1, maximum = 100)]
    pub(crate) quality: Option<usize>,
    /// Whether events show the images at every step.
    pub(crate) previews: bool,
    /// `/generate` only: answer with server-sent events instead of one document.
    pub(crate) stream: bool,
}

impl GenerateBody {
    /// The format of the images of the answer.
    pub(crate) fn format(&self) -> Result<Format, ApiError> {
        let format = Format::parse(self.format.as_deref().unwrap_or("png"), "format")?;
        match self.quality {
            Some(quality) if !(1..=100).contains(&quality) => {
                let message = format!("`quality` must be 1 to 100, not {quality}");
                Err(ApiError::field("quality", message))
            }
            quality => Ok(Format {
                quality: quality.map(|quality| quality as u8),
                ..format
            }),
        }
    }

    /// What it asks for.
    pub(crate) fn generation(self, limits: &Limits) -> Result<Generation, ApiError> {
        let count = self.number_of_images(limits)?;
        let (seeds, has_seeds): (Vec<u64>, bool) = match self.seed {
            Some(OneOrMany::Many(seeds)) => (seeds.into_iter().map(Seed::value).collect(), true),
            Some(OneOrMany::One(seed)) => (vec![seed.value(); count], false),
            None => (vec![Seed::RANDOM.value(); count], false),
        };
        if !has_seeds && self.first.checked_add(count as u64 - 1).is_none() {
            let message = format!(
                "`first` must leave numbers for {count} images, not {}",
                self.first
            );
            return Err(ApiError::field("first", message));
        }
        let prompts = spread(self.prompt, count);
        let classes = spread(self.class, count);
        if prompts[0].is_some() && classes[0].is_some() {
            let message = "give a `prompt` or a `class`, not both";
            return Err(ApiError::field("class", message));
        }
        let weights: Vec<Option<f64>> = match (self.w, self.guidance_scale) {
            (Some(_), Some(_)) => {
                let message = "give `w` or `guidance_scale`, not both: the scale is 1 + w";
                return Err(ApiError::field("guidance_scale", message));
            }
            (None, scales) => {
                let scales = spread(scales, count).into_iter();
                scales.map(|scale| scale.map(w_of)).collect()
            }
            (w, None) => spread(w, count),
        };
        let subjects = prompts.into_iter().zip(classes).map(|both| match both {
            (Some(prompt), _) => WantedSubject::Prompt(prompt),
            (None, Some(class)) => WantedSubject::Class(class.text()),
            (None, None) => WantedSubject::Any,
        });
        let each = subjects.zip(weights).zip(seeds).enumerate();
        let images = each.map(|(number, ((subject, w), seed))| WantedImage {
            subject,
            w,
            seed,
            index: match has_seeds {
                true => self.first,
                false => self.first + number as u64,
            },
        });
        let read = |image: &Option<String>, field: &str| {
            let image = image.as_deref();
            let image = image.map(|image| decode_base64(image, field, limits));
            image.transpose()
        };
        let start = match (read(&self.image, "image")?, read(&self.mask, "mask")?) {
            (None, None) => Start::Noise,
            (None, Some(_)) => {
                let message = "a `mask` needs the `image` that it is for";
                return Err(ApiError::field("mask", message));
            }
            (Some(image), None) => Start::Image {
                image,
                strength: self.strength.unwrap_or(0.6),
            },
            (Some(image), Some(mask)) => Start::Inpaint {
                image,
                mask,
                kind: MaskKind::White,
            },
        };
        if self.strength.is_some() && !matches!(start, Start::Image { .. }) {
            let message = "`strength` goes with an `image` to start from, without a `mask`";
            return Err(ApiError::field("strength", message));
        }
        Ok(Generation {
            model: self.model,
            steps: self.steps,
            sampler: self.sampler,
            negative: self.negative_prompt,
            clip_skip: self.clip_skip,
            loras: self.loras.into_iter().map(Into::into).collect(),
            size: match (self.height, self.width) {
                (None, None) => None,
                (Some(height), Some(width)) => Some([height, width]),
                _ => {
                    let message = "give both `width` and `height`, or neither";
                    return Err(ApiError::field("width", message));
                }
            },
            images: images.collect(),
            start,
            control: read(&self.control, "control")?,
            manners: Manners::Strict,
        })
    }

    /// The number of images, with which all lists agree.
    fn number_of_images(&self, limits: &Limits) -> Result<usize, ApiError> {
        fn length<T>(list: &Option<OneOrMany<T>>) -> Option<usize> {
            match list {
                Some(OneOrMany::Many(list)) => Some(list.len()),
                _ => None,
            }
        }
        let lengths = [
            ("count", self.count),
            ("prompt", length(&self.prompt)),
            ("class", length(&self.class)),
            ("w", length(&self.w)),
            ("guidance_scale", length(&self.guidance_scale)),
            ("seed", length(&self.seed)),
        ];
        let mut given = lengths.iter().filter_map(|(name, n)| Some((name, (*n)?)));
        let Some((name, count)) = given.next() else {
            return Ok(1);
        };
        if let Some((other, length)) = given.find(|(_, length)| *length != count) {
            return Err(ApiError::field(
                other,
                format!(
                    "`{name}` stands for {count} images and `{other}` for {length}: lists have one value for each image"
                ),
            ));
        }
        match count {
            0 => Err(ApiError::field(
                name,
                format!("`{name}` stands for no image"),
            )),
            // Before memory is taken for them.
            count if count > limits.images => Err(ApiError::field(
                name,
                format!(
                    "{count} images were asked for, and this server allows at most {}",
                    limits.images
                ),
            )),
            count => Ok(count),
        }
    }
}

/// A value for each image.
fn spread<T: Clone>(values: Option<OneOrMany<T>>, count: usize) -> Vec<Option<T>> {
    match values {
        None => vec![None; count],
        Some(OneOrMany::One(value)) => vec![Some(value); count],
        Some(OneOrMany::Many(values)) => values.into_iter().map(Some).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::json::read;

    fn images(json: &str) -> Result<Vec<WantedImage>, String> {
        let fields = serde_json::from_str(json).expect("JSON");
        let body: GenerateBody = read(fields).map_err(|error| error.message)?;
        let generation = body.generation(&Limits::default());
        Ok(generation.map_err(|error| error.message)?.images)
    }

    #[test]
    fn lists_have_a_value_for_each_image() {
        let some = images(r#"{"w": [0, 1, 2], "seed": 7, "class": "bag", "first": 4}"#);
        let some = some.expect("images");
        assert_eq!(
            some.iter().map(|i| i.w).collect::<Vec<_>>(),
            [Some(0.0), Some(1.0), Some(2.0)]
        );
        assert_eq!(
            some.iter().map(|i| (i.seed, i.index)).collect::<Vec<_>>(),
            [(7, 4), (7, 5), (7, 6)]
        );
        let some = images(r#"{"seed": [5, 6], "guidance_scale": 2.3}"#).expect("images");
        assert_eq!(
            some.iter().map(|i| (i.seed, i.index)).collect::<Vec<_>>(),
            [(5, 0), (6, 0)]
        );
        assert_eq!(some[1].w, Some(1.3));
    }

    #[test]
    fn the_seed_minus_one_is_random() {
        let seeds = |json: &str| -> Vec<u64> {
            let images = images(json).expect(json);
            images.iter().map(|image| image.seed).collect()
        };
        let [one, two] = [
            seeds(r#"{"seed": -1, "count": 2}"#),
            seeds(r#"{"seed": -1}"#),
        ];
        assert_eq!(one[0], one[1], "one seed, two images of it");
        assert_ne!(one[0], two[0]);
        let each = seeds(r#"{"seed": [-1, 18446744073709551615, -1]}"#);
        assert_eq!(each[1], u64::MAX);
        assert_ne!(each[0], each[2]);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (json, part) in [
            (
                r#"{"w": [0, 1], "seed": [1, 2, 3]}"#,
                "`w` stands for 2 images and `seed` for 3",
            ),
            (r#"{"count": 0}"#, "no image"),
            (r#"{"count": 65}"#, "at most 64"),
            (r#"{"w": 1, "guidance_scale": 2}"#, "not both"),
            (r#"{"prompt": "a", "class": 1}"#, "not both"),
            (r#"{"width": 32}"#, "both `width` and `height`"),
            (r#"{"strength": 0.5}"#, "an `image` to start from"),
            (r#"{"mask": "aa"}"#, "base64"),
            (
                r#"{"first": 18446744073709551615, "count": 3}"#,
                "`first` must leave numbers for 3 images",
            ),
            (r#"{"stepz": 4}"#, "no field `stepz`: did you mean `steps`?"),
            (
                r#"{"speed of light": 4}"#,
                "no field `speed of light`: the fields are class, ",
            ),
            (
                r#"{"seed": -2}"#,
                "`seed` must be a whole number of at least -1 or a list with one for each image, not -2",
            ),
            (
                r#"{"steps": "four"}"#,
                "`steps` must be a whole number of at least 0, not \"four\"",
            ),
            (r#"{"steps": 1e30}"#, "`steps` must be a whole number"),
            (r#"{"class": [true]}"#, "`class` must be a whole number"),
            (r#"{"w": [1, "2"]}"#, "`w` must be a number or a list"),
            (
                r#"{"previews": 1}"#,
                "`previews` must be true or false, not 1",
            ),
        ] {
            let message = images(json).expect_err(json);
            assert!(message.contains(part), "{json}: {message}");
        }
    }
}
