//! Where and how networks compute: the flags of it, and what they mean for this process.

use crate::error::{CliResult, IntoCliResult};
use burn::tensor::Device;
use fewstep_distill::recipe::RunConfig;
use fewstep_formats::Model;
use fewstep_generate::{KeepEncoder, LoadOptions};
use fewstep_kernels::device::{DeviceName, Placement, found};
use fewstep_nn::Precision;
use std::path::Path;
use std::sync::OnceLock;

static DEVICE: OnceLock<Option<DeviceName>> = OnceLock::new();
static PRECISION: OnceLock<Precision> = OnceLock::new();

/// Where to compute, for every verb.
#[derive(clap::Args)]
pub(crate) struct DeviceArgs {
    /// Where to compute: auto, cpu, cuda, cuda:N, vulkan, vulkan:N or metal. auto takes a GPU where this build can use one
    /// and the machine has one, else the CPU; `fewstep info --devices` lists them.
    #[arg(long, global = true, env = "FEWSTEP_DEVICE", value_name = "DEVICE")]
    device: Option<DeviceName>,
}

impl DeviceArgs {
    /// Makes it the choice of this process.
    pub(crate) fn choose(self) {
        // The first choice stays: there is one command line.
        let _ = DEVICE.set(self.device);
    }
}

/// How precisely to compute, for verbs that generate.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct PrecisionArgs {
    /// Type of the products and of what lies between layers: f32, or bf16 on devices that compute in it.
    #[arg(long, value_name = "f32|bf16", default_value = "f32", value_parser = precision_of)]
    precision: Precision,
}

impl PrecisionArgs {
    /// Makes it the choice of this process, and says whether the device can.
    pub(crate) fn choose(self, device: &Device) -> CliResult<Precision> {
        self.precision.check(device).input_error()?;
        let _ = PRECISION.set(self.precision);
        Ok(self.precision)
    }
}

fn precision_of(text: &str) -> Result<Precision, String> {
    match text {
        "f32" => Ok(Precision::F32),
        "bf16" => Ok(Precision::Bf16),
        _ => Err("it must be f32 or bf16".into()),
    }
}

/// The device of this process: that of the command line, else that of the recipe, else the first that there is.
pub(crate) fn device(of_recipe: Option<DeviceName>) -> CliResult<Device> {
    let chosen = DEVICE.get().copied().flatten().or(of_recipe);
    let name = chosen.unwrap_or_default();
    let device = name.open().input_error()?;
    if name == DeviceName::Auto && Placement::of(&device).has_own_memory() {
        let gpu = found().into_iter().find(|info| info.is_card);
        let gpu = gpu.map_or_else(String::new, |gpu| format!("{} ({})", gpu.name, gpu.model));
        tracing::info!("computing on {gpu}; --device cpu takes the CPU");
    }
    Ok(device)
}

/// The device of a run, which can compute as its recipe asks for.
pub(crate) fn device_of_run(config: &RunConfig) -> CliResult<Device> {
    let device = device(config.device)?;
    config.precision.check(&device).input_error()?;
    Ok(device)
}

/// The model, computing as the command line asks for.
pub(crate) fn as_chosen(model: Model) -> Model {
    let precision = PRECISION.get().copied().unwrap_or_default();
    Model {
        network: model.network.computing_in(precision),
        ..model
    }
}

/// How models are loaded: with the ControlNet of another folder where one is given, computing as the command line asks
/// for.
pub(crate) fn load_options(controlnet: Option<&Path>, keep_encoder: KeepEncoder) -> LoadOptions {
    LoadOptions {
        controlnet: controlnet.map(Path::to_path_buf),
        precision: PRECISION.get().copied().unwrap_or_default(),
        keep_encoder,
    }
}
