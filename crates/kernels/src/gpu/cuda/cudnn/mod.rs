//! Convolutions by cuDNN, channels last, in f32, bf16 or f16 with sums in f32.

mod choice;
mod descriptors;

use super::queue::Queue;
use super::{Library, States, index_of, is_supported, warn_missing};
use crate::gpu::rows::add_to_rows;
use crate::gpu::tensors::{as_map, cast, channels_last, empty, size};
use crate::options::ConvOptions;
use burn_cubecl::tensor::CubeTensor;
use choice::Chosen;
use cudarc::cudnn::sys;
use descriptors::{Descriptors, output_size};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::{LazyLock, Mutex};

/// cuDNN on one device.
pub(in crate::gpu) struct Cudnn {
    queue: Queue,
    handle: sys::cudnnHandle_t,
    forward: Chosen<sys::cudnnConvolutionFwdAlgo_t>,
    input_grad: Chosen<sys::cudnnConvolutionBwdDataAlgo_t>,
    weight_grad: Chosen<sys::cudnnConvolutionBwdFilterAlgo_t>,
}

// SAFETY: a handle may be used by one thread at a time; the mutex sees to it.
unsafe impl Send for Cudnn {}

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
            forward: Chosen::new(),
            input_grad: Chosen::new(),
            weight_grad: Chosen::new(),
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
        let choice = self.choose(size_x, size_weight, options, dtype, &descriptors);
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
                    choice.algorithm,
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
        let choice = self.choose(size_x, size_weight, options, dtype, &descriptors);
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
                        choice.algorithm,
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
        let choice = self.choose(size_x, size_weight, options, dtype, &descriptors);
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
                    choice.algorithm,
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
}

/// cuDNN's factors are f32 for all our types.
struct Factor(f32);

const ONE: Factor = Factor(1.0);
const ZERO: Factor = Factor(0.0);

impl Factor {
    fn as_ptr(&'static self) -> *const c_void {
        std::ptr::from_ref(&self.0).cast()
    }
}

/// Descriptors and memory are ours, so a failure is a fault of the program or of the device.
fn check(status: sys::cudnnStatus_t) {
    assert!(
        status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS,
        "cuDNN failed: {status:?}"
    );
}
