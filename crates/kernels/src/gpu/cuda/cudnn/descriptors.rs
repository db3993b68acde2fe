//! A convolution in the words of cuDNN.

use super::check;
use crate::options::ConvOptions;
use burn::backend::DType;
use cudarc::cudnn::sys;
use std::ptr::null_mut;

/// What a call of cuDNN takes besides its pointers.
pub(super) struct Descriptors {
    pub(super) x: sys::cudnnTensorDescriptor_t,
    pub(super) y: sys::cudnnTensorDescriptor_t,
    pub(super) weight: sys::cudnnFilterDescriptor_t,
    pub(super) convolution: sys::cudnnConvolutionDescriptor_t,
}

impl Descriptors {
    /// Of a convolution of `x` `[batch, channels, height, width]` by `weight`.
    pub(super) fn new(
        x: [usize; 4],
        weight: [usize; 4],
        options: ConvOptions,
        dtype: DType,
    ) -> Self {
        let kind = kind(dtype);
        let y = output_size(x, weight, options);
        let mut all = Self {
            x: null_mut(),
            y: null_mut(),
            weight: null_mut(),
            convolution: null_mut(),
        };
        let last = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
        let [pad_h, pad_w] = options.padding.map(|p| p as i32);
        let stride = options.stride as i32;
        // SAFETY: every descriptor is made before it is set.
        unsafe {
            check(sys::cudnnCreateTensorDescriptor(&mut all.x));
            check(sys::cudnnCreateTensorDescriptor(&mut all.y));
            check(sys::cudnnCreateFilterDescriptor(&mut all.weight));
            check(sys::cudnnCreateConvolutionDescriptor(&mut all.convolution));
            let [n, c, h, w] = x.map(|extent| extent as i32);
            check(sys::cudnnSetTensor4dDescriptor(
                all.x, last, kind, n, c, h, w,
            ));
            let [n, c, h, w] = y.map(|extent| extent as i32);
            check(sys::cudnnSetTensor4dDescriptor(
                all.y, last, kind, n, c, h, w,
            ));
            let [k, c, h, w] = weight.map(|extent| extent as i32);
            check(sys::cudnnSetFilter4dDescriptor(
                all.weight, kind, last, k, c, h, w,
            ));
            check(sys::cudnnSetConvolution2dDescriptor(
                all.convolution,
                pad_h,
                pad_w,
                stride,
                stride,
                1,
                1,
                sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
                sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
            ));
            check(sys::cudnnSetConvolutionMathType(
                all.convolution,
                math(dtype),
            ));
        }
        all
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        // SAFETY: made in `new`, and cuDNN keeps no reference after a call.
        unsafe {
            sys::cudnnDestroyTensorDescriptor(self.x);
            sys::cudnnDestroyTensorDescriptor(self.y);
            sys::cudnnDestroyFilterDescriptor(self.weight);
            sys::cudnnDestroyConvolutionDescriptor(self.convolution);
        }
    }
}

pub(super) fn output_size(x: [usize; 4], weight: [usize; 4], options: ConvOptions) -> [usize; 4] {
    let out = |axis: usize| {
        let padded = x[2 + axis] + 2 * options.padding[axis];
        (padded - weight[2 + axis]) / options.stride + 1
    };
    [x[0], weight[0], out(0), out(1)]
}

fn kind(dtype: DType) -> sys::cudnnDataType_t {
    match dtype {
        DType::BF16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
        DType::F16 => sys::cudnnDataType_t::CUDNN_DATA_HALF,
        _ => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
    }
}

fn math(dtype: DType) -> sys::cudnnMathType_t {
    match dtype {
        DType::F32 if crate::precision::tf32_is_allowed() => {
            sys::cudnnMathType_t::CUDNN_DEFAULT_MATH
        }
        DType::F32 => sys::cudnnMathType_t::CUDNN_FMA_MATH,
        _ => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
    }
}
