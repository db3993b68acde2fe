//! What networks do to maps `[batch, channels, height, width]` besides computing: resizing,
//! joining, and reading them as rows of tokens. On GPUs maps are stored channels last, and these
//! functions keep them so.

use crate::extension::KernelOps;
use crate::flex;
use crate::support::{on_gpu, supported};
use burn::backend::Dispatch;
use burn::tensor::Tensor;
use burn::tensor::module::{avg_pool2d, interpolate};
use burn::tensor::ops::{AvgPoolOptions, InterpolateMode, InterpolateOptions};

/// Numbers of a map that is worth several threads.
const LARGE: usize = 1 << 17;

/// The map with its channels last, `[batch, height, width, channels]`: no copy on GPUs.
fn last(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 2, 3, 1])
}

/// The reverse of [`last`].
fn first(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 3, 1, 2])
}

/// Halves the resolution: means of 2x2 positions.
pub fn halve(x: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let (rows, columns) = (height / 2, width / 2);
    if on_gpu(&x) {
        return avg_pool2d(x, AvgPoolOptions::new([2, 2]).with_stride([2, 2]));
    }
    x.reshape([batch, channels, rows, 2, columns, 2])
        .mean_dim(5)
        .mean_dim(3)
        .reshape([batch, channels, rows, columns])
}

/// Doubles the resolution: every position four times.
pub fn double(x: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    if on_gpu(&x) {
        let nearest = InterpolateOptions::new(InterpolateMode::Nearest);
        return interpolate(x, nearest.with_output_size([2 * height, 2 * width]));
    }
    if supported(&x) && x.dims().iter().all(|&n| n > 0) {
        return Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_double(x.into_dispatch()));
    }
    x.reshape([batch, channels, height, 1, width, 1])
        .expand([batch, channels, height, 2, width, 2])
        .reshape([batch, channels, 2 * height, 2 * width])
}

/// Maps of the same size, concatenated along the channels.
pub fn concat(maps: Vec<Tensor<4>>) -> Tensor<4> {
    match maps.first().is_some_and(on_gpu) {
        true => first(Tensor::cat(maps.into_iter().map(last).collect(), 3)),
        false => Tensor::cat(maps, 1),
    }
}

/// A map as a row of tokens: `[batch, channels, height, width]` to `[batch, height · width,
/// channels]`.
pub fn to_tokens(map: Tensor<4>) -> Tensor<3> {
    let [batch, channels, height, width] = map.dims();
    if on_gpu(&map) {
        return last(map).reshape([batch, height * width, channels]);
    }
    transposed(map.reshape([batch, channels, height * width]))
}

/// The inverse of [`to_tokens`].
pub fn to_map(tokens: Tensor<3>, height: usize, width: usize) -> Tensor<4> {
    let [batch, _, channels] = tokens.dims();
    if on_gpu(&tokens) {
        return first(tokens.reshape([batch, height, width, channels]));
    }
    transposed(tokens).reshape([batch, channels, height, width])
}

/// `[batch, rows, columns]` to `[batch, columns, rows]`: what is large is copied on all threads, for
/// whoever reads it would copy it on one.
fn transposed(x: Tensor<3>) -> Tensor<3> {
    let large = x.shape().num_elements() >= LARGE;
    match large && supported(&x) && !x.is_autodiff() {
        true => flex::apply(x, flex::transposed),
        false => x.swap_dims(1, 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution, Int, TensorData};

    #[test]
    fn doubling_repeats_every_position() {
        let x = Tensor::<4>::from_data([[[[1., 2.], [3., 4.]]]], &Device::flex());
        let expected = [
            1., 1., 2., 2., 1., 1., 2., 2., 3., 3., 4., 4., 3., 3., 4., 4f32,
        ];
        let values = double(x.clone()).into_data().try_to_vec::<f32>();
        assert_eq!(values.expect("f32 data"), expected);
        halve(double(x.clone()))
            .into_data()
            .assert_eq(&x.into_data(), true);
    }

    /// The same bits as the framework's operations, forward and backward.
    #[test]
    fn doubling_has_the_gradient_of_repeating() {
        let device = Device::flex();
        let normal = Distribution::Normal(0.0, 1.0);
        let (shape, doubled) = ([2, 3, 5, 7], [2, 3, 10, 14]);
        let values = Tensor::<4>::random(shape, normal, &device).into_data();
        let weights = Tensor::<4>::random(doubled, normal, &device).into_data();
        let of = |repeat: fn(Tensor<4>) -> Tensor<4>| {
            let device = device.clone().autodiff();
            let x = Tensor::<4>::from_data(values.clone(), &device).require_grad();
            let y = repeat(x.clone());
            let loss = (y.clone() * Tensor::from_data(weights.clone(), &device)).sum();
            let gradients = loss.backward();
            let dx = x.grad(&gradients).expect("a gradient");
            [y.inner().into_data(), dx.into_data()]
        };
        let repeated = of(|x| {
            let [batch, channels, height, width] = x.dims();
            x.reshape([batch, channels, height, 1, width, 1])
                .expand([batch, channels, height, 2, width, 2])
                .reshape([batch, channels, 2 * height, 2 * width])
        });
        for (ours, repeated) in of(double).iter().zip(&repeated) {
            ours.assert_eq(repeated, true);
        }
    }

    /// Also a map so large that it is copied by a kernel, one that is a view, and one with a graph.
    #[test]
    fn tokens_are_columns_of_the_map() {
        let normal = Distribution::Normal(0.0, 1.0);
        for device in [Device::flex(), Device::flex().autodiff()] {
            let map = Tensor::<4>::random([2, 70, 33, 31], normal, &device);
            for map in [map.clone(), map.swap_dims(2, 3)] {
                let [batch, channels, height, width] = map.dims();
                let columns = map.clone().reshape([batch, channels, height * width]);
                let tokens = to_tokens(map.clone());
                let same = |a: TensorData, b: TensorData| a.assert_eq(&b, true);
                same(tokens.to_data(), columns.clone().swap_dims(1, 2).to_data());
                same(to_map(tokens, height, width).to_data(), map.to_data());
                let view = columns.swap_dims(1, 2);
                same(to_map(view, height, width).to_data(), map.to_data());
            }
        }
    }

    #[test]
    fn a_map_is_what_its_tokens_make_again() {
        let map = Tensor::<1, Int>::arange(0..24, &Device::flex())
            .float()
            .reshape([1, 2, 3, 4]);
        let tokens = to_tokens(map.clone());
        let first = tokens.clone().narrow(1, 0, 1).into_data();
        assert_eq!(first.try_to_vec::<f32>().expect("f32 data"), [0.0, 12.0]);
        to_map(tokens, 3, 4)
            .into_data()
            .assert_eq(&map.into_data(), true);
    }
}
