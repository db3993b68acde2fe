//! 2-D convolution over `[batch, channels, height, width]`, by three algorithms:
//!
//! - [`pointwise`]: a kernel of one element is a matrix product per image,
//! - [`winograd`]: a 3x3 kernel at stride one between enough channels goes through F(4x4, 3x3),
//! - [`direct`]: any other. The convolution is taken apart into *taps*: the output at a position is
//!   a sum, over channels and taps, of the input at the tap's offset from it times a weight.
//!
//! The register tile is always a few rows by two registers; where output channels lie along the
//! lanes, no spatial size is a bad one.

mod direct;
mod gather;
mod pack;
mod parts;
mod pointwise;
mod weight_grad;
mod window;
mod winograd;

#[cfg(test)]
mod tests;

use super::simd::Isa;
use super::weights::Weights;
pub(crate) use parts::Gradients;

/// The sizes of one convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) batch: usize,
    pub(crate) channels_in: usize,
    pub(crate) channels_out: usize,
    /// Height and width of the input.
    pub(crate) size_in: [usize; 2],
    /// Height and width of the kernel.
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: usize,
    /// Zeros around the input's height and width.
    pub(crate) padding: [usize; 2],
}

impl Shape {
    /// Height and width of the output.
    pub(crate) fn output(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            (self.size_in[axis] + 2 * self.padding[axis] - self.kernel[axis]) / self.stride + 1
        })
    }

    pub(crate) fn input_len(&self) -> usize {
        self.batch * self.channels_in * self.size_in[0] * self.size_in[1]
    }

    pub(crate) fn output_len(&self) -> usize {
        let [height, width] = self.output();
        self.batch * self.channels_out * height * width
    }

    pub(crate) fn weight_len(&self) -> usize {
        self.channels_out * self.channels_in * self.kernel[0] * self.kernel[1]
    }
}

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Pointwise,
    Winograd,
    Direct,
}

impl Algorithm {
    /// The fastest algorithm, by measurement.
    fn for_shape(isa: Isa, shape: &Shape) -> Self {
        if pointwise::fits(isa, shape) {
            Self::Pointwise
        } else if winograd::fits(shape) {
            Self::Winograd
        } else {
            Self::Direct
        }
    }
}

/// `y = conv(x, weight) + bias`. Weights of 16 bits are widened as they are packed, and give the bits
/// that the same numbers in 32 give.
pub(crate) fn forward(
    isa: Isa,
    shape: &Shape,
    x: &[f32],
    weight: Weights,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    match Algorithm::for_shape(isa, shape) {
        Algorithm::Pointwise => pointwise::forward(isa, shape, x, weight, bias),
        Algorithm::Winograd => winograd::forward(isa, shape, x, weight, bias),
        Algorithm::Direct => direct::forward(isa, shape, x, weight, bias),
    }
}

/// The gradient of the input, given that of the output.
pub(crate) fn input_grad(isa: Isa, shape: &Shape, dy: &[f32], weight: &[f32]) -> Vec<f32> {
    match Algorithm::for_shape(isa, shape) {
        Algorithm::Pointwise => pointwise::input_grad(isa, shape, dy, weight),
        Algorithm::Winograd => winograd::input_grad(isa, shape, dy, weight),
        Algorithm::Direct => direct::input_grad(isa, shape, dy, weight),
    }
}

/// The gradients of weight and bias, given that of the output.
///
/// The sum over images is split only by the shape, and its parts are added in order.
pub(crate) fn weight_grad(isa: Isa, shape: &Shape, x: &[f32], dy: &[f32]) -> Gradients {
    match Algorithm::for_shape(isa, shape) {
        Algorithm::Winograd => winograd::weight_grad(isa, shape, x, dy),
        Algorithm::Pointwise | Algorithm::Direct => weight_grad::weight_grad(isa, shape, x, dy),
    }
}

/// The gradient of the bias only, from maps of so many channels and positions.
pub(crate) fn bias_grad(channels: usize, area: usize, dy: &[f32]) -> Vec<f32> {
    let mut bias = vec![0.0; channels];
    for image in dy.chunks_exact(channels * area) {
        for (sum, plane) in bias.iter_mut().zip(image.chunks_exact(area)) {
            *sum += plane.iter().sum::<f32>();
        }
    }
    bias
}
