//! The algorithm of each convolution: the fastest that is precise enough.

use super::descriptors::Descriptors;
use super::{Cudnn, check};
use crate::memory::LIBRARY_WORKSPACE;
use crate::options::ConvOptions;
use burn::backend::DType;
use cudarc::cudnn::sys;
use std::collections::HashMap;
use std::fmt::Debug;

/// A convolution as cuDNN sees it: extents of input and weight, options and type.
pub(super) type Key = ([usize; 4], [usize; 4], usize, [usize; 2], DType, bool);

/// The fastest algorithm of each convolution seen so far, for one pass.
pub(super) type Chosen<A> = HashMap<Key, Choice<A>>;

/// An algorithm, the arithmetic it was timed with, and its scratch memory.
#[derive(Clone, Copy)]
pub(super) struct Choice<A> {
    pub(super) algorithm: A,
    math: sys::cudnnMathType_t,
    pub(super) workspace: usize,
}

/// The algorithms of a pass.
pub(super) trait Algorithm: Copy + Debug + 'static {
    /// Those that were chosen before.
    fn chosen(cudnn: &mut Cudnn) -> &mut Chosen<Self>;

    /// Times all algorithms and takes the fastest that is precise enough.
    fn time(cudnn: &Cudnn, dtype: DType, descriptors: &Descriptors) -> Option<Choice<Self>>;
}

impl Cudnn {
    /// The fastest algorithm, timed when this convolution is first seen, and its arithmetic set.
    pub(super) fn choose<A: Algorithm>(
        &mut self,
        x: [usize; 4],
        weight: [usize; 4],
        options: ConvOptions,
        dtype: DType,
        descriptors: &Descriptors,
    ) -> Choice<A> {
        let tf32 = crate::precision::tf32_is_allowed();
        let key = (x, weight, options.stride, options.padding, dtype, tf32);
        let choice = match A::chosen(self).get(&key) {
            Some(&choice) => choice,
            None => {
                self.queue.enter();
                let choice = A::time(self, dtype, descriptors).unwrap_or_else(|| {
                    panic!("cuDNN has no algorithm for the convolution {key:?}")
                });
                A::chosen(self).insert(key, choice);
                choice
            }
        };
        self.queue.enter();
        // SAFETY: a descriptor of ours.
        unsafe {
            check(sys::cudnnSetConvolutionMathType(
                descriptors.convolution,
                choice.math,
            ));
        }
        choice
    }
}

/// The algorithms that one of cuDNN's searches times, and where those are kept that won.
macro_rules! algorithms {
    ($algorithm:ident, $chosen:ident, $find:ident, $result:ident, $($descriptor:ident),*) => {
        impl Algorithm for sys::$algorithm {
            fn chosen(cudnn: &mut Cudnn) -> &mut Chosen<Self> {
                &mut cudnn.$chosen
            }

            fn time(cudnn: &Cudnn, dtype: DType, d: &Descriptors) -> Option<Choice<Self>> {
                // SAFETY: plain data, written by the call.
                let mut results: [sys::$result; MOST] = unsafe { std::mem::zeroed() };
                let mut count = 0;
                // SAFETY: there is room for the requested number of results.
                let status = unsafe {
                    sys::$find(
                        cudnn.handle,
                        $(d.$descriptor,)*
                        MOST as i32,
                        &mut count,
                        results.as_mut_ptr(),
                    )
                };
                check(status);
                let mut found = results[..count as usize].iter();
                let found = found.find(|r| is_usable(dtype, r.status, r.mathType, r.memory));
                found.map(|result| Choice {
                    algorithm: result.algo,
                    math: result.mathType,
                    workspace: result.memory,
                })
            }
        }
    };
}

algorithms!(
    cudnnConvolutionFwdAlgo_t,
    forward,
    cudnnFindConvolutionForwardAlgorithm,
    cudnnConvolutionFwdAlgoPerf_t,
    x,
    weight,
    convolution,
    y
);
algorithms!(
    cudnnConvolutionBwdDataAlgo_t,
    input_grad,
    cudnnFindConvolutionBackwardDataAlgorithm,
    cudnnConvolutionBwdDataAlgoPerf_t,
    weight,
    y,
    convolution,
    x
);
algorithms!(
    cudnnConvolutionBwdFilterAlgo_t,
    weight_grad,
    cudnnFindConvolutionBackwardFilterAlgorithm,
    cudnnConvolutionBwdFilterAlgoPerf_t,
    x,
    y,
    convolution,
    weight
);

/// More algorithms than any pass has.
const MOST: usize = 16;

fn is_usable(
    dtype: DType,
    status: sys::cudnnStatus_t,
    math: sys::cudnnMathType_t,
    memory: usize,
) -> bool {
    let exact = dtype == DType::F32 && !crate::precision::tf32_is_allowed();
    let fma = math == sys::cudnnMathType_t::CUDNN_FMA_MATH;
    let succeeded = status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS;
    succeeded && (!exact || fma) && memory <= LIBRARY_WORKSPACE
}
