//! How close images are to others of the same content: squared error, PSNR and SSIM of pairs.

use crate::{Images, MetricsError, Result};

/// Peak signal-to-noise ratio of each pair in dB, 10 log₁₀(255² / MSE) over all channels; infinite
/// for equal images.
///
/// # Errors
/// When the sets differ in shape or number.
pub fn psnr(restored: Images<'_>, truth: Images<'_>) -> Result<Vec<f64>> {
    let errors = squared_errors(restored, truth)?.into_iter();
    Ok(errors
        .map(|error| 10.0 * (255f64.powi(2) / error).log10())
        .collect())
}

/// Mean squared error of each pair over all channels, of values in [-1, 1]: 4 between black and
/// white.
///
/// # Errors
/// When the sets differ in shape or number.
pub fn mse(images: Images<'_>, others: Images<'_>) -> Result<Vec<f64>> {
    let errors = squared_errors(images, others)?.into_iter();
    Ok(errors.map(|error| error / 127.5f64.powi(2)).collect())
}

/// The same of values from 0 to 255.
fn squared_errors(images: Images<'_>, others: Images<'_>) -> Result<Vec<f64>> {
    let size = paired(images, others)?;
    let pairs = images
        .pixels
        .chunks_exact(size)
        .zip(others.pixels.chunks_exact(size));
    let error = |(a, b): (&[u8], &[u8])| {
        let squares = a.iter().zip(b).map(|(&a, &b)| difference(a, b).powi(2));
        squares.sum::<f64>() / size as f64
    };
    Ok(pairs.map(error).collect())
}

/// Structural similarity of each pair (Wang et al. 2004): a normal window of 11x11 with σ = 1.5, K
/// = (0.01, 0.03), population moments, the mean over all positions where the window fits, and over
/// the channels.
///
/// # Errors
/// When the sets differ in shape or number, or the images are smaller than the window.
pub fn ssim(restored: Images<'_>, truth: Images<'_>) -> Result<Vec<f64>> {
    let size = paired(restored, truth)?;
    let [channels, height, width] = restored.shape();
    if height < WINDOW || width < WINDOW {
        return Err(MetricsError::ImageShape {
            network: "SSIM".into(),
            expected: "11x11 and larger",
            got: restored.shape(),
        });
    }
    let pairs = restored
        .pixels
        .chunks_exact(size)
        .zip(truth.pixels.chunks_exact(size));
    Ok(pairs
        .map(|(a, b)| {
            let plane = height * width;
            let planes = a.chunks_exact(plane).zip(b.chunks_exact(plane));
            planes.map(|(a, b)| plane_ssim(a, b, width)).sum::<f64>() / channels as f64
        })
        .collect())
}

/// Side of SSIM's window.
const WINDOW: usize = 11;

fn plane_ssim(a: &[u8], b: &[u8], width: usize) -> f64 {
    const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
    const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);
    let blurred = |f: &dyn Fn(f64, f64) -> f64| {
        let values = a
            .iter()
            .zip(b)
            .map(|(&a, &b)| f(f64::from(a), f64::from(b)));
        window(values.collect(), width)
    };
    let (mean_a, mean_b) = (blurred(&|a, _| a), blurred(&|_, b| b));
    let (aa, bb, ab) = (
        blurred(&|a, _| a * a),
        blurred(&|_, b| b * b),
        blurred(&|a, b| a * b),
    );
    let places = mean_a.len();
    let sum: f64 = (0..places)
        .map(|i| {
            let (ma, mb) = (mean_a[i], mean_b[i]);
            let (va, vb, cov) = (aa[i] - ma * ma, bb[i] - mb * mb, ab[i] - ma * mb);
            let luminance = (2.0 * ma * mb + C1) / (ma * ma + mb * mb + C1);
            luminance * (2.0 * cov + C2) / (va + vb + C2)
        })
        .sum();
    sum / places as f64
}

