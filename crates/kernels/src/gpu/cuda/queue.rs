//! Work of NVIDIA's libraries in order with the framework's.
//!
//! The framework has streams of its own, which it does not show. The libraries run on a stream of
//! ours: it waits for all that the context has been given, and all that the context is given later
//! waits for it. Nothing waits on the host.

use burn_cubecl::tensor::CubeTensor;
use cubecl::cuda::CudaRuntime;
use cubecl_runtime::runtime::Runtime;
use cudarc::driver::result::{ctx, device, event, primary_ctx, stream};
use cudarc::driver::sys::{self, CUcontext, CUdeviceptr, CUevent, CUevent_flags, CUstream};
use std::ffi::c_void;

type Server = <CudaRuntime as Runtime>::Server;

/// A stream of a device's primary context.
pub(super) struct Queue {
    context: CUcontext,
    stream: CUstream,
    before: CUevent,
    after: CUevent,
    /// Whether the driver has events of a whole context: from CUDA 12.5 on. Before, the host waits.
    has_context_events: bool,
    workspace: Workspace,
}

// SAFETY: handles of the driver may be used from any thread whose current context is theirs; `run`
// sets it.
unsafe impl Send for Queue {}

/// Scratch memory of the libraries; of size 0 there is none.
#[derive(Default)]
struct Workspace {
    memory: CUdeviceptr,
    size: usize,
}

impl Queue {
    /// # Panics
    /// When the driver cannot make a stream, on a device that the framework has used already.
    pub(super) fn new(index: usize) -> Self {
        let failed = "the driver gives a stream of a device in use";
        // SAFETY: the primary context is the one that the framework retains for as long as the
        // program runs.
        unsafe {
            let device = device::get(index as i32).expect(failed);
            let context = primary_ctx::retain(device).expect(failed);
            ctx::set_current(context).expect(failed);
            let flags = CUevent_flags::CU_EVENT_DISABLE_TIMING;
            Self {
                context,
                stream: stream::create(stream::StreamKind::NonBlocking).expect(failed),
                before: event::create(flags).expect(failed),
                after: event::create(flags).expect(failed),
                has_context_events: driver_version() >= 12050,
                workspace: Workspace::default(),
            }
        }
    }

    /// The stream, for a library's handle.
    pub(super) fn stream(&self) -> CUstream {
        self.stream
    }

    /// Makes the context current on this thread.
    pub(super) fn enter(&self) {
        // SAFETY: the context is alive.
        let entered = unsafe { ctx::set_current(self.context) };
        entered.expect("the context is alive");
    }

    /// Scratch memory of at least this size.
    pub(super) fn workspace(&mut self, size: usize) -> *mut c_void {
        if size > self.workspace.size {
            // SAFETY: the stream is done with the old memory before it is freed.
            unsafe {
                stream::synchronize(self.stream).expect("earlier work went well");
                // Whatever fails below, nobody gets memory that is freed.
                let old = std::mem::take(&mut self.workspace);
                if old.size > 0 {
                    let freed = cudarc::driver::result::free_sync(old.memory);
                    freed.expect("memory of ours");
                }
                let memory = cudarc::driver::result::malloc_sync(size);
                self.workspace.memory = memory.unwrap_or_else(|error| {
                    panic!("no {size} bytes of device memory are left for a library: {error}")
                });
            }
            self.workspace.size = size;
        }
        self.workspace.memory as *mut c_void
    }

    /// Lets a library work on these tensors, in order with the framework's own work.
    pub(super) fn run<const N: usize, R>(
        &mut self,
        tensors: [&CubeTensor; N],
        work: impl FnOnce(&mut Self, [*mut c_void; N]) -> R,
    ) -> R {
        let resources = tensors.map(|tensor| {
            let resource = tensor.client.get_resource::<Server>(tensor.handle.clone());
            resource.expect("memory of a tensor that was computed")
        });
        let pointers = std::array::from_fn(|i| resources[i].resource().ptr as *mut c_void);
        self.enter();
        // SAFETY: context, stream and events belong together.
        unsafe {
            if self.has_context_events {
                let recorded = sys::cuCtxRecordEvent(self.context, self.before).result();
                recorded.expect("earlier work went well");
                let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
                stream::wait_event(self.stream, self.before, flags).expect("an event of ours");
            } else {
                ctx::synchronize().expect("earlier work went well");
            }
        }
        let result = work(self, pointers);
        // SAFETY: as above.
        unsafe {
            if self.has_context_events {
                event::record(self.after, self.stream).expect("an event of ours");
                let waits = sys::cuCtxWaitEvent(self.context, self.after).result();
                waits.expect("an event of ours");
            } else {
                stream::synchronize(self.stream).expect("the library's work went well");
            }
        }
        result
    }
}

/// The version of CUDA that the driver knows: 1000 times the major one and 10 times the minor one.
fn driver_version() -> i32 {
    let mut version = 0;
    // SAFETY: writes one number.
    let asked = unsafe { sys::cuDriverGetVersion(&mut version) };
    asked.result().map_or(0, |()| version)
}
