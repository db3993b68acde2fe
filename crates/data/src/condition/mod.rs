//! Control images: made from the images on the fly, or given in pairs with them.

mod degrade;
mod edges;
mod given;
mod mask;
mod random;
pub mod resize;
mod sources;

use crate::image::to_f32;
use crate::order::{Purpose, generator};
use crate::pairs::{GivenImages, GivenKind, Location};
use crate::{Captioned, DataConfig, DataError, Dataset, Draw, ImageShape};
pub use degrade::{Degradation, Round};
pub use edges::edges;
pub use mask::{MaskKind, Masks, masked};
use resize::{Filter, resize};
use serde::{Deserialize, Serialize};
use sources::Sources;
use std::path::Path;

/// What the control image of an example is, or what a model for inpainting is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ConditionConfig {
    /// The image made smaller by a whole factor.
    Bicubic {
        /// How many times smaller.
        factor: usize,
    },
    /// The image made smaller and worse at random: blur, noise and JPEG, twice.
    Degraded {
        /// How many times smaller.
        factor: usize,
        /// How much worse.
        #[serde(default)]
        degradation: Box<Degradation>,
    },
    /// The image with a part masked.
    Inpaint {
        /// The shape of the masks.
        #[serde(default)]
        mask: MaskKind,
        /// How many masks each image has, for latent models: the latents of masked images are made
        /// once. Control images have a new mask every time.
        #[serde(default, skip_serializing_if = "Option::is_none", alias = "holes")]
        masks: Option<usize>,
    },
    /// The edges of the image, black on white.
    Edges {},
    /// Given images, such as sketches or segmentations, one for each image under its name.
    Image(Location),
    /// Given depth maps of 8 or 16 bits, each spread over all levels of grey.
    Depth(Location),
    /// Given images before an edit; the images of the dataset are those after it.
    Instruct(Location),
}

impl ConditionConfig {
    /// The images that it takes from disk; none where it is made from the image itself.
    pub fn given(&self) -> Option<GivenImages<'_>> {
        let (location, kind) = match self {
            Self::Image(location) | Self::Instruct(location) => (location, GivenKind::Images),
            Self::Depth(location) => (location, GivenKind::DepthMaps),
            Self::Bicubic { .. }
            | Self::Degraded { .. }
            | Self::Inpaint { .. }
            | Self::Edges {} => {
                return None;
            }
        };
        Some(GivenImages { location, kind })
    }

    /// Channels, height and width of the control images that are made from images of this shape.
    fn shape(&self, source: ImageShape) -> Result<[usize; 3], DataError> {
        if let Self::Degraded { degradation, .. } = self {
            degradation.check()?;
        }
        let ImageShape {
            channels,
            height,
            width,
        } = source;
        Ok(match self {
            Self::Bicubic { factor } | Self::Degraded { factor, .. } => {
                let fits = |side: usize| *factor >= 2 && side.is_multiple_of(*factor);
                if !fits(height) || !fits(width) {
                    return Err(DataError::Config {
                        key: "condition.factor",
                        got: factor.to_string(),
                        origin: format!("images of {source}"),
                        expected: "a whole number of at least 2 that divides height and width"
                            .into(),
                    });
                }
                [channels, height / factor, width / factor]
            }
            Self::Inpaint {
                masks: Some(masks), ..
            } => {
                return Err(DataError::Config {
                    key: "condition.masks",
                    got: masks.to_string(),
                    origin: format!("images of {source}"),
                    expected: "nothing: control images have a new mask every time, and only latent models for inpainting have a fixed number of masks for each image".into(),
                });
            }
            Self::Inpaint { .. } => [channels + 1, height, width],
            Self::Edges {} => [1, height, width],
            Self::Image(_) | Self::Depth(_) | Self::Instruct(_) => [channels, height, width],
        })
    }
}

/// Makes the control image of every example of a dataset.
#[derive(Debug)]
pub struct Conditions {
    rule: ConditionConfig,
    /// Channels (one more than the image's for inpainting), height and width of the control images.
    shape: [usize; 3],
    /// Shape of the images that they are made from.
    source: ImageShape,
    origin: Origin,
}

/// What control images are made from.
#[derive(Debug)]
enum Origin {
    /// The image itself.
    Image,
    /// Given images, in memory.
    Given(Dataset),
    /// The images of a captioned set, on disk.
    Sources(Sources),
}

impl Conditions {
    /// Prepares the control images of a dataset that was read as `data` says; reads given images.
    ///
    /// # Errors
    /// A factor that does not divide the images; given images that are missing, unreadable or of
    /// different sizes.
    pub fn open(
        rule: &ConditionConfig,
        dataset: &Dataset,
        data: &DataConfig,
    ) -> Result<Self, DataError> {
        let (source, origin) = match rule.given() {
            None => (dataset.shape, Origin::Image),
            Some(GivenImages { location, kind }) => {
                let channels = match kind {
                    GivenKind::Images => Some(dataset.shape.channels),
                    GivenKind::DepthMaps => None,
                };
                let images = given::read(location, channels, data, dataset.len())?;
                (images.shape, Origin::Given(images))
            }
        };
        Ok(Self {
            rule: rule.clone(),
            shape: rule.shape(source)?,
            source,
            origin,
        })
    }

