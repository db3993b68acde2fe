//! Control images in the form that a network takes.

use fewstep_data::condition::masked;
use fewstep_data::image::{Image, mask_values, to_f32};

/// A control image: a small image to enlarge, edges, a depth map, an image with a part masked.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlImage {
    /// Values in [-1, 1], `[channels, height, width]`.
    pub values: Vec<f32>,
    /// Channels, height and width.
    pub shape: [usize; 3],
}

impl ControlImage {
    /// An image with a part masked: grey where the mask is at least 128, and a last channel that is
    /// 1 there.
    ///
    /// # Panics
    /// When image and mask differ in size.
    pub fn masked(image: &Image, mask: &Image) -> Self {
        Self {
            values: masked(&values(image), &mask_values(mask)),
            shape: Self::masked_shape(image),
        }
    }

    pub(crate) fn masked_shape(image: &Image) -> [usize; 3] {
        let shape = image.shape;
        [shape.channels + 1, shape.height, shape.width]
    }
}

impl From<&Image> for ControlImage {
    fn from(image: &Image) -> Self {
        let shape = image.shape;
        Self {
            values: values(image),
            shape: [shape.channels, shape.height, shape.width],
        }
    }
}

fn values(image: &Image) -> Vec<f32> {
    image.pixels.iter().map(|&value| to_f32(value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep_data::ImageShape;

    #[test]
    fn control_images_are_the_images_in_their_range() {
        let image = Image {
            shape: ImageShape {
                channels: 1,
                height: 1,
                width: 3,
            },
            pixels: vec![0, 255, 51],
        };
        let control = ControlImage::from(&image);
        assert_eq!(control.shape, [1, 1, 3]);
        for (value, expected) in control.values.iter().zip([-1.0, 1.0, -0.6]) {
            assert!((value - expected).abs() < 1e-6, "{value}");
        }
        assert_eq!(control.values.len(), 3);
    }
}
