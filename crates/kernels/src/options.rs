//! The options of the operations.

use burn::tensor::Tensor;

/// Feature-wise linear modulation of a normalised map: `h * (1 + scale) + shift`.
#[derive(Clone, Debug)]
pub struct Film {
    /// `[batch, channels]`.
    pub scale: Tensor<2>,
    /// `[batch, channels]`.
    pub shift: Tensor<2>,
}

/// Stride of a convolution, the same along both axes, and padding along height and width.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvOptions {
    pub(crate) stride: usize,
    pub(crate) padding: [usize; 2],
}

/// Group count and epsilon of a normalisation, and whether SiLU follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormOptions {
    pub(crate) groups: usize,
    pub(crate) eps: f64,
    pub(crate) silu: bool,
}

/// How weight decay enters an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decay {
    /// Added to the gradient (L2).
    Coupled(f32),
    /// Taken off the parameter (1711.05101).
    Decoupled(f32),
}

/// The numbers of one update of Adam (1412.6980).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub lr: f32,
    /// Decay of the two moments.
    pub beta: [f32; 2],
    /// 1 − βᵗ for each.
    pub correction: [f32; 2],
    /// ε.
    pub epsilon: f32,
    /// Weight decay.
    pub decay: Decay,
}
