//! Condition images: made from the pictures on the fly, or given in pairs with them.

mod degrade;
mod edges;
mod given;
mod mask;
pub mod resize;

pub use degrade::{Degradation, Round};
pub use edges::edges;
pub use mask::{Holes, MaskKind, masked};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::order::{Purpose, generator};
use crate::picture::to_f32;
use crate::{DataConfig, DataError, Dataset, ImageShape, Pick};
use resize::{Filter, resize};

/// What a model is to draw from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ConditionConfig {
    /// The picture made smaller by a whole factor.
    Bicubic {
        /// How many times smaller.
        factor: usize,
    },
    /// The picture made smaller and worse at random: blur, noise and JPEG, twice.
    Degraded {
        /// How many times smaller.
        factor: usize,
        /// How much worse.
        #[serde(default)]
        degradation: Box<Degradation>,
    },
    /// The picture with a hole.
    Inpaint {
        /// The shape of the holes.
        #[serde(default)]
        mask: MaskKind,
        /// For latents, which are made once: how many holes each picture has. Pixels get a new one every time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        holes: Option<usize>,
    },
    /// The edges of the picture, black on white.
    Edges,
    /// Given images, such as sketches or segmentations, one for each picture under its name.
    Image(Place),
    /// Given depth maps of 8 or 16 bits, each spread over all levels of grey.
    Depth(Place),
    /// Given pictures before an edit, of which the pictures of the dataset are the outcome.
    Instruct(Place),
}

/// Where given images are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The folder that holds them, for pictures from a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The column that holds them, for pictures from parquet files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
}

/// The condition of every example of a dataset.
#[derive(Clone, Debug)]
pub struct Conditions {
    rule: ConditionConfig,
    /// Of the condition images: channels (one more than the picture's for inpainting), height, width.
    shape: [usize; 3],
    given: Option<Dataset>,
}

impl Conditions {
    /// Prepares the conditions of a dataset that was read as `data` says; reads given images.
    ///
    /// # Errors
    /// A factor that does not divide the pictures; given images that are missing, unreadable or of different sizes.
    pub fn open(
        rule: &ConditionConfig,
        dataset: &Dataset,
        data: &DataConfig,
    ) -> Result<Self, DataError> {
        let ImageShape {
            channels,
            height,
            width,
        } = dataset.shape;
        let mut given = None;
        let shape = match rule {
            ConditionConfig::Bicubic { factor } | ConditionConfig::Degraded { factor, .. } => {
                let fits = |side: usize| *factor >= 2 && side.is_multiple_of(*factor);
                if !fits(height) || !fits(width) {
                    return Err(DataError::Config {
                        key: "condition.factor",
                        got: factor.to_string(),
                        origin: format!("pictures of {}", dataset.shape),
                        expected: "a whole number of at least 2 that divides height and width"
                            .into(),
                    });
                }
                [channels, height / factor, width / factor]
            }
            ConditionConfig::Inpaint {
                holes: Some(holes), ..
            } => {
                return Err(DataError::Config {
                    key: "condition.holes",
                    got: holes.to_string(),
                    origin: dataset.name.clone(),
                    expected: "nothing: pictures get a new hole every time, and only latents a number of them".into(),
                });
            }
            ConditionConfig::Inpaint { .. } => [channels + 1, height, width],
            ConditionConfig::Edges => [1, height, width],
            ConditionConfig::Image(place)
            | ConditionConfig::Depth(place)
            | ConditionConfig::Instruct(place) => {
                let depth = matches!(rule, ConditionConfig::Depth(_));
                let channels = (!depth).then_some(channels);
                let images = given::read(place, channels, data, dataset.len())?;
                let shape = images.shape;
                given = Some(images);
                [shape.channels, shape.height, shape.width]
            }
        };
        Ok(Self {
            rule: rule.clone(),
            shape,
            given,
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

    /// The condition of an example whose picture, mirrored or not, is `picture`. What is random in it, such as a
    /// hole, is a function of (seed, clock).
    ///
    /// # Shapes
    /// - `picture`: `[channels, height, width]`, in [-1, 1]
    /// - output: [`Conditions::shape`], in [-1, 1]; the mask of a hole is 0 or 1
    pub fn make(
        &self,
        picture: &[f32],
        shape: ImageShape,
        pick: Pick,
        seed: u64,
        clock: u64,
    ) -> Vec<f32> {
        let picture = &picture[..shape.len()];
        let [_, height, width] = self.shape;
        match &self.rule {
            ConditionConfig::Bicubic { .. } => {
                resize(picture, shape, height, width, Filter::Bicubic)
            }
            ConditionConfig::Degraded { degradation, .. } => {
                let random = &mut generator(seed, Purpose::Condition, clock);
                degradation.apply(picture, shape, [height, width], random)
            }
            ConditionConfig::Inpaint { mask, .. } => {
                let random = &mut generator(seed, Purpose::Condition, clock);
                masked(picture, &mask.draw(height, width, random))
            }
            ConditionConfig::Edges => edges(picture, shape),
            ConditionConfig::Image(_)
            | ConditionConfig::Depth(_)
            | ConditionConfig::Instruct(_) => {
                let images = self.given.as_ref().expect("given images were read");
                let image = images.image(pick.index).iter().map(|&value| to_f32(value));
                let mut image: Vec<f32> = image.collect();
                if pick.flip {
                    image.chunks_exact_mut(width).for_each(<[f32]>::reverse);
                }
                image
            }
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
        let picture = vec![0.5; 64];
        let pick = Pick {
            index: 0,
            flip: false,
        };
        let make = |seed, clock| conditions.make(&picture, SHAPE, pick, seed, clock);
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
    fn a_smaller_picture_of_one_colour_has_that_colour() {
        let conditions = open(ConditionConfig::Bicubic { factor: 4 }).unwrap();
        let pick = Pick {
            index: 0,
            flip: false,
        };
        let small = conditions.make(&[0.25; 64], SHAPE, pick, 0, 0);
        assert!(small.iter().all(|v| (v - 0.25).abs() < 1e-6), "{small:?}");
    }
}
