//! The algorithm of each convolution: the fastest that is precise enough.

use super::descriptors::Descriptors;
use super::{Cudnn, check};
use crate::options::ConvOptions;
use burn::backend::DType;
use cudarc::cudnn::sys;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pass {
    Forward,
    InputGrad,
    WeightGrad,
}

/// A convolution as cuDNN sees it: its pass, extents of input and weight, options and type.
pub(super) type Key = (Pass, [usize; 4], [usize; 4], usize, [usize; 2], DType, bool);

/// An algorithm by its number, the arithmetic it was timed with, and its scratch memory.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    pub(super) algorithm: u32,
    math: sys::cudnnMathType_t,
    pub(super) workspace: usize,
}

impl Cudnn {
    /// The fastest algorithm, timed when this convolution is first seen, and its arithmetic set.
    pub(super) fn choose(
        &mut self,
        pass: Pass,
        x: [usize; 4],
        weight: [usize; 4],
        options: ConvOptions,
        dtype: DType,
        descriptors: &Descriptors,
    ) -> Choice {
        let tf32 = crate::precision::tf32_is_allowed();
        let key = (
            pass,
            x,
            weight,
            options.stride,
            options.padding,
            dtype,
            tf32,
        );
        let choice = match self.chosen.get(&key) {
            Some(&choice) => choice,
            None => {
                self.queue.enter();
                let choice = self.time(pass, dtype, descriptors).unwrap_or_else(|| {
                    panic!("cuDNN has no algorithm for the convolution {key:?}")
                });
                self.chosen.insert(key, choice);
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

    /// Times all algorithms and takes the fastest that is precise enough.
    fn time(&self, pass: Pass, dtype: DType, d: &Descriptors) -> Option<Choice> {
        /// More than any pass has.
        const MOST: usize = 16;
        let exact = dtype == DType::F32 && !crate::precision::tf32_is_allowed();
        let usable = |status: sys::cudnnStatus_t, math: sys::cudnnMathType_t, memory: usize| {
            let fma = math == sys::cudnnMathType_t::CUDNN_FMA_MATH;
            let succeeded = status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS;
            succeeded && (!exact || fma) && memory <= MOST_WORKSPACE
        };
        macro_rules! fastest {
            ($find:ident, $result:ty, $($descriptor:expr),*) => {{
                // SAFETY: plain data, written by the call.
                let mut results: [$result; MOST] = unsafe { std::mem::zeroed() };
                let mut count = 0;
                // SAFETY: there is room for the requested number of results.
                let status = unsafe {
                    sys::$find(
                        self.handle,
                        $($descriptor,)*
                        MOST as i32,
                        &mut count,
                        results.as_mut_ptr(),
                    )
                };
                check(status);
                let mut found = results[..count as usize].iter();
                let found = found.find(|r| usable(r.status, r.mathType, r.memory));
                found.map(|result| Choice {
                    algorithm: result.algo as u32,
                    math: result.mathType,
                    workspace: result.memory,
                })
            }};
        }
        match pass {
            Pass::Forward => fastest!(
                cudnnFindConvolutionForwardAlgorithm,
                sys::cudnnConvolutionFwdAlgoPerf_t,
                d.x,
                d.weight,
                d.convolution,
                d.y
            ),
            Pass::InputGrad => fastest!(
                cudnnFindConvolutionBackwardDataAlgorithm,
                sys::cudnnConvolutionBwdDataAlgoPerf_t,
                d.weight,
                d.y,
                d.convolution,
                d.x
            ),
            Pass::WeightGrad => fastest!(
                cudnnFindConvolutionBackwardFilterAlgorithm,
                sys::cudnnConvolutionBwdFilterAlgoPerf_t,
                d.x,
                d.y,
                d.convolution,
                d.weight
            ),
        }
    }
}

/// Most scratch memory of an algorithm.
const MOST_WORKSPACE: usize = 1 << 30;
