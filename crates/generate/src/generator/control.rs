//! Sizes of control and source images, and of the images that are generated from them.

use super::Generator;
use crate::GenerateError;
use fewstep_data::ImageShape;

impl Generator {
    /// The shape of the images that are generated from control or source images of this shape, `[channels,
    /// height, width]`.
    ///
    /// # Errors
    /// When the model takes no such images; says which size would do.
    pub fn shape_for(&self, control: [usize; 3]) -> Result<ImageShape, GenerateError> {
        Ok(self.images_of(self.maps_for(control)?))
    }

    /// Shape of the pixels or latents that belong to a control image.
    pub(super) fn maps_for(&self, given: [usize; 3]) -> Result<ImageShape, GenerateError> {
        let recipe = &self.model.recipe;
        let refused = |reason: String| GenerateError::Control { given, reason };
        let Some(known) = self.source_shape() else {
            return Err(refused("the model takes no control image".into()));
        };
        let [channels, height, width] = recipe.resolution;
        if given[0] != known[0] {
            return Err(refused(format!("the model was trained with {known:?}")));
        }
        let scaled = |axis: usize, side: usize| {
            let maps = given[axis].checked_mul(side)?;
            let whole = given[axis] > 0 && maps % known[axis] == 0;
            let maps = maps / known[axis];
            (whole && maps % self.maps_multiple() == 0).then_some(maps)
        };
        match (scaled(1, height), scaled(2, width)) {
            (Some(height), Some(width)) => Ok(ImageShape {
                channels,
                height,
                width,
            }),
            _ => {
                let [height, width] = self.fitting([given[1], given[2]]);
                let [rows, columns] = self.steps_of_size(known);
                Err(refused(format!(
                    "the model was trained with {known:?}, and other heights must be multiples of {rows}, widths of {columns}: resize it to {height}x{width}"
                )))
            }
        }
    }

    /// The height and width of the largest control image, no larger than this one, that fits the
    /// model; the smallest one where there is none.
    pub fn fitting(&self, given: [usize; 2]) -> [usize; 2] {
        let Some(known) = self.source_shape() else {
            return given;
        };
        let steps = self.steps_of_size(known);
        [0, 1].map(|axis| (given[axis] / steps[axis] * steps[axis]).max(steps[axis]))
    }

    /// Channels, height and width of the control or source images that it was trained with.
    pub fn source_shape(&self) -> Option<[usize; 3]> {
        self.image_condition().map(|condition| condition.shape)
    }

    /// What height and width of a control image must be multiples of, where the model was trained
    /// with this shape.
    fn steps_of_size(&self, known: [usize; 3]) -> [usize; 2] {
        let multiple = self.maps_multiple();
        let [_, height, width] = self.model.recipe.resolution;
        [(known[1], height), (known[2], width)].map(|(known, side)| {
            // known / side · multiple, in lowest terms.
            let whole = known * multiple;
            whole / common_divisor(whole, side)
        })
    }

    /// What the sides of the network's maps must be multiples of.
    fn maps_multiple(&self) -> usize {
        self.model.network.config().size_multiple()
    }
}

/// The greatest common divisor.
fn common_divisor(a: usize, b: usize) -> usize {
    match b {
        0 => a.max(1),
        _ => common_divisor(b, a % b),
    }
}

#[cfg(test)]
mod tests {
    use super::common_divisor;

    #[test]
    fn the_greatest_number_that_divides_both() {
        for (a, b, divisor) in [
            (12, 8, 4),
            (8, 12, 4),
            (32, 8, 8),
            (7, 3, 1),
            (5, 0, 5),
            (0, 5, 5),
            (0, 0, 1),
        ] {
            assert_eq!(common_divisor(a, b), divisor, "{a}, {b}");
        }
    }
}
