//! How bright, contrasty and sharp images are: what drifts when a model is distilled.

use crate::Images;

/// Mean value of each channel of each image, in units of 8-bit values: `[image][channel]`.
pub fn channel_means(images: Images<'_>) -> Vec<Vec<f64>> {
    let [_, height, width] = images.shape();
    let planes = |image: &[u8]| image.chunks_exact(height * width).map(mean).collect();
    each(images).map(planes).collect()
}

/// Contrast of each image: the standard deviation of its pixels within each channel, as a root mean
/// square over the channels, in units of 8-bit values.
pub fn contrast(images: Images<'_>) -> Vec<f64> {
    let [channels, height, width] = images.shape();
    let variance = |plane: &[u8]| {
        let mean = mean(plane);
        let squares = plane.iter().map(|&v| (f64::from(v) - mean).powi(2));
        squares.sum::<f64>() / plane.len() as f64
    };
    let of = |image: &[u8]| {
        let variances = image.chunks_exact(height * width).map(variance);
        (variances.sum::<f64>() / channels as f64).sqrt()
    };
    each(images).map(of).collect()
}

/// Sharpness of each image: the root mean square difference of pixels that are next to each other,
/// in rows and in columns, in units of 8-bit values. 0 for images of one pixel.
pub fn sharpness(images: Images<'_>) -> Vec<f64> {
    let [_, height, width] = images.shape();
    let of = |image: &[u8]| {
        let (mut squares, mut count) = (0.0, 0usize);
        let mut add = |a: u8, b: u8| {
            squares += (f64::from(a) - f64::from(b)).powi(2);
            count += 1;
        };
        for plane in image.chunks_exact(height * width) {
            for row in plane.chunks_exact(width) {
                row.windows(2).for_each(|pair| add(pair[0], pair[1]));
            }
            let below = plane.iter().skip(width);
            plane.iter().zip(below).for_each(|(&a, &b)| add(a, b));
        }
        (squares / count.max(1) as f64).sqrt()
    };
    each(images).map(of).collect()
}

fn each(images: Images<'_>) -> impl Iterator<Item = &[u8]> {
    let [channels, height, width] = images.shape();
    images.pixels.chunks_exact(channels * height * width)
}

fn mean(plane: &[u8]) -> f64 {
    plane.iter().map(|&v| f64::from(v)).sum::<f64>() / plane.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two colour images of 2x2 pixels by hand.
    #[test]
    fn figures_are_those_by_hand() {
        let first = [[0, 0, 10, 10], [5, 5, 5, 5], [0, 10, 0, 10]].concat();
        let second = [[7; 4], [8; 4], [9; 4]].concat();
        let pixels = [first, second].concat();
        let images = Images::new(3, 2, 2, &pixels).unwrap();
        assert_eq!(
            channel_means(images),
            [[5.0, 5.0, 5.0], [7.0, 8.0, 9.0]].map(|means| means.to_vec())
        );
        // Variances 25, 0 and 25 of three channels.
        let expected = (50.0f64 / 3.0).sqrt();
        assert!((contrast(images)[0] - expected).abs() < 1e-12);
        // 12 differences, of which two by 10 in columns of the first channel and two in rows of the
        // third.
        let expected = (400.0f64 / 12.0).sqrt();
        assert!((sharpness(images)[0] - expected).abs() < 1e-12);
        assert_eq!((contrast(images)[1], sharpness(images)[1]), (0.0, 0.0));
        assert_eq!(sharpness(Images::new(1, 1, 1, &[3]).unwrap()), [0.0]);
    }

    /// Rows and columns are those of images that are not square.
    #[test]
    fn neighbours_are_those_of_the_image() {
        let pixels = [0, 0, 0, 8, 8, 8];
        let wide = Images::new(1, 2, 3, &pixels).unwrap();
        let tall = Images::new(1, 3, 2, &pixels).unwrap();
        // Three columns of one step of 8 among 7 differences; in the tall one, one row and two
        // columns of 7.
        assert_eq!(sharpness(wide), [(3.0f64 * 64.0 / 7.0).sqrt()]);
        assert_eq!(sharpness(tall), [(3.0f64 * 64.0 / 7.0).sqrt()]);
        let stripes = Images::new(1, 3, 2, &[0, 8, 0, 8, 0, 8]).unwrap();
        assert_eq!(sharpness(stripes), [(3.0f64 * 64.0 / 7.0).sqrt()]);
        let steps = Images::new(1, 2, 3, &[0, 8, 0, 8, 0, 8]).unwrap();
        assert_eq!(sharpness(steps), [8.0]);
    }
}
