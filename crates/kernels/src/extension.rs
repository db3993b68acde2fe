//! The operations as an extension of the framework's backends.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, ExtensionType, backend_extension};

/// Stride of a convolution, the same along both axes, and padding along height and width.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvOptions {
    pub(crate) stride: usize,
    pub(crate) padding: [usize; 2],
}

/// The bias of a convolution, where it has one.
#[derive(ExtensionType)]
pub(crate) enum Bias<B: Backend> {
    /// One value per output channel.
    Given(FloatTensor<B>),
    Absent,
}

/// Group count and epsilon of a normalisation, and whether SiLU follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormOptions {
    pub(crate) groups: usize,
    pub(crate) eps: f64,
    pub(crate) silu: bool,
}

/// The modulation of a normalised map, where there is one.
#[derive(ExtensionType)]
pub(crate) enum Modulation<B: Backend> {
    /// `[batch, channels]` each.
    Film {
        scale: FloatTensor<B>,
        shift: FloatTensor<B>,
    },
    Absent,
}

/// What our own kernels compute, on the backends that have them.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait KernelOps: Backend {
    fn kernel_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: Bias<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self>;

    fn kernel_group_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        #[extension_type] modulation: Modulation<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self>;

    fn kernel_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}
