//! Edges, by Canny's method (1986).

use crate::ImageShape;

/// Standard deviation of the blur before slopes are taken.
const BLUR: f64 = 1.0;
/// Slopes above which an edge starts, and down to which it goes on, in grey values of [-1, 1] per
/// pixel.
const START: f32 = 0.3;
const CONTINUE: f32 = 0.12;

/// The edges of an image: blur, Sobel's slopes, thinning to the crests, and joining of weak crests
/// to strong ones.
///
/// # Shapes
/// - `image`: `shape`, `[channels, height, width]`, in [-1, 1]
/// - output: `[1, height, width]`, 1 on edges and -1 elsewhere
pub fn edges(image: &[f32], shape: ImageShape) -> Vec<f32> {
    let (height, width) = (shape.height, shape.width);
    let area = height * width;
    let grey: Vec<f32> = (0..area)
        .map(|i| image.iter().skip(i).step_by(area).sum::<f32>() / shape.channels as f32)
        .collect();
    let grey = Plane {
        values: blur(&grey, height, width),
        height,
        width,
    };
    let slopes: Vec<(f32, f32)> = (0..area).map(|i| grey.slope(i)).collect();
    let strength = Plane {
        values: slopes.iter().map(|(x, y)| x.hypot(*y)).collect(),
        height,
        width,
    };
    let crest: Vec<bool> = (0..area).map(|i| strength.is_crest(i, slopes[i])).collect();
    let mut on = vec![false; area];
    let mut open: Vec<usize> = (0..area)
        .filter(|&i| crest[i] && strength.values[i] >= START)
        .collect();
    while let Some(i) = open.pop() {
        if std::mem::replace(&mut on[i], true) {
            continue;
        }
        open.extend(
            strength
                .around(i)
                .filter(|&j| crest[j] && strength.values[j] >= CONTINUE),
        );
    }
    on.into_iter()
        .map(|on| if on { 1.0 } else { -1.0 })
        .collect()
}

/// One channel of an image; beyond its border it goes on as at the border.
struct Plane {
    values: Vec<f32>,
    height: usize,
    width: usize,
}

impl Plane {
    fn at(&self, y: isize, x: isize) -> f32 {
        let y = y.clamp(0, self.height as isize - 1) as usize;
        let x = x.clamp(0, self.width as isize - 1) as usize;
        self.values[y * self.width + x]
    }

    fn place(&self, i: usize) -> (isize, isize) {
        ((i / self.width) as isize, (i % self.width) as isize)
    }

    /// Sobel's slopes to the right and down, in values per pixel.
    fn slope(&self, i: usize) -> (f32, f32) {
        let (y, x) = self.place(i);
        let across = |dy: isize| self.at(y + dy, x + 1) - self.at(y + dy, x - 1);
        let along = |dx: isize| self.at(y + 1, x + dx) - self.at(y - 1, x + dx);
        let smooth = |f: &dyn Fn(isize) -> f32| (f(-1) + 2.0 * f(0) + f(1)) / 8.0;
        (smooth(&across), smooth(&along))
    }

    /// Whether nothing across the edge is steeper: of two neighbours alike, the first is the crest.
    fn is_crest(&self, i: usize, (right, down): (f32, f32)) -> bool {
        let (y, x) = self.place(i);
        let angle = down.atan2(right).rem_euclid(std::f32::consts::PI);
        let sector = (angle / std::f32::consts::FRAC_PI_4).round() as usize % 4;
        let (dy, dx) = [(0, 1), (1, 1), (1, 0), (1, -1)][sector];
        let here = self.at(y, x);
        here > self.at(y - dy, x - dx) && here >= self.at(y + dy, x + dx)
    }

    /// The up to eight places next to one.
    fn around(&self, i: usize) -> impl Iterator<Item = usize> + '_ {
        let (y, x) = self.place(i);
        (-1..=1)
            .flat_map(move |dy| (-1..=1).map(move |dx| (y + dy, x + dx)))
            .filter(|&(y, x)| {
                (0..self.height as isize).contains(&y) && (0..self.width as isize).contains(&x)
            })
            .map(|(y, x)| y as usize * self.width + x as usize)
    }
}

/// A blur with a normal kernel.
fn blur(grey: &[f32], height: usize, width: usize) -> Vec<f32> {
    let reach = (3.0 * BLUR).ceil() as isize;
    let kernel: Vec<f64> = (-reach..=reach)
        .map(|d| (-(d * d) as f64 / (2.0 * BLUR * BLUR)).exp())
        .collect();
    let total: f64 = kernel.iter().sum();
    let pass = |values: Vec<f32>, (dy, dx): (isize, isize)| -> Vec<f32> {
        let plane = Plane {
            values,
            height,
            width,
        };
        let blurred = |i: usize| {
            let (y, x) = plane.place(i);
            let terms = (-reach..=reach).zip(&kernel);
            let sum: f64 = terms
                .map(|(d, weight)| weight * f64::from(plane.at(y + dy * d, x + dx * d)))
                .sum();
            (sum / total) as f32
        };
        (0..height * width).map(blurred).collect()
    };
    pass(pass(grey.to_vec(), (0, 1)), (1, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 16;
    const SHAPE: ImageShape = ImageShape {
        channels: 1,
        height: SIDE,
        width: SIDE,
    };

    fn on(image: impl Fn(usize, usize) -> f32) -> Vec<(usize, usize)> {
        let values: Vec<f32> = (0..SIDE * SIDE)
            .map(|i| image(i / SIDE, i % SIDE))
            .collect();
        let edges = edges(&values, SHAPE);
        let on = (0..SIDE * SIDE).filter(|&i| edges[i] == 1.0);
        on.map(|i| (i / SIDE, i % SIDE)).collect()
    }

    /// A step is a line one pixel wide next to the step, in either direction.
    #[test]
    fn a_step_is_one_thin_line() {
        let step = |i: usize| if i < 8 { -1.0 } else { 1.0 };
        let upright = on(|_, x| step(x));
        assert_eq!(upright.len(), SIDE);
        assert!(
            upright.iter().all(|&(_, x)| x == 7 || x == 8),
            "{upright:?}"
        );
        let level = on(|y, _| -step(y));
        assert_eq!(level.len(), SIDE);
        assert!(level.iter().all(|&(y, _)| y == 7 || y == 8), "{level:?}");
    }

    #[test]
    fn flat_and_gently_sloping_images_have_none() {
        assert!(on(|_, _| 0.7).is_empty());
        assert!(on(|y, x| (y + x) as f32 / 16.0 - 1.0).is_empty());
    }

    /// A line that fades is followed into its weak part; a weak line by itself is no edge.
    #[test]
    fn weak_edges_count_where_they_join_strong_ones() {
        let step = |x: usize, height: f32| if x < 8 { 0.0 } else { height };
        let fading = on(|y, x| step(x, 1.5 - y as f32 / 15.0));
        let weak = on(|_, x| step(x, 0.5));
        assert!(fading.iter().any(|&(y, _)| y > 12), "{fading:?}");
        assert!(weak.is_empty(), "{weak:?}");
    }
}
