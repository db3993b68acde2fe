//! The operations as an extension of the framework's backends.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, ExtensionType, backend_extension};

/// Stride and padding of a convolution, the same along both axes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvOptions {
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

/// The bias of a convolution, where it has one.
#[derive(ExtensionType)]
pub(crate) enum Bias<B: Backend> {
    /// One value per output channel.
    Given(FloatTensor<B>),
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
}
