//! Resampling with the filter widened by the factor when shrinking, so that nothing aliases, as
//! Pillow does it.

use crate::ImageShape;

/// Pixels between two passes, from which on the order of the passes is chosen.
const MOST_BETWEEN: usize = 1 << 24;

/// A resampling filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Mean over the covered pixels (Pillow's `BOX`).
    Area,
    /// Triangle.
    Bilinear,
    /// Keys' cubic with a = −½.
    Bicubic,
}

impl Filter {
    fn support(self) -> f64 {
        match self {
            Filter::Area => 0.5,
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let distance = x.abs();
        match self {
            Filter::Area => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Filter::Bilinear => (1.0 - distance).max(0.0),
            Filter::Bicubic => {
                const A: f64 = -0.5;
                match distance {
                    d if d < 1.0 => ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0,
                    d if d < 2.0 => (((d - 5.0) * d + 8.0) * d - 4.0) * A,
                    _ => 0.0,
                }
            }
        }
    }
}

/// An image in another size; values may leave their range a little where the filter has negative
/// weights.
///
/// # Shapes
/// - `image`: `shape`, `[channels, height, width]`
/// - output: `[channels, height, width]` with the new height and width
///
/// # Panics
/// If a side is 0 or the image is not of its shape.
pub fn resize(
    image: &[f32],
    shape: ImageShape,
    height: usize,
    width: usize,
    filter: Filter,
) -> Vec<f32> {
    assert_eq!(image.len(), shape.len(), "the image is of its shape");
    // Rows change first, unless too much would be between.
    let between = shape.height.saturating_mul(width);
    if between > MOST_BETWEEN && height.saturating_mul(shape.width) < between {
        let turned = transposed(image, [shape.height, shape.width]);
        let turned_shape = ImageShape {
            height: shape.width,
            width: shape.height,
            ..shape
        };
        return transposed(
            &resize(&turned, turned_shape, width, height, filter),
            [width, height],
        );
    }
    let wide: Vec<f32> = image
        .chunks_exact(shape.width)
        .flat_map(|row| along(row, width, filter))
        .collect();
    wide.chunks_exact(shape.height * width)
        .flat_map(|plane| {
            let column = |x: usize| plane.iter().skip(x).step_by(width).copied();
            let columns: Vec<Vec<f32>> = (0..width)
                .map(|x| along(&column(x).collect::<Vec<f32>>(), height, filter))
                .collect();
            (0..height * width).map(move |i| columns[i % width][i / width])
        })
        .collect()
}

/// Planes of this height and width with both exchanged.
fn transposed(image: &[f32], [height, width]: [usize; 2]) -> Vec<f32> {
    let turned = |plane: &[f32]| -> Vec<f32> {
        let at = |i: usize| plane[i % height * width + i / height];
        (0..plane.len()).map(at).collect()
    };
    image
        .chunks_exact(height * width)
        .flat_map(turned)
        .collect()
}

/// One line of pixels in another length.
fn along(line: &[f32], to: usize, filter: Filter) -> Vec<f32> {
    assert!(to > 0 && !line.is_empty(), "a line has a length");
    let scale = line.len() as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    (0..to)
        .map(|i| {
            let centre = (i as f64 + 0.5) * scale;
            let first = ((centre - support + 0.5).floor().max(0.0)) as usize;
            let end = ((centre + support + 0.5).floor() as usize).min(line.len());
            let weight = |j: usize| filter.weight((j as f64 + 0.5 - centre) / stretch);
            let total: f64 = (first..end).map(weight).sum();
            let sum: f64 = (first..end).map(|j| weight(j) * f64::from(line[j])).sum();
            (sum / total) as f32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape {
        channels: 1,
        height: 6,
        width: 8,
    };

    fn image() -> Vec<f32> {
        (0..48).map(|i| (f64::from(i) * 0.9).sin() as f32).collect()
    }

    /// A column of a million pixels, and the same as a row.
    #[test]
    fn long_lines_take_no_more_memory_than_their_results() {
        let line: Vec<f32> = (0..3 << 20).map(|i| (i as f32 * 1e-5).sin()).collect();
        let of = |height: usize, width: usize| {
            let shape = ImageShape {
                channels: 1,
                height,
                width,
            };
            resize(&line, shape, 8, 8, Filter::Bicubic)
        };
        let (column, row) = (of(3 << 20, 1), of(1, 3 << 20));
        assert_eq!(transposed(&column, [8, 8]), row);
        assert_eq!(column[..8], [column[0]; 8]);
        assert_ne!(column[0], column[8]);
    }

    /// Pillow 12 on float images (tools/golden/data_resize.py).
    #[test]
    fn sizes_change_as_in_pillow() {
        let golden: Vec<(String, usize, usize, Vec<f32>)> =
            serde_json::from_str(include_str!("../../tests/golden/resize.json")).unwrap();
        assert_eq!(golden.len(), 12);
        for (name, height, width, expected) in golden {
            let filter = match name.as_str() {
                "area" => Filter::Area,
                "bilinear" => Filter::Bilinear,
                "bicubic" => Filter::Bicubic,
                other => panic!("no filter {other}"),
            };
            let ours = resize(&image(), SHAPE, height, width, filter);
            assert_eq!(ours.len(), expected.len());
            for (a, b) in ours.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-5, "{name} {height}x{width}: {a} for {b}");
            }
        }
    }

    #[test]
    fn channels_stay_apart() {
        let two = ImageShape {
            channels: 2,
            ..SHAPE
        };
        let both = [image(), vec![0.5; 48]].concat();
        let small = resize(&both, two, 3, 4, Filter::Bicubic);
        assert_eq!(small[..12], resize(&image(), SHAPE, 3, 4, Filter::Bicubic));
        assert!(small[12..].iter().all(|v| (v - 0.5).abs() < 1e-6));
    }
}
