//! The same computation in single precision, by our kernels, and in double, by the stock
//! operations.

use burn::tensor::{DType, Device, Tensor, TensorData};

/// Values in (-0.5, 0.5) that look random and are the same in both precisions.
pub(crate) fn values(seed: u64, shape: &[usize]) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..shape.iter().product::<usize>())
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            f64::from((state >> 40) as f32 / (1 << 24) as f32 - 0.5)
        })
        .collect()
}

pub(crate) fn tensor<const D: usize>(
    seed: u64,
    shape: [usize; D],
    dtype: DType,
    device: &Device,
) -> Tensor<D> {
    let data = TensorData::new(values(seed, &shape), shape).convert_dtype(dtype);
    Tensor::from_data(data, (device, dtype))
}

/// `x`, with or without its gradient.
pub(crate) fn leaf<const D: usize>(x: Tensor<D>, tracked: bool) -> Tensor<D> {
    if tracked { x.require_grad() } else { x }
}

/// The output, then the gradient of each leaf that has one.
pub(crate) type CliResult = Vec<Option<Vec<f64>>>;

pub(crate) fn floats<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data()
        .convert_dtype(DType::F64)
        .try_to_vec()
        .expect("just converted")
}

/// Differentiates `sum(y * weights)` for fixed weights, so that no two outputs count the same.
pub(crate) fn backward<const D: usize>(y: &Tensor<D>) -> burn::tensor::Gradients {
    let weights = tensor(99, y.dims(), y.dtype(), &y.device());
    (y.clone() * weights).sum().backward()
}

/// Fails unless every value of `ours` is within `tolerance` of the scale of `expected`'s values.
pub(crate) fn assert_close(ours: &CliResult, expected: &CliResult, tolerance: f64) {
    assert_eq!(ours.len(), expected.len());
    for (index, (ours, expected)) in ours.iter().zip(expected).enumerate() {
        let (Some(ours), Some(expected)) = (ours, expected) else {
            assert_eq!(ours.is_some(), expected.is_some(), "gradient {index}");
            continue;
        };
        assert_eq!(ours.len(), expected.len(), "size of result {index}");
        let scale = expected
            .iter()
            .fold(1e-3_f64, |scale, x| scale.max(x.abs()));
        for (at, (ours, expected)) in ours.iter().zip(expected).enumerate() {
            let error = (ours - expected).abs() / scale;
            assert!(
                error < tolerance,
                "result {index} at {at}: {ours}, expected {expected}"
            );
        }
    }
}
