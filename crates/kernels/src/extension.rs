//! The operations as an extension of the framework's backends.

use crate::backend::{KernelBackend, NormInputs};
use crate::options::{AdamStep, ConvOptions, NormOptions};
use burn::backend::tensor::{FloatTensor, QuantizedTensor};
use burn::backend::{
    Backend, BackendTensor, Dispatch, DispatchAutodiffContext, DispatchKindConversion,
    DispatchTensor, DispatchTensorKind, ExtensionType, backend_extension,
};
use std::fmt;
use std::sync::Arc;

/// The weight of a layer.
#[derive(ExtensionType)]
pub(crate) enum Weight<B: Backend> {
    /// Of the type in which the network computes, or of fewer bits.
    Floats(FloatTensor<B>),
    /// In the blocks of [`crate::q8`]: on the CPU, and without a graph.
    Blocks(QuantizedTensor<B>),
}

impl<B: Backend> Weight<B> {
    /// The floats.
    ///
    /// # Panics
    /// For a weight in blocks, which networks have on the CPU and without a graph only.
    pub(crate) fn floats(self) -> FloatTensor<B> {
        match self {
            Self::Floats(weight) => weight,
            Self::Blocks(_) => panic!("a weight in blocks where there is no kernel for it"),
        }
    }
}

/// The bias of a layer, where it has one.
#[derive(ExtensionType)]
pub(crate) enum Bias<B: Backend> {
    /// One value per output channel.
    Given(FloatTensor<B>),
    Absent,
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

/// Tensors of any number and any ranks.
pub(crate) struct Tensors<B: Backend>(pub(crate) Vec<FloatTensor<B>>);

impl<B: Backend> ExtensionType<B> for Tensors<B> {
    type Target = Tensors<Dispatch>;

    fn map_to_dispatch<F>(self, map_kind: F, autodiff: DispatchAutodiffContext) -> Self::Target
    where
        F: Fn(BackendTensor<B>) -> DispatchTensorKind,
    {
        let wrap = |tensor| DispatchTensor {
            kind: map_kind(BackendTensor::Float(tensor)),
            autodiff,
        };
        Tensors(self.0.into_iter().map(wrap).collect())
    }

    fn map_from_dispatch<F>(target: Self::Target, unwrap_kind: F) -> Self
    where
        F: Fn(DispatchTensor) -> BackendTensor<B>,
    {
        let unwrap = |tensor| unwrap_kind(tensor).float();
        Self(target.0.into_iter().map(unwrap).collect())
    }

    fn routing_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.0.first()
    }

    fn routing_float_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.0.first()
    }

    fn autodiff_context(target: &Self::Target) -> DispatchAutodiffContext {
        let contexts = target.0.iter().map(|tensor| tensor.autodiff);
        contexts.fold(
            DispatchAutodiffContext::Disabled,
            DispatchAutodiffContext::merge,
        )
    }
}

/// One tensor out of many.
#[derive(Clone)]
pub(crate) struct Function(
    pub(crate) Arc<dyn Fn(Vec<DispatchTensor>) -> DispatchTensor + Send + Sync>,
);

impl Function {
    /// The function's value on a backend.
    pub(crate) fn apply<B: Backend>(&self, inputs: Vec<FloatTensor<B>>) -> FloatTensor<B>
    where
        DispatchTensor: DispatchKindConversion<B>,
    {
        let inputs = inputs.into_iter().map(BackendTensor::<B>::Float);
        let output = (self.0)(inputs.map(DispatchTensor::from_backend).collect());
        let output = <DispatchTensor as DispatchKindConversion<B>>::try_into_backend(output);
        output
            .expect("a function of tensors of a backend gives one of the same")
            .float()
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function")
    }
}

/// The operations, on the back ends that have them.
#[backend_extension(Flex, Cube: cfg(feature = "gpu"), Autodiff)]
pub(crate) trait KernelOps: Backend {
    fn kernel_conv2d(
        x: FloatTensor<Self>,
        #[extension_type] weight: Weight<Self>,
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

    fn kernel_silu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    fn kernel_double(x: FloatTensor<Self>) -> FloatTensor<Self>;

    fn kernel_linear(
        x: FloatTensor<Self>,
        #[extension_type] weight: Weight<Self>,
        #[extension_type] bias: Bias<Self>,
    ) -> FloatTensor<Self>;

    fn kernel_adam(#[extension_type] tensors: Tensors<Self>, step: AdamStep) -> Tensors<Self>;

    fn kernel_mix(a: FloatTensor<Self>, b: FloatTensor<Self>, kept: f64) -> FloatTensor<Self>;

    fn kernel_squared_norm(#[extension_type] tensors: Tensors<Self>) -> FloatTensor<Self>;

    fn kernel_checkpointed(
        #[extension_type] inputs: Tensors<Self>,
        function: Function,
    ) -> FloatTensor<Self>;
}

/// Implements the operations, without graph, for a back end that has them.
macro_rules! implement {
    ($backend:ty) => {
        impl KernelOps for $backend {
            fn kernel_conv2d(
                x: FloatTensor<Self>,
                weight: Weight<Self>,
                bias: Bias<Self>,
                options: ConvOptions,
            ) -> FloatTensor<Self> {
                let bias = match bias {
                    Bias::Given(bias) => Some(bias),
                    Bias::Absent => None,
                };
                Self::convolve(x, weight, bias, options)
            }

            fn kernel_group_norm(
                x: FloatTensor<Self>,
                gamma: FloatTensor<Self>,
                beta: FloatTensor<Self>,
                modulation: Modulation<Self>,
                options: NormOptions,
            ) -> FloatTensor<Self> {
                let film = match modulation {
                    Modulation::Film { scale, shift } => Some([scale, shift]),
                    Modulation::Absent => None,
                };
                let inputs = NormInputs {
                    x,
                    gamma,
                    beta,
                    film,
                };
                Self::group_norm(inputs, options).0
            }

            fn kernel_attention(
                q: FloatTensor<Self>,
                k: FloatTensor<Self>,
                v: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                Self::attend([q, k, v])
            }

            fn kernel_silu(x: FloatTensor<Self>) -> FloatTensor<Self> {
                Self::silu(x)
            }

            fn kernel_double(x: FloatTensor<Self>) -> FloatTensor<Self> {
                Self::double(x)
            }

            fn kernel_linear(
                x: FloatTensor<Self>,
                weight: Weight<Self>,
                bias: Bias<Self>,
            ) -> FloatTensor<Self> {
                let bias = match bias {
                    Bias::Given(bias) => Some(bias),
                    Bias::Absent => None,
                };
                Self::affine(x, weight, bias)
            }

            fn kernel_adam(tensors: Tensors<Self>, step: AdamStep) -> Tensors<Self> {
                let tensors = tensors.0.try_into();
                let tensors = tensors.expect("parameter, gradient and two moments");
                Tensors(Self::adam(tensors, step).into())
            }

            fn kernel_mix(
                a: FloatTensor<Self>,
                b: FloatTensor<Self>,
                kept: f64,
            ) -> FloatTensor<Self> {
                Self::mix(a, b, kept)
            }

            fn kernel_squared_norm(tensors: Tensors<Self>) -> FloatTensor<Self> {
                Self::squared_norm(tensors.0)
            }

            fn kernel_checkpointed(inputs: Tensors<Self>, function: Function) -> FloatTensor<Self> {
                function.apply::<Self>(inputs.0)
            }
        }
    };
}

implement!(burn::backend::Flex);
#[cfg(feature = "gpu")]
implement!(burn_cubecl::CubeBackend);
