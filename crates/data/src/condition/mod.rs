//! Control images: made from the images on the fly, or given in pairs with them.

mod degrade;
mod edges;
mod given;
mod mask;
pub mod resize;
mod sources;

pub use degrade::{Degradation, Round};
pub use edges::edges;
pub(crate) use given::partner;
pub use mask::{Holes, MaskKind, masked};

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::image::to_f32;
use crate::order::{Purpose, generator};
use crate::{Captioned, DataConfig, DataError, Dataset, ImageShape, Pick};
use resize::{Filter, resize};
use sources::Sources;

/// What a model is to draw from.
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
    /// The image with a hole.
    Inpaint {
        /// The shape of the holes.
        #[serde(default)]
        mask: MaskKind,
        /// For models that see latents of what is left of an image, which are made once: how many holes each image has.
        /// Control images have a new one every time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        holes: Option<usize>,
    },
    /// The edges of the image, black on white.
    Edges,
    /// Given images, such as sketches or segmentations, one for each image under its name.
    Image(Location),
    /// Given depth maps of 8 or 16 bits, each spread over all levels of grey.
    Depth(Location),
    /// Given images before an edit, of which the images of the dataset are the outcome.
    Instruct(Location),
}

/// Where given images are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Location {
    /// The folder that holds them, for images from a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The column that holds them, for images from parquet files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
}

impl ConditionConfig {
    /// Where its images are, where they are given, and whether they are depth maps.
    pub(crate) fn given(&self) -> Option<(&Location, bool)> {
        match self {
            Self::Image(place) | Self::Instruct(place) => Some((place, false)),
            Self::Depth(place) => Some((place, true)),
            Self::Bicubic { .. } | Self::Degraded { .. } | Self::Inpaint { .. } | Self::Edges => {
                None
            }
        }
    }

    /// Channels, height and width of the conditions that are made from images of this shape.
    fn shape(&self, source: ImageShape) -> Result<[usize; 3], DataError> {
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
                holes: Some(holes), ..
            } => {
                return Err(DataError::Config {
                    key: "condition.holes",
                    got: holes.to_string(),
                    origin: format!("images of {source}"),
                    expected: "nothing: control images have a new hole every time, and only what a model that fills in sees beside its latents has a number of them".into(),
                });
            }
            Self::Inpaint { .. } => [channels + 1, height, width],
            Self::Edges => [1, height, width],
            Self::Image(_) | Self::Depth(_) | Self::Instruct(_) => [channels, height, width],
        })
    }
}

/// The condition of every example of a dataset.
#[derive(Debug)]
pub struct Conditions {
    rule: ConditionConfig,
    /// Of the control images: channels (one more than the image's for inpainting), height, width.
    shape: [usize; 3],
    /// Of what they are made from.
    source: ImageShape,
    origin: Origin,
}

/// Where that is.
#[derive(Debug)]
enum Origin {
    /// It is the image itself.
    Image,
    /// Given images, in memory.
    Given(Dataset),
    /// All that a captioned set needs, on disk.
    Sources(Sources),
}

impl Conditions {
    /// Prepares the conditions of a dataset that was read as `data` says; reads given images.
    ///
    /// # Errors
    /// A factor that does not divide the images; given images that are missing, unreadable or of different sizes.
    pub fn open(
        rule: &ConditionConfig,
        dataset: &Dataset,
        data: &DataConfig,
    ) -> Result<Self, DataError> {
        let (source, origin) = match rule.given() {
            None => (dataset.shape, Origin::Image),
            Some((place, depth)) => {
                let channels = (!depth).then_some(dataset.shape.channels);
                let images = given::read(place, channels, data, dataset.len())?;
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

    /// Prepares the conditions of a captioned set that was [opened](Captioned::paired) for them. What they are made from
    /// is decoded once, into a file in `folder` whose name follows from the contents.
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

    /// What they are.
    pub fn config(&self) -> &ConditionConfig {
        &self.rule
    }

    /// Channels, height and width of each.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// What the condition of an example is made from, mirrored where the image is; none where that is the image
    /// itself, which the caller has.
    ///
    /// # Errors
    /// When it cannot be read from disk.
    pub fn source(&self, pick: Pick) -> Result<Option<Vec<f32>>, DataError> {
        let mut image: Vec<f32> = match &self.origin {
            Origin::Image => return Ok(None),
            Origin::Given(images) => images
                .pixels(pick.index)
                .iter()
                .copied()
                .map(to_f32)
                .collect(),
            Origin::Sources(sources) => sources
                .pixels(pick.index)?
                .into_iter()
                .map(to_f32)
                .collect(),
        };
        if pick.flip {
            image
                .chunks_exact_mut(self.source.width)
                .for_each(<[f32]>::reverse);
        }
        Ok(Some(image))
    }

    /// The condition made from a [source](Self::source), or from the image. What is random in it, such as a hole, is a
    /// function of (seed, clock).
    ///
    /// # Shapes
    /// - `source`: `[channels, height, width]`, in [-1, 1]
    /// - output: [`Conditions::shape`], in [-1, 1]; the mask of a hole is 0 or 1
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
            ConditionConfig::Edges => edges(source, self.source),
            ConditionConfig::Image(_)
            | ConditionConfig::Depth(_)
            | ConditionConfig::Instruct(_) => source.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataKind, Split};

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
            kind: DataKind::Folder,
            path: "nowhere".into(),
            split: Split::Train,
            size: None,
            channels: Some(1),
            limit: None,
            column: None,
            class_names: None,
        }
    }

    fn open(rule: ConditionConfig) -> Result<Conditions, DataError> {
        Conditions::open(&rule, &dataset(), &data())
    }

    #[test]
    fn conditions_are_functions_of_seed_and_clock() {
        let rule = ConditionConfig::Inpaint {
            mask: MaskKind::Mixed,
            holes: None,
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
            holes: Some(4),
        });
        let message = message.unwrap_err().to_string();
        assert!(message.contains("condition.holes"), "{message}");
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
    fn a_smaller_image_of_one_colour_has_that_colour() {
        let conditions = open(ConditionConfig::Bicubic { factor: 4 }).unwrap();
        let small = conditions.make(&[0.25; 64], 0, 0);
        assert!(small.iter().all(|v| (v - 0.25).abs() < 1e-6), "{small:?}");
    }
}
