//! The device and the precision that networks compute with: their flags, and the device of this
//! process.

use crate::commands::shared::loras::LoadArgs;
use crate::error::{CliError, CliResult, IntoCliResult};
use burn::tensor::Device;
use fewstep_distill::World;
use fewstep_distill::recipe::RunConfig;
use fewstep_generate::{KeepEncoder, LoadOptions};
use fewstep_kernels::device::{DeviceName, Placement, found, widens_pieces};
use fewstep_kernels::{allow_bf16_products, has_bf16_products};
use fewstep_nn::{Precision, WeightFormat};
use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;

static DEVICE: OnceLock<Option<DeviceName>> = OnceLock::new();

/// The flag for the device, which every command has.
#[derive(clap::Args)]
pub(crate) struct DeviceArgs {
    /// Device to compute on: auto, cpu, cuda, cuda:N, vulkan, vulkan:N or metal. auto uses a GPU if
    /// this build supports one and the machine has one, else the CPU. `fewstep info --devices`
    /// lists the devices.
    #[arg(
        long,
        global = true,
        env = "FEWSTEP_DEVICE",
        value_name = "DEVICE",
        help_heading = "Options of every command"
    )]
    device: Option<ChosenDevice>,
}

/// A device, or nothing: an environment variable that is empty counts as not set.
#[derive(Clone, Copy)]
struct ChosenDevice(Option<DeviceName>);

impl FromStr for ChosenDevice {
    type Err = <DeviceName as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.is_empty() {
            true => Ok(Self(None)),
            false => text.parse().map(|name| Self(Some(name))),
        }
    }
}

impl DeviceArgs {
    /// Sets the device of this process.
    pub(crate) fn choose(self) {
        // The first choice stays: there is one command line.
        let _ = DEVICE.set(self.device.and_then(|chosen| chosen.0));
    }
}

/// The flag for the precision, for commands that generate.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct PrecisionArgs {
    /// Precision of activations and matrix products: f32, or bf16 on devices that support it. On a
    /// CPU, bf16 and f16 store the network's weights in 16 bits, half the memory, and q8_0 in 8 bits
    /// with a scale for each 32, a quarter; all compute in f32.
    #[arg(long, value_name = "f32|bf16|f16|q8_0", default_value_t, value_parser = precision_of)]
    precision: WeightFormat,
    /// On a CPU with AVX512-BF16: round the factors of linear layers and of attention to bf16, which
    /// is faster and changes images a little.
    #[arg(long)]
    bf16_products: bool,
}

impl PrecisionArgs {
    /// The precision in words; equal for equal images.
    pub(crate) fn describe(self) -> String {
        match self.bf16_products {
            false => self.precision.to_string(),
            true => format!("{}, bf16 products", self.precision),
        }
    }

    /// Chooses how this process multiplies, which the device must support.
    fn choose_products(self, device: &Device) -> CliResult {
        let lacking = match () {
            () if !self.bf16_products => None,
            () if !widens_pieces(device) => Some("it is for CPUs, and this device is none"),
            () if !has_bf16_products() => {
                Some("this processor has no instructions for it (AVX512-BF16)")
            }
            () => None,
        };
        match lacking {
            Some(lacking) => Err(CliError::input(format!(
                "--bf16-products: {lacking}; leave it out"
            ))),
            None => {
                allow_bf16_products(self.bf16_products);
                Ok(())
            }
        }
    }

    /// The precision to compute in, which the device must support.
    pub(crate) fn computing(self, device: &Device) -> CliResult<Precision> {
        self.choose_products(device)?;
        match self.precision {
            WeightFormat::Floats(precision) => {
                precision.check(device).input_error()?;
                Ok(precision)
            }
            WeightFormat::Q8_0 => Err(CliError::input(
                "--precision q8_0 stores weights, and networks do not compute in it: take f32 or bf16",
            )),
        }
    }

    /// How the network has its weights, which the device must support.
    pub(crate) fn generating(self, device: &Device) -> CliResult<WeightFormat> {
        self.precision.check(device).input_error()?;
        self.choose_products(device)?;
        Ok(self.precision)
    }

    /// How models are loaded: in this precision, which the device must support, with this folder's
    /// ControlNet if there is one, with what the flags add to it.
    pub(crate) fn load_options(
        self,
        device: &Device,
        controlnet: Option<&Path>,
        load: &LoadArgs,
        keep_encoder: KeepEncoder,
    ) -> CliResult<LoadOptions> {
        Ok(LoadOptions {
            controlnet: controlnet.map(Path::to_path_buf),
            weights: self.generating(device)?,
            loras: load.loras.loras.clone(),
            embeddings: load.embeddings.clone(),
            clip_skip: load.clip_skip,
            keep_encoder,
            texts: vec![],
        })
    }
}

fn precision_of(text: &str) -> Result<WeightFormat, String> {
    match text {
        "f32" => Ok(Precision::F32.into()),
        "bf16" => Ok(Precision::Bf16.into()),
        "f16" => Ok(Precision::F16.into()),
        "q8_0" => Ok(WeightFormat::Q8_0),
        _ => Err("it must be f32, bf16, f16 or q8_0".into()),
    }
}

/// The device of this process: from the command line, else from the recipe, else the first one
/// found.
pub(crate) fn device(of_recipe: Option<DeviceName>) -> CliResult<Device> {
    let chosen = DEVICE.get().copied().flatten().or(of_recipe);
    let name = chosen.unwrap_or_default();
    let device = name.open().input_error()?;
    tracing::debug!("computing on {device:?}");
    if name == DeviceName::Auto && Placement::of(&device).has_own_memory() {
        let gpu = found().into_iter().find(|info| info.is_card);
        let gpu = gpu.map_or_else(String::new, |gpu| format!("{} ({})", gpu.name, gpu.model));
        tracing::info!("computing on {gpu}; --device cpu uses the CPU");
    }
    Ok(device)
}

/// The device of a run, which must support the recipe's precision. Ranks on one machine take one GPU
/// each.
pub(crate) fn device_of_run(config: &RunConfig, world: &World) -> CliResult<Device> {
    let chosen = DEVICE.get().copied().flatten().or(config.device);
    let device = match (chosen.unwrap_or_default(), world.local_rank()) {
        (_, 0) => device(config.device)?,
        (name, rank) => name.of_rank(rank).open().input_error()?,
    };
    config.precision.check(&device).input_error()?;
    Ok(device)
}
