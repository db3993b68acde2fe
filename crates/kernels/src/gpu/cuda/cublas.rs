//! Products by cuBLAS, in f32, bf16 or f16 with sums in f32.

use super::queue::Queue;
use super::{Library, States, index_of, is_supported, warn_missing};
use crate::gpu::tensors::empty;
use burn::backend::{DType, TensorMetadata};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cudarc::cublas::sys;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::{LazyLock, Mutex};

/// cuBLAS on one device.
pub(in crate::gpu) struct Cublas {
    queue: Queue,
    handle: sys::cublasHandle_t,
}

// SAFETY: a handle may be used by one thread at a time; the mutex sees to it.
unsafe impl Send for Cublas {}

/// cuBLAS for the device of a tensor, where it is a CUDA device, cuBLAS is there and knows the
/// tensor's type.
pub(in crate::gpu) fn cublas(tensor: &CubeTensor) -> Option<Library<Cublas>> {
    static OPENED: LazyLock<bool> = LazyLock::new(|| {
        // SAFETY: opens a library of NVIDIA's.
        let present = unsafe { sys::is_culib_present() };
        if !present {
            warn_missing("cuBLAS");
        }
        present
    });
    static STATES: States<Cublas> = Mutex::new(vec![]);
    let index = index_of(tensor).filter(|_| is_supported(tensor.dtype) && *OPENED)?;
    Some(Library {
        states: &STATES,
        index,
        client: tensor.client.clone(),
        make: Cublas::new,
    })
}

/// A batch of matrices in memory: one column or one row is without gaps, and matrices are equally
/// far apart.
pub(in crate::gpu) struct Operand {
    tensor: CubeTensor,
    transposed: bool,
    leading: usize,
    apart: usize,
}

impl Operand {
    /// Of a tensor `[.., rows, columns]`; copied where its memory is in no such order.
    pub(in crate::gpu) fn new(tensor: CubeTensor) -> Self {
        Self::view(&tensor).unwrap_or_else(|| {
            let tensor = into_contiguous(tensor);
            Self::view(&tensor).expect("what is in order is in such an order")
        })
    }

    fn view(tensor: &CubeTensor) -> Option<Self> {
        let (shape, strides) = (tensor.shape(), tensor.meta.strides());
        let rank = shape.num_dims();
        let [rows, columns] = [shape[rank - 2], shape[rank - 1]];
        let [down, across] = [strides[rank - 2], strides[rank - 1]];
        let (transposed, leading) = match () {
            () if (across == 1 || columns == 1) && (down >= columns || rows == 1) => {
                (false, down.max(columns))
            }
            () if (down == 1 || rows == 1) && (across >= rows || columns == 1) => {
                (true, across.max(rows))
            }
            () => return None,
        };
        // The extents before these must walk through memory at one pace.
        let mut apart = 0;
        let mut pace = None;
        for axis in (0..rank - 2).rev() {
            if shape[axis] == 1 {
                continue;
            }
            match pace {
                None => apart = strides[axis],
                Some(pace) if pace != strides[axis] => return None,
                Some(_) => {}
            }
            pace = Some(strides[axis] * shape[axis]);
        }
        Some(Self {
            tensor: tensor.clone(),
            transposed,
            leading,
            apart,
        })
    }
}

impl Cublas {
    fn new(index: usize) -> Self {
        let queue = Queue::new(index);
        let mut handle = null_mut();
        // SAFETY: the context is current, and the handle is made before it is used.
        unsafe {
            check(sys::cublasCreate_v2(&mut handle));
            check(sys::cublasSetStream_v2(handle, queue.stream().cast()));
        }
        Self { queue, handle }
    }

    /// The product of two batches `[.., rows, inner]` and `[.., inner, columns]`, stored in this
    /// type.
    pub(in crate::gpu) fn product(&mut self, a: Operand, b: Operand, dtype: DType) -> CubeTensor {
        let mut shape = a.tensor.shape();
        let rank = shape.num_dims();
        let (rows, inner) = (shape[rank - 2], shape[rank - 1]);
        let columns = b.tensor.shape()[rank - 1];
        shape[rank - 1] = columns;
        let batch: usize = (0..rank - 2).map(|axis| shape[axis]).product();
        let c = empty(&a.tensor, shape, dtype);
        let (kind_in, kind_out) = (kind(a.tensor.dtype), kind(dtype));
        let compute = match a.tensor.dtype {
            DType::F32 if crate::precision::tf32_is_allowed() => {
                sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32
            }
            _ => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let handle = self.handle;
        let (one, zero) = (1f32, 0f32);
        let tensors = [&a.tensor, &b.tensor, &c];
        self.queue.run(tensors, |_, [pa, pb, pc]| {
            // cuBLAS counts column by column: to it our matrices are transposed, and Cᵀ = Bᵀ Aᵀ.
            // SAFETY: extents and memory are those of the tensors.
            unsafe {
                check(sys::cublasGemmStridedBatchedEx(
                    handle,
                    operation(b.transposed),
                    operation(a.transposed),
                    columns as i32,
                    rows as i32,
                    inner as i32,
                    std::ptr::from_ref(&one).cast::<c_void>(),
                    pb,
                    kind_in,
                    b.leading as i32,
                    b.apart as i64,
                    pa,
                    kind_in,
                    a.leading as i32,
                    a.apart as i64,
                    std::ptr::from_ref(&zero).cast::<c_void>(),
                    pc,
                    kind_out,
                    columns as i32,
                    (rows * columns) as i64,
                    batch as i32,
                    compute,
                    sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
                ));
            }
        });
        c
    }
}

fn operation(transposed: bool) -> sys::cublasOperation_t {
    match transposed {
        true => sys::cublasOperation_t::CUBLAS_OP_T,
        false => sys::cublasOperation_t::CUBLAS_OP_N,
    }
}

fn kind(dtype: DType) -> sys::cudaDataType {
    match dtype {
        DType::BF16 => sys::cudaDataType_t::CUDA_R_16BF,
        DType::F16 => sys::cudaDataType_t::CUDA_R_16F,
        _ => sys::cudaDataType_t::CUDA_R_32F,
    }
}

/// Extents and memory are ours, so a failure is a fault of the program or of the device.
fn check(status: sys::cublasStatus_t) {
    assert!(
        status == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS,
        "cuBLAS failed: {status:?}"
    );
}
