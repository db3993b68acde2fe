//! Masks of the parts of an image that are to be filled.

use super::random::uniform;
use crate::order::{Purpose, generator};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// The shape of random masks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskKind {
    /// One box; each side is a quarter to five eighths of the image's.
    #[default]
    Box,
    /// Strokes of a brush that turns now and then (1806.03589).
    FreeForm,
    /// One or the other, evenly.
    Mixed,
}

impl MaskKind {
    /// A random mask, `[height, width]`: 1 where the image is to be filled, 0 where it is known.
    /// There is something of both, unless the image is too small.
    pub(crate) fn draw(self, height: usize, width: usize, random: &mut ChaCha8Rng) -> Vec<f32> {
        const DRAWS: usize = 100;
        let mut mask = self.draw_any(height, width, random);
        for _ in 1..DRAWS {
            if mask.contains(&0.0) && mask.contains(&1.0) {
                break;
            }
            mask = self.draw_any(height, width, random);
        }
        mask
    }

    fn draw_any(self, height: usize, width: usize, random: &mut ChaCha8Rng) -> Vec<f32> {
        let boxed = match self {
            MaskKind::Box => true,
            MaskKind::FreeForm => false,
            MaskKind::Mixed => uniform(random) < 0.5,
        };
        match boxed {
            true => draw_box(height, width, random),
            false => draw_strokes(height, width, random),
        }
    }
}

/// Masks for images whose latents are made once: the latents of the known part of an image depend
/// on the mask, so each image has a fixed number of masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Masks {
    /// Their shape.
    pub kind: MaskKind,
    /// How many each image has.
    pub each: usize,
}

impl Masks {
    /// The mask with this number, the same in every run: `[height, width]`, 1 where the image is to
    /// be filled.
    pub fn mask(&self, number: u64, height: usize, width: usize) -> Vec<f32> {
        let random = &mut generator(0, Purpose::Condition, number);
        self.kind.draw(height, width, random)
    }
}

/// A masked image, as models for inpainting take it: values under the mask are 0, and the mask is
/// one more channel.
///
/// # Shapes
/// - `image`: `[channels, height, width]`, in [-1, 1]
/// - `mask`: `[height, width]`, 0 or 1
/// - output: `[channels + 1, height, width]`
pub fn masked(image: &[f32], mask: &[f32]) -> Vec<f32> {
    let known = image.chunks_exact(mask.len());
    known
        .flat_map(|plane| {
            plane
                .iter()
                .zip(mask)
                .map(|(value, mask)| value * (1.0 - mask))
        })
        .chain(mask.iter().copied())
        .collect()
}

fn draw_box(height: usize, width: usize, random: &mut ChaCha8Rng) -> Vec<f32> {
    let mut span = |side: usize| {
        let length = ((0.25 + 0.375 * uniform(random)) * side as f64).ceil() as usize;
        let length = length.clamp(1, side);
        let start = (uniform(random) * (side - length + 1) as f64) as usize;
        start..start + length
    };
    let (rows, columns) = (span(height), span(width));
    let inside = |i: usize| rows.contains(&(i / width)) && columns.contains(&(i % width));
    (0..height * width)
        .map(|i| f32::from(u8::from(inside(i))))
        .collect()
}

/// Two to four strokes of four to eight straight parts each.
fn draw_strokes(height: usize, width: usize, random: &mut ChaCha8Rng) -> Vec<f32> {
    let side = height.min(width) as f64;
    let mut mask = vec![0.0; height * width];
    for _ in 0..2 + (uniform(random) * 3.0) as usize {
        let mut at = [
            uniform(random) * height as f64,
            uniform(random) * width as f64,
        ];
        let mut angle = uniform(random) * std::f64::consts::TAU;
        let radius = (0.03 + 0.05 * uniform(random)) * side;
        for _ in 0..4 + (uniform(random) * 5.0) as usize {
            angle += (uniform(random) - 0.5) * 2.0;
            let length = (0.1 + 0.15 * uniform(random)) * side;
            let steps = length.ceil().max(1.0) as usize;
            for _ in 0..steps {
                at[0] += angle.sin() * length / steps as f64;
                at[1] += angle.cos() * length / steps as f64;
                stamp(&mut mask, height, width, at, radius.max(0.6));
            }
        }
    }
    mask
}

/// Sets the disc of a brush.
fn stamp(mask: &mut [f32], height: usize, width: usize, at: [f64; 2], radius: f64) {
    let span = |centre: f64, side: usize| {
        let start = (centre - radius).floor().max(0.0) as usize;
        start..((centre + radius).ceil().max(0.0) as usize + 1).min(side)
    };
    for y in span(at[0], height) {
        for x in span(at[1], width) {
            let distance = (y as f64 + 0.5 - at[0]).hypot(x as f64 + 0.5 - at[1]);
            if distance <= radius {
                mask[y * width + x] = 1.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    fn masks(kind: MaskKind) -> impl Iterator<Item = Vec<f32>> {
        (0..300).map(move |seed| kind.draw(32, 24, &mut ChaCha8Rng::seed_from_u64(seed)))
    }

    #[test]
    fn a_box_is_a_box_of_the_size_it_says() {
        for mask in masks(MaskKind::Box) {
            let filled: Vec<usize> = (0..mask.len()).filter(|&i| mask[i] == 1.0).collect();
            let rows: Vec<usize> = filled.iter().map(|i| i / 24).collect();
            let columns: Vec<usize> = filled.iter().map(|i| i % 24).collect();
            let length = |of: &[usize]| of.iter().max().unwrap() - of.iter().min().unwrap() + 1;
            let (height, width) = (length(&rows), length(&columns));
            assert_eq!(filled.len(), height * width);
            assert!(
                (8..=20).contains(&height) && (6..=15).contains(&width),
                "{height}x{width}"
            );
        }
    }

    #[test]
    fn masks_leave_something_and_are_0_or_1() {
        for kind in [MaskKind::Box, MaskKind::FreeForm, MaskKind::Mixed] {
            for mask in masks(kind) {
                assert!(mask.iter().all(|&v| v == 0.0 || v == 1.0));
                let share = mask.iter().sum::<f32>() / mask.len() as f32;
                assert!(share > 0.0 && share < 0.8, "{kind:?}: {share}");
            }
        }
    }

    #[test]
    fn masks_of_tiny_images_leave_something_too() {
        for kind in [MaskKind::Box, MaskKind::FreeForm, MaskKind::Mixed] {
            for seed in 0..300 {
                let mask = kind.draw(2, 2, &mut ChaCha8Rng::seed_from_u64(seed));
                assert!(
                    mask.contains(&0.0) && mask.contains(&1.0),
                    "{kind:?} {seed}"
                );
            }
        }
        assert_eq!(
            MaskKind::Box.draw(1, 1, &mut ChaCha8Rng::seed_from_u64(1)),
            [1.0]
        );
    }

    #[test]
    fn what_is_hidden_cannot_be_seen() {
        let mask = [0.0, 1.0];
        let (a, b) = ([0.3, 0.9, -0.2, -0.7], [0.3, -0.5, -0.2, 0.4]);
        assert_eq!(masked(&a, &mask), masked(&b, &mask));
        assert_eq!(masked(&a, &mask), [0.3, 0.0, -0.2, 0.0, 0.0, 1.0]);
    }
}
