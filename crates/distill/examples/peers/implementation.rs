//! Our operations, and the framework's own.

use burn::tensor::{Tensor, activation, module, ops};
use fewstep_kernels as ours;

/// Whose operations run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Implementation {
    Ours,
    Stock,
}

impl Implementation {
    pub(crate) fn conv2d(
        self,
        x: Tensor<4>,
        weight: Tensor<4>,
        bias: Option<Tensor<1>>,
        stride: usize,
    ) -> Tensor<4> {
        let padding = [weight.dims()[2] / 2; 2];
        match self {
            Self::Ours => ours::conv2d(x, weight, bias, stride, padding),
            Self::Stock => {
                let options = ops::ConvOptions::new([stride; 2], padding, [1, 1], 1);
                module::conv2d(x, weight, bias, options)
            }
        }
    }

    pub(crate) fn group_norm(
        self,
        x: Tensor<4>,
        gamma: Tensor<1>,
        beta: Tensor<1>,
        groups: usize,
        silu: bool,
    ) -> Tensor<4> {
        let eps = 1e-5;
        match (self, silu) {
            (Self::Ours, true) => ours::group_norm_silu(x, gamma, beta, groups, eps, None),
            (Self::Ours, false) => ours::group_norm(x, gamma, beta, groups, eps),
            (Self::Stock, true) => activation::silu(self.group_norm(x, gamma, beta, groups, false)),
            (Self::Stock, false) => burn::nn::GroupNorm {
                gamma: Some(burn::module::Param::from_tensor(gamma)),
                beta: Some(burn::module::Param::from_tensor(beta)),
                num_groups: groups,
                num_channels: x.dims()[1],
                epsilon: eps,
                affine: true,
            }
            .forward(x),
        }
    }

    pub(crate) fn attention(self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Ours => ours::attention(q, k, v),
            Self::Stock => module::attention(q, k, v, None, None, Default::default()),
        }
    }
}