    /// Prepares the control images of a captioned set that was [opened](Captioned::paired) for
    /// them. What they are made from is decoded once, into a file in `folder` whose name follows
    /// from the contents.
    ///
    /// # Errors
    /// As [`Conditions::open`]; bad examples are named with their places.
    pub fn of_captioned(
        rule: &ConditionConfig,
        captioned: &Captioned,
        folder: &Path,
    ) -> Result<Self, DataError> {
        let source = captioned.source_shape();
        Ok(Self {
            rule: rule.clone(),
            shape: rule.shape(source)?,
            source,
            origin: Origin::Sources(Sources::of(captioned, folder)?),
        })
    }

    /// How they are made.
    pub fn config(&self) -> &ConditionConfig {
        &self.rule
    }

    /// Channels, height and width of each.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Digest of what they are made from; none if that is the images themselves, in memory.
    pub(crate) fn digest(&self) -> Option<String> {
        match &self.origin {
            Origin::Image => None,
            Origin::Given(images) => Some(images.fingerprint()),
            Origin::Sources(sources) => Some(sources.key().into()),
        }
    }

    /// What the control image of an example is made from, mirrored if the image is; none if that is
    /// the image itself, which the caller has.
    ///
    /// # Errors
    /// When it cannot be read from disk.
    pub fn source(&self, draw: Draw) -> Result<Option<Vec<f32>>, DataError> {
        let mut image: Vec<f32> = match &self.origin {
            Origin::Image => return Ok(None),
            Origin::Given(images) => images
                .pixels(draw.index)
                .iter()
                .copied()
                .map(to_f32)
                .collect(),
            Origin::Sources(sources) => sources
                .pixels(draw.index)?
                .into_iter()
                .map(to_f32)
                .collect(),
        };
        if draw.flip {
            image
                .chunks_exact_mut(self.source.width)
                .for_each(<[f32]>::reverse);
        }
        Ok(Some(image))
    }

    /// The control image made from a [source](Self::source), or from the image. What is random in
    /// it, such as a mask, is a function of (seed, clock).
    ///
    /// # Shapes
    /// - `source`: `[channels, height, width]`, in [-1, 1]
    /// - output: [`Conditions::shape`], in [-1, 1]; a mask is 0 or 1
    pub fn make(&self, source: &[f32], seed: u64, clock: u64) -> Vec<f32> {
        let source = &source[..self.source.len()];
        let [_, height, width] = self.shape;
        match &self.rule {
            ConditionConfig::Bicubic { .. } => {
                resize(source, self.source, height, width, Filter::Bicubic)
            }
            ConditionConfig::Degraded { degradation, .. } => {
                let random = &mut generator(seed, Purpose::Condition, clock);
                degradation.apply(source, self.source, [height, width], random)
            }
            ConditionConfig::Inpaint { mask, .. } => {
                let random = &mut generator(seed, Purpose::Condition, clock);
                masked(source, &mask.draw(height, width, random))
            }
            ConditionConfig::Edges {} => edges(source, self.source),
            ConditionConfig::Image(_)
            | ConditionConfig::Depth(_)
            | ConditionConfig::Instruct(_) => source.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DataKind;

    const SHAPE: ImageShape = ImageShape {
        channels: 1,
        height: 8,
        width: 8,
    };

    fn dataset() -> Dataset {
        let pixels = (0..2 * 64).map(|i| (i * 37 % 256) as u8).collect();
        Dataset::from_parts("two", SHAPE, pixels, None, vec![]).unwrap()
    }

    fn data() -> DataConfig {
        DataConfig {
            channels: Some(1),
            ..DataConfig::new(DataKind::Folder, "nowhere")
        }
    }

    fn open(rule: ConditionConfig) -> Result<Conditions, DataError> {
        Conditions::open(&rule, &dataset(), &data())
    }

    #[test]
    fn control_images_are_functions_of_seed_and_clock() {
        let rule = ConditionConfig::Inpaint {
            mask: MaskKind::Mixed,
            masks: None,
        };
        let conditions = open(rule).unwrap();
        assert_eq!(conditions.shape(), [2, 8, 8]);
        let image = vec![0.5; 64];
        let make = |seed, clock| conditions.make(&image, seed, clock);
        assert_eq!(make(1, 5), make(1, 5));
        assert_ne!(make(1, 5), make(1, 6));
        assert_ne!(make(1, 5), make(2, 5));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let message = open(ConditionConfig::Inpaint {
            mask: MaskKind::Box,
            masks: Some(4),
        });
        let message = message.unwrap_err().to_string();
        assert!(message.contains("condition.masks"), "{message}");
        for factor in [0, 1, 3, 16] {
            let message = open(ConditionConfig::Bicubic { factor })
                .unwrap_err()
                .to_string();
            assert!(
                message.contains("condition.factor") && message.contains("divides"),
                "{message}"
            );
        }
        assert_eq!(
            open(ConditionConfig::Bicubic { factor: 4 })
                .unwrap()
                .shape(),
            [1, 2, 2]
        );
    }

    #[test]
    fn the_old_name_of_masks_is_read() {
        for key in ["masks", "holes"] {
            let text = format!("kind = \"inpaint\"\nmask = \"mixed\"\n{key} = 3\n");
            let rule = ConditionConfig::Inpaint {
                mask: MaskKind::Mixed,
                masks: Some(3),
            };
            assert_eq!(toml::from_str(&text), Ok(rule));
        }
    }

    #[test]
    fn a_smaller_image_of_one_colour_has_that_colour() {
        let conditions = open(ConditionConfig::Bicubic { factor: 4 }).unwrap();
        let small = conditions.make(&[0.25; 64], 0, 0);
        assert!(small.iter().all(|v| (v - 0.25).abs() < 1e-6), "{small:?}");
    }
}
