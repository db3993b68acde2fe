//! The control image of a model.

use serde::{Deserialize, Serialize};

/// The control image of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlSpec {
    /// What it shows.
    pub task: Task,
    /// Its channels, height and width.
    pub shape: [usize; 3],
}

impl ControlSpec {
    /// The control image that belongs to images of the size `to`, where this one belongs to those of
    /// `from`: larger or smaller as they are. None where that is no whole number of pixels.
    ///
    /// # Shapes
    /// - `from`, `to`: `[channels, height, width]`, of images or of latents
    pub fn resized(self, from: [usize; 3], to: [usize; 3]) -> Option<Self> {
        let side = |axis: usize| {
            let pixels = self.shape[axis].checked_mul(to[axis])?;
            let whole = from[axis] > 0 && pixels.is_multiple_of(from[axis]);
            whole.then(|| pixels / from[axis])
        };
        let shape = [self.shape[0], side(1)?, side(2)?];
        Some(Self { shape, ..self })
    }
}

/// What a control image shows, and so what a model does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// The image, smaller or worse: the model restores it.
    Upscale,
    /// The masked image; the last channel is the mask, 1 where the model fills in.
    Inpaint,
    /// A depth map.
    Depth,
    /// The image before an edit.
    Instruct,
    /// Anything else: edges, a sketch, a segmentation.
    Image,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_image_grows_as_the_images_do() {
        let spec = |shape| ControlSpec {
            task: Task::Upscale,
            shape,
        };
        let resized = |to| spec([3, 128, 64]).resized([4, 64, 32], to);
        assert_eq!(resized([4, 96, 16]), Some(spec([3, 192, 32])));
        assert_eq!(
            spec([3, 16, 16]).resized([4, 64, 64], [4, 96, 96]),
            Some(spec([3, 24, 24]))
        );
        assert_eq!(spec([3, 16, 16]).resized([4, 64, 64], [4, 90, 90]), None);
        assert_eq!(spec([3, 16, 16]).resized([4, 0, 64], [4, 64, 64]), None);
    }
}
