//! The commands for models that generate from control images.

use fewstep_diffusion::Task;

/// The command that does a task.
pub(crate) fn command_of(task: Task) -> &'static str {
    match task {
        Task::Upscale => "upscale",
        Task::Inpaint => "inpaint",
        Task::Depth => "depth",
        Task::Instruct => "instruct",
        Task::Image => "render",
    }
}
