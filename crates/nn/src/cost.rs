//! What a network costs, from its configuration alone.

use crate::{Resampling, UNetConfig};

/// What of a network is trained, for what it keeps in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainedPart {
    /// All of it.
    All,
    /// The adapter: the base's looking half then keeps nothing.
    Adapter,
}

impl UNetConfig {
    /// Numbers that one sample keeps for the backward pass of a picture of this size: the inputs of every
    /// normalisation, convolution and attention, those of the adapter included.
    pub fn activations(&self, height: usize, width: usize, part: TrainedPart) -> usize {
        let positions = height * width / (self.patch * self.patch);
        let looking = self.looking(positions);
        let adapter = self.adapter.as_ref().map_or(0, |adapter| {
            let halvings = adapter.stem.len() - 1;
            let level = |(level, width): (usize, &usize)| {
                // The input of each SiLU and of the convolution behind it, twice on a level that is halved.
                let layers = if level < halvings { 4 } else { 2 };
                layers * width * (positions << (2 * (halvings - level)))
            };
            let stem: usize = adapter.stem.iter().enumerate().map(level).sum();
            let last = self.widths.len() - 1;
            let joined = self.skips().chain([(self.widths[last], last)]);
            let joined = joined.map(|(width, level)| width * (positions >> (2 * level)));
            stem + looking + joined.sum::<usize>()
        });
        let base = match part {
            TrainedPart::All => looking,
            TrainedPart::Adapter => 0,
        };
        base + adapter + self.drawing(positions)
    }

    /// The way down and the middle, for so many positions of the first feature map.
    fn looking(&self, positions: usize) -> usize {
        let first = self.widths[0];
        let last = self.widths.len() - 1;
        let mut total = (self.channels * self.patch * self.patch + first) * positions;
        let mut from = first;
        for (level, &to) in self.widths.iter().enumerate() {
            let positions = positions >> (2 * level);
            for _ in 0..self.blocks {
                total += resnet(from, to, positions) + self.attention(level, positions);
                from = to;
            }
            if level < last {
                total += self.resample(to, positions);
            }
        }
        let positions = positions >> (2 * last);
        total + 2 * resnet(from, from, positions) + attention(from, positions)
    }

    /// The way up.
    fn drawing(&self, positions: usize) -> usize {
        let mut skips: Vec<usize> = self.skips().map(|(width, _)| width).collect();
        let mut total = self.widths[0] * positions;
        let mut from = self.widths[self.widths.len() - 1];
        for (level, &to) in self.widths.iter().enumerate().rev() {
            let here = positions >> (2 * level);
            for _ in 0..=self.blocks {
                let skip = skips.pop().unwrap_or(0);
                total += resnet(from + skip, to, here) + self.attention(level, here);
                from = to;
            }
            if level > 0 {
                total += self.resample(to, positions >> (2 * (level - 1)));
            }
        }
        total
    }

    /// Width and level of each map that the way down leaves for the way up.
    fn skips(&self) -> impl Iterator<Item = (usize, usize)> {
        let last = self.widths.len() - 1;
        let levels = self
            .widths
            .iter()
            .enumerate()
            .flat_map(move |(level, &width)| {
                let halved = (level < last).then_some((width, level + 1));
                std::iter::repeat_n((width, level), self.blocks).chain(halved)
            });
        std::iter::once((self.widths[0], 0)).chain(levels)
    }

    fn attention(&self, level: usize, positions: usize) -> usize {
        usize::from(self.attention[level]) * attention(self.widths[level], positions)
    }

    fn resample(&self, width: usize, positions: usize) -> usize {
        match self.resampling {
            Resampling::Conv | Resampling::Corner => width * positions,
            Resampling::Block => resnet(width, width, positions),
        }
    }
}

fn resnet(from: usize, to: usize, positions: usize) -> usize {
    2 * (from + to) * positions
}

fn attention(width: usize, positions: usize) -> usize {
    7 * width * positions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AdapterConfig, Fusion};

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
        let config = config(vec![8]);
        let whole = config.activations(4, 4, TrainedPart::All);
        assert_eq!(whole, 16 * per_position);
        // An adapter of its own size and one level: its stem 2 · 16, the looking half again, three maps joined to it.
        let adapted = UNetConfig {
            adapter: Some(AdapterConfig {
                channels: 1,
                stem: vec![16],
                fusion: Fusion::ZeroConv,
            }),
            ..config
        };
        let (looking, joined) = (9 + 32 + 64 + 56, 24);
        let all = adapted.activations(4, 4, TrainedPart::All);
        assert_eq!(all, whole + 16 * (32 + looking + joined));
        let adapter = adapted.activations(4, 4, TrainedPart::Adapter);
        assert_eq!(adapter, all - 16 * looking);
    }

    #[test]
    fn activations_grow_with_the_area() {
        let config = config(vec![8, 16]);
        let activations = |side| config.activations(side, side, TrainedPart::All);
        assert_eq!(4 * activations(8), activations(16));
    }
}
