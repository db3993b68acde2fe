//! The resize of the FID definition.

use burn::tensor::Tensor;
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};

/// Side of the network's input.
pub(super) const SIDE: usize = 299;

/// Bilinear, corners not aligned, no antialiasing: `F.interpolate(x, (299, 299), mode="bilinear",
/// align_corners=False)`. Images of that size pass unchanged.
pub(super) fn resize(x: Tensor<4>) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    if [height, width] == [SIDE, SIDE] {
        return x;
    }
    let options = InterpolateOptions::new(InterpolateMode::Bilinear)
        .with_align_corners(false)
        .with_output_size([SIDE, SIDE]);
    interpolate(x, options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        height: usize,
        width: usize,
        mean: f64,
        values: Vec<(usize, usize, f32)>,
    }

    #[test]
    fn equals_torch() {
        // Made by tools/golden/metrics_resize.py.
        let golden = include_str!("../../../tests/golden/resize.json");
        let golden: Golden = serde_json::from_str(golden).unwrap();
        for Case {
            height,
            width,
            mean,
            values,
        } in golden.cases
        {
            let pixels = (0..height * width).map(|i| (i / width, i % width));
            let pixels = pixels.map(|(y, x)| ((7 * y + 13 * x + x * y) % 256) as f32 / 255.0);
            let data = TensorData::new(pixels.collect::<Vec<_>>(), [1, 1, height, width]);
            let out = resize(Tensor::from_data(data, &Device::flex())).into_data();
            let out: Vec<f32> = out.iter::<f32>().collect();
            assert_eq!(out.len(), SIDE * SIDE);
            let got = out.iter().map(|&v| f64::from(v)).sum::<f64>() / out.len() as f64;
            assert!(
                (got - mean).abs() < 1e-5,
                "{height}x{width}: mean {got}, not {mean}"
            );
            for (y, x, expected) in values {
                let got = out[y * SIDE + x];
                let close = (got - expected).abs() < 2e-4;
                assert!(close, "{height}x{width} at {y}, {x}: {got}, not {expected}");
            }
        }
    }
}