/// Weighted means under the window, at every position where it fits.
fn window(values: Vec<f64>, width: usize) -> Vec<f64> {
    let half = (WINDOW / 2) as f64;
    let weights: Vec<f64> = (0..WINDOW)
        .map(|i| (-(i as f64 - half).powi(2) / (2.0 * 1.5 * 1.5)).exp())
        .collect();
    let total: f64 = weights.iter().sum();
    let inside = width - WINDOW + 1;
    let rows: Vec<f64> = values
        .chunks_exact(width)
        .flat_map(|row| row.windows(WINDOW))
        .map(|part| part.iter().zip(&weights).map(|(v, w)| v * w).sum::<f64>() / total)
        .collect();
    let height = rows.len() / inside - WINDOW + 1;
    (0..height * inside)
        .map(|i| {
            let column = rows[i..].iter().step_by(inside).zip(&weights);
            column.map(|(v, w)| v * w).sum::<f64>() / total
        })
        .collect()
}

fn difference(a: u8, b: u8) -> f64 {
    f64::from(a) - f64::from(b)
}

/// Number of values of an image, if the two sets pair up.
pub(crate) fn paired(restored: Images<'_>, truth: Images<'_>) -> Result<usize> {
    if restored.shape() != truth.shape() || restored.len() != truth.len() {
        return Err(MetricsError::NotPaired {
            restored: (restored.len(), restored.shape()),
            truth: (truth.len(), truth.shape()),
        });
    }
    Ok(restored.pixels.len() / restored.len().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of waves, and the same with a second wave on it.
    fn pair() -> (Vec<u8>, Vec<u8>) {
        let wave = |i: usize, speed: f64| (i as f64 * speed).sin();
        let truth = |i: usize| 128.0 + 90.0 * wave(i, 0.11);
        let restored = |i: usize| truth(i) + 12.0 * wave(i, 1.7);
        let bytes = |f: &dyn Fn(usize) -> f64| -> Vec<u8> {
            (0..2 * 3 * 16 * 14).map(|i| f(i).round() as u8).collect()
        };
        (bytes(&restored), bytes(&truth))
    }

    fn images(pixels: &[u8]) -> Images<'_> {
        Images::new(3, 16, 14, pixels).unwrap()
    }

    /// scipy's filters in scikit-image's formula (tools/golden/metrics_restoration.py).
    #[test]
    fn figures_are_those_of_the_reference() {
        let golden: [Vec<f64>; 2] =
            serde_json::from_str(include_str!("../tests/golden/restoration.json")).unwrap();
        let (restored, truth) = pair();
        let ours = [
            psnr(images(&restored), images(&truth)).unwrap(),
            ssim(images(&restored), images(&truth)).unwrap(),
        ];
        for (ours, golden) in ours.iter().zip(&golden) {
            assert_eq!(ours.len(), 2);
            for (a, b) in ours.iter().zip(golden) {
                assert!((a - b).abs() < 1e-9, "{a} for {b}");
            }
        }
    }

    #[test]
    fn errors_are_of_values_from_minus_one_to_one() {
        let (black, white) = ([0; 12], [255; 12]);
        let [black, white] = [&black, &white].map(|p| Images::new(3, 2, 2, p).unwrap());
        assert_eq!(mse(black, white).unwrap(), [4.0]);
        assert_eq!(mse(white, white).unwrap(), [0.0]);
        let (restored, truth) = pair();
        let (a, b) = (images(&restored), images(&truth));
        for (mse, psnr) in mse(a, b).unwrap().iter().zip(psnr(a, b).unwrap()) {
            assert!((10.0 * (4.0 / mse).log10() - psnr).abs() < 1e-9);
        }
    }

    #[test]
    fn equal_images_are_perfect_and_worse_ones_are_worse() {
        let (restored, truth) = pair();
        let (same, other) = (images(&truth), images(&restored));
        assert_eq!(psnr(same, same).unwrap(), [f64::INFINITY; 2]);
        assert!(
            ssim(same, same)
                .unwrap()
                .iter()
                .all(|v| (v - 1.0).abs() < 1e-12)
        );
        assert!(ssim(other, same).unwrap().iter().all(|&v| v < 0.999));
    }

    #[test]
    fn sets_that_do_not_pair_are_refused() {
        let (restored, truth) = pair();
        let half = Images::new(3, 16, 14, &truth[..truth.len() / 2]).unwrap();
        let message = psnr(images(&restored), half).unwrap_err().to_string();
        assert!(message.contains('2') && message.contains('1'), "{message}");
        let small = Images::new(1, 4, 4, &truth[..16]).unwrap();
        assert!(ssim(small, small).is_err());
    }
}
