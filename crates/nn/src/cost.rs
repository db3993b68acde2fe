//! What a network costs, from its configuration alone.

use crate::{Resampling, UNetConfig};

impl UNetConfig {
    /// Numbers that one sample keeps for the backward pass of a picture of this size: the inputs of every
    /// normalisation, convolution and attention.
    pub fn activations(&self, height: usize, width: usize) -> usize {
        let folded = height * width / (self.patch * self.patch);
        let levels = self.widths.len();
        let positions = |level: usize| folded >> (2 * level);
        let resnet = |from: usize, to: usize, level: usize| 2 * (from + to) * positions(level);
        let attention = |level: usize| 7 * self.widths[level] * positions(level);
        let resample = |width: usize, level: usize| match self.resampling {
            Resampling::Conv => width * positions(level),
            Resampling::Block => resnet(width, width, level),
        };
        let first = self.widths[0];
        let mut total = (self.channels * self.patch * self.patch + 2 * first) * folded;
        let mut skips = vec![first];
        let mut from = first;
        for (level, &to) in self.widths.iter().enumerate() {
            for _ in 0..self.blocks {
                total += resnet(from, to, level);
                total += usize::from(self.attention[level]) * attention(level);
                from = to;
                skips.push(to);
            }
            if level + 1 < levels {
                total += resample(to, level);
                skips.push(to);
            }
        }
        total += 2 * resnet(from, from, levels - 1) + attention(levels - 1);
        for (level, &to) in self.widths.iter().enumerate().rev() {
            for _ in 0..=self.blocks {
                let skip = skips.pop().unwrap_or(0);
                total += resnet(from + skip, to, level);
                total += usize::from(self.attention[level]) * attention(level);
                from = to;
            }
            if level > 0 {
                total += resample(to, level - 1);
            }
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(widths: Vec<usize>) -> UNetConfig {
        let levels = widths.len();
        UNetConfig {
            widths,
            blocks: 1,
            attention: vec![false; levels],
            head: 8,
            groups: 4,
            ..UNetConfig::default()
        }
    }

    /// One level of 8 channels, counted by hand: stem 1 + 16; down 2 (8 + 8); middle 2 · 2 (8 + 8) + 7 · 8;
    /// up 2 (16 + 8), twice.
    #[test]
    fn one_level_counted_by_hand() {
        let per_position = 17 + 32 + 64 + 56 + 96;
        assert_eq!(config(vec![8]).activations(4, 4), 16 * per_position);
    }

    #[test]
    fn activations_grow_with_the_area() {
        let config = config(vec![8, 16]);
        assert_eq!(4 * config.activations(8, 8), config.activations(16, 16));
    }
}
