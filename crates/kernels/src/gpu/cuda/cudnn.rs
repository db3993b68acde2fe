//! Convolutions by cuDNN, channels last, in f32, bf16 or f16 with sums in f32.

use super::queue::Queue;
use super::{Library, States, index_of, is_supported, warn_missing};
use crate::gpu::rows::add_to_rows;
use crate::gpu::tensors::{as_map, cast, channels_last, empty, size};
use crate::options::ConvOptions;
use burn::backend::DType;
use burn_cubecl::tensor::CubeTensor;
use cudarc::cudnn::sys;
use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::{LazyLock, Mutex};

/// cuDNN on one device.
pub(in crate::gpu) struct Cudnn {
    queue: Queue,
    handle: sys::cudnnHandle_t,
    /// The fastest algorithm of each convolution seen so far.
    chosen: HashMap<Key, Choice>,
}

// SAFETY: a handle may be used by one thread at a time; the mutex sees to it.
unsafe impl Send for Cudnn {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pass {
    Forward,
    InputGrad,
    WeightGrad,
}

/// A convolution as cuDNN sees it: its pass, extents of input and weight, options and type.
type Key = (Pass, [usize; 4], [usize; 4], usize, [usize; 2], DType, bool);

/// An algorithm by its number, the arithmetic it was timed with, and its scratch memory.
#[derive(Clone, Copy)]
struct Choice {
    algorithm: u32,
    math: sys::cudnnMathType_t,
    workspace: usize,
}

/// cuDNN for the device of a tensor, where it is a CUDA device, cuDNN is there and knows the
/// tensor's type.
pub(in crate::gpu) fn cudnn(tensor: &CubeTensor) -> Option<Library<Cudnn>> {
    static OPENED: LazyLock<bool> = LazyLock::new(|| {
        // SAFETY: opens a library of NVIDIA's.
        let present = unsafe { sys::is_culib_present() };
        if !present {
            warn_missing("cuDNN");
        }
        present
    });
    static STATES: States<Cudnn> = Mutex::new(vec![]);
    let index = index_of(tensor).filter(|_| is_supported(tensor.dtype) && *OPENED)?;
    Some(Library {
        states: &STATES,
        index,
        client: tensor.client.clone(),
        make: Cudnn::new,
    })
}

/// What a call of cuDNN takes besides its pointers.
struct Descriptors {
    x: sys::cudnnTensorDescriptor_t,
    y: sys::cudnnTensorDescriptor_t,
    weight: sys::cudnnFilterDescriptor_t,
    convolution: sys::cudnnConvolutionDescriptor_t,
}

impl Descriptors {
    /// Of a convolution of `x` `[batch, channels, height, width]` by `weight`.
    fn new(x: [usize; 4], weight: [usize; 4], options: ConvOptions, dtype: DType) -> Self {
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

impl Cudnn {
    fn new(index: usize) -> Self {
        let queue = Queue::new(index);
        let mut handle = null_mut();
        // SAFETY: the context is current, and the handle is made before it is used.
        unsafe {
            check(sys::cudnnCreate(&mut handle));
            check(sys::cudnnSetStream(handle, queue.stream().cast()));
        }
        Self {
            queue,
            handle,
            chosen: HashMap::new(),
        }
    }

    pub(in crate::gpu) fn conv2d(
        &mut self,
        x: CubeTensor,
        weight: CubeTensor,
        bias: Option<CubeTensor>,
        options: ConvOptions,
    ) -> CubeTensor {
        let (size_x, size_weight, dtype) = (size(&x), size(&weight), x.dtype);
        let (x, weight) = (channels_last(x), channels_last(cast(weight, dtype)));
        let [batch, channels, height, width] = output_size(size_x, size_weight, options);
        let y = empty(&x, [batch, height, width, channels], dtype);
        let descriptors = Descriptors::new(size_x, size_weight, options, dtype);
        let choice = self.choose(
            Pass::Forward,
            size_x,
            size_weight,
            options,
            dtype,
            &descriptors,
        );
        let handle = self.handle;
        self.queue.run([&x, &weight, &y], |queue, [x, weight, y]| {
            let workspace = queue.workspace(choice.workspace);
            // SAFETY: descriptors and memory are those of the tensors.
            unsafe {
                check(sys::cudnnConvolutionForward(
                    handle,
                    ONE.as_ptr(),
                    descriptors.x,
                    x,
                    descriptors.weight,
                    weight,
                    descriptors.convolution,
                    std::mem::transmute::<u32, sys::cudnnConvolutionFwdAlgo_t>(choice.algorithm),
                    workspace,
                    choice.workspace,
                    ZERO.as_ptr(),
                    descriptors.y,
                    y,
                ));
            }
        });
        let y = match bias {
            Some(bias) => add_to_rows(y, bias),
            None => y,
        };
        as_map(y)
    }

    pub(in crate::gpu) fn conv2d_input_grad(
        &mut self,
        dy: CubeTensor,
        weight: CubeTensor,
        size_x: [usize; 4],
        options: ConvOptions,
    ) -> CubeTensor {
        let (size_weight, dtype) = (size(&weight), dy.dtype);
        let (dy, weight) = (channels_last(dy), channels_last(cast(weight, dtype)));
        let [batch, channels, height, width] = size_x;
        let dx = empty(&dy, [batch, height, width, channels], dtype);
        let descriptors = Descriptors::new(size_x, size_weight, options, dtype);
        let pass = Pass::InputGrad;
        let choice = self.choose(pass, size_x, size_weight, options, dtype, &descriptors);
        let handle = self.handle;
        self.queue
            .run([&dy, &weight, &dx], |queue, [dy, weight, dx]| {
                let workspace = queue.workspace(choice.workspace);
                // SAFETY: descriptors and memory are those of the tensors.
                unsafe {
                    check(sys::cudnnConvolutionBackwardData(
                        handle,
                        ONE.as_ptr(),
                        descriptors.weight,
                        weight,
                        descriptors.y,
                        dy,
                        descriptors.convolution,
                        std::mem::transmute::<u32, sys::cudnnConvolutionBwdDataAlgo_t>(
                            choice.algorithm,
                        ),
                        workspace,
                        choice.workspace,
                        ZERO.as_ptr(),
                        descriptors.x,
                        dx,
                    ));
                }
            });
        as_map(dx)
    }

    pub(in crate::gpu) fn conv2d_weight_grad(
        &mut self,
        x: CubeTensor,
        dy: CubeTensor,
        size_weight: [usize; 4],
        options: ConvOptions,
    ) -> CubeTensor {
        let (size_x, dtype) = (size(&x), dy.dtype);
        let (x, dy) = (channels_last(cast(x, dtype)), channels_last(dy));
        let [to, from, height, width] = size_weight;
        let dw = empty(&dy, [to, height, width, from], dtype);
        let descriptors = Descriptors::new(size_x, size_weight, options, dtype);
        let pass = Pass::WeightGrad;
        let choice = self.choose(pass, size_x, size_weight, options, dtype, &descriptors);
        let handle = self.handle;
        self.queue.run([&x, &dy, &dw], |queue, [x, dy, dw]| {
            let workspace = queue.workspace(choice.workspace);
            // SAFETY: descriptors and memory are those of the tensors.
            unsafe {
                check(sys::cudnnConvolutionBackwardFilter(
                    handle,
                    ONE.as_ptr(),
                    descriptors.x,
                    x,
                    descriptors.y,
                    dy,
                    descriptors.convolution,
                    std::mem::transmute::<u32, sys::cudnnConvolutionBwdFilterAlgo_t>(
                        choice.algorithm,
                    ),
                    workspace,
                    choice.workspace,
                    ZERO.as_ptr(),
                    descriptors.weight,
                    dw,
                ));
            }
        });
        as_map(dw)
    }

    /// The fastest algorithm, timed when this convolution is first seen, and its arithmetic set.
    fn choose(
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

/// cuDNN's factors are f32 for all our types.
struct Factor(f32);

const ONE: Factor = Factor(1.0);
const ZERO: Factor = Factor(0.0);

impl Factor {
    fn as_ptr(&'static self) -> *const c_void {
        std::ptr::from_ref(&self.0).cast()
    }
}

fn output_size(x: [usize; 4], weight: [usize; 4], options: ConvOptions) -> [usize; 4] {
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

/// Descriptors and memory are ours, so a failure is a fault of the program or of the device.
fn check(status: sys::cudnnStatus_t) {
    assert!(
        status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS,
        "cuDNN failed: {status:?}"
    );
}
