//! What SDXL is told of the size of images.

/// The micro-conditioning of an image (section 2.2 of 2307.01952), in pixels, height and top first.
/// It is called time ids because each number becomes a sinusoid, as the time does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeIds {
    /// Height and width of the image before it was resized.
    pub original: [usize; 2],
    /// What was cropped at the top and on the left.
    pub crop: [usize; 2],
    /// Height and width of the image.
    pub target: [usize; 2],
}

impl TimeIds {
    /// How many numbers there are.
    pub const COUNT: usize = 6;

    /// Those of an image of this height and width that was neither resized nor cropped: what
    /// generating uses.
    pub fn whole(size: [usize; 2]) -> Self {
        Self {
            original: size,
            crop: [0, 0],
            target: size,
        }
    }

    /// The numbers in the order of the network.
    pub fn numbers(self) -> [f64; Self::COUNT] {
        let [[a, b], [c, d], [e, f]] = [self.original, self.crop, self.target];
        [a, b, c, d, e, f].map(|number| number as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_its_own_size_is_whole() {
        let numbers = TimeIds::whole([8, 16]).numbers();
        assert_eq!(numbers, [8.0, 16.0, 0.0, 0.0, 8.0, 16.0]);
    }
}
