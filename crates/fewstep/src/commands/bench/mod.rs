//! `fewstep bench`: how long a network takes on a device.

mod measure;
mod size;

use crate::compute;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::memory::{self, MemoryArgs};
use crate::parsers::batch_size;
use burn::module::Module;
use fewstep_data::amount;
use fewstep_diffusion::limits::IMAGE_SIDE;
use fewstep_diffusion::{CfgDenoiser, DiffusionModel, Network, PredictionKind, Schedule};
use fewstep_distill::method::{
    Denoising, GuidanceDistillation, GuidanceWeights, LossWeighting, NoisyImages, Objective,
};
use fewstep_distill::optim::{Ema, OptimConfig, Optimizer, Stepper};
use fewstep_kernels::device::{Launches, Placement};
use fewstep_nn::{Backbone, LoraConfig, Precision, WEmbedding};
use measure::{MeasureArgs, Measured};
use serde::Serialize;
use size::{Size, batch};

/// Time a network of a well-known size on a device.
///
/// The weights are random. Timed are the forward pass, and a training update: forward, backward,
/// clipping, Adam, moving average.
///
/// Example: fewstep bench cifar10 --device cuda --precision bf16 --batch 128
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The size of the network: that for CIFAR-10 in progressive distillation, that of Stable
    /// Diffusion 1.5 at 512x512, or a tiny one of their kinds.
    #[arg(value_enum)]
    size: Size,
    /// Height and width of the images, or of the latents [default: those that the network is made
    /// for].
    #[arg(long, value_parser = batch_size)]
    side: Option<usize>,
    /// Images in a batch.
    #[arg(long, default_value_t = 16, value_parser = batch_size)]
    batch: usize,
    #[command(flatten)]
    precision: compute::PrecisionArgs,
    #[command(flatten)]
    memory: MemoryArgs,
    /// Use TF32 in products of f32 matrices, on devices that have it.
    #[arg(long)]
    tf32: bool,
    /// Time only the forward pass.
    #[arg(long)]
    forward_only: bool,
    /// Use gradient checkpointing: keep only the inputs of each block and compute the rest again.
    #[arg(long)]
    gradient_checkpointing: bool,
    /// Train LoRA of this rank in all attention instead of all weights, with a frozen teacher: an
    /// update of stage one.
    #[arg(long, value_name = "RANK", value_parser = batch_size)]
    lora: Option<usize>,
    #[command(flatten)]
    measure: MeasureArgs,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Timing {
    network: Size,
    parameters: usize,
    what: &'static str,
    precision: String,
    batch: usize,
    side: usize,
    /// From the start of the first round to its end.
    first_seconds: f64,
    milliseconds: f64,
    fastest_milliseconds: f64,
    /// Until the host had queued its work.
    host_milliseconds: f64,
    images_per_second: f64,
    /// Bytes that the framework has taken from a GPU so far.
    device_bytes: Option<u64>,
    /// Kernels that a round launches, if they were counted.
    launches: Option<u64>,
}

pub(crate) fn run(args: Args) -> CliResult {
    args.memory.choose();
    let device = compute::device(None)?;
    let precision = args.precision.computing(&device)?;
    fewstep_kernels::allow_tf32(args.tf32);
    let config = args.size.config();
    let side = args.side.unwrap_or_else(|| args.size.side());
    let least = 1 << (config.widths.len() - 1);
    if !side.is_multiple_of(least) || side > IMAGE_SIDE {
        return Err(CliError::input(format!(
            "--side {side}: it must be a multiple of {least}, at most {IMAGE_SIDE}"
        )));
    }
    if !Placement::of(&device).has_own_memory() {
        let maps = config.forward([side; 2], 77);
        let predicted = 4 * (maps as u64).saturating_mul(args.batch as u64);
        memory::check("a forward pass", predicted, "use a smaller --batch")?;
    }
    let network = Backbone::new(&config.into(), 1, &device).input_error()?;
    let network = network.computing_in(precision);
    let report = |what, measured: Measured| -> CliResult {
        let timing = Timing {
            network: args.size,
            parameters: network.num_params(),
            what,
            precision: match args.tf32 && precision == Precision::F32 {
                true => "tf32".into(),
                false => precision.to_string(),
            },
            batch: args.batch,
            side,
            first_seconds: measured.first,
            milliseconds: 1e3 * measured.median,
            fastest_milliseconds: 1e3 * measured.fastest,
            host_milliseconds: 1e3 * measured.host,
            images_per_second: args.batch as f64 / measured.median,
            device_bytes: Placement::of(&device).reserved(),
            launches: measured.launches.as_ref().map(Launches::total),
        };
        match args.json {
            true => println!("{}", serde_json::to_string(&timing).input_error()?),
            false => println!(
                "{what:8} {:5} batch {:4}: {:9.2} ms ({:.2} at best, {:.1} s the first time), {:.1} images/s",
                timing.precision,
                args.batch,
                timing.milliseconds,
                timing.fastest_milliseconds,
                timing.first_seconds,
                timing.images_per_second
            ),
        }
        if let Some(launches) = measured.launches.filter(|_| !args.json) {
            print_launches(what, &launches, timing.device_bytes);
        }
        Ok(())
    };
    let (batch, placement) = (
        batch(args.size, (args.batch, side), &device),
        Placement::of(&device),
    );
    let (inputs, time) = (batch.inputs.clone(), vec![500.0; args.batch]);
    report(
        "forward",
        args.measure.measure(&device, || {
            placement.close_to(|| network.forward(batch.images.clone(), &time, &inputs));
        }),
    )?;
    if args.forward_only {
        return Ok(());
    }
    // What only the forward pass needed goes back.
    device.memory_cleanup();
    let (mut stepper, objective) = args.training(network.clone())?;
    let measured = args.measure.measure(&device, || {
        let updated = stepper.update(&*objective, std::slice::from_ref(&batch), 1);
        updated.expect("the numbers of a new network are finite");
    });
    report("update", measured)
}

impl Args {
    /// What moves the network, and what it learns.
    fn training(&self, network: Backbone) -> CliResult<(Stepper<Backbone>, Box<dyn Objective>)> {
        let config = OptimConfig {
            optimizer: Optimizer::AdamW,
            weight_decay: 0.001,
            ema: self.lora.is_none().then_some(Ema::Decay(0.9999)),
            gradient_checkpointing: self.gradient_checkpointing,
            ..OptimConfig::of(self.batch, 1e-4)
        };
        let model = |network| DiffusionModel {
            network,
            schedule: Schedule::default(),
            prediction: PredictionKind::V,
        };
        let stepper = |network| Stepper::new(model(network), config, 1_000_000);
        let weighting = LossWeighting::TruncatedSnr;
        let Some(rank) = self.lora else {
            let objective = Denoising {
                weighting,
                label_dropout: 0.1,
                drops_source: false,
                weights: None,
            };
            return Ok((stepper(network), Box::new(objective)));
        };
        let lora = LoraConfig {
            rank,
            alpha: rank as f64,
            ..LoraConfig::default_attention()
        };
        let objective = GuidanceDistillation {
            teacher: CfgDenoiser::new(model(network.clone())),
            weights: GuidanceWeights::Range([2.0, 14.0]),
            weighting,
            images: NoisyImages::Data,
        };
        let student = network.with_w_input(WEmbedding {
            dim: 256,
            scale: 1000.0,
        });
        let student = student.with_lora(&lora, 1).input_error()?;
        let stepper = stepper(student).training(Backbone::freeze_all_but_lora);
        Ok((stepper, Box::new(objective)))
    }
}

fn print_launches(what: &str, launches: &Launches, device_bytes: Option<u64>) {
    println!("{:>7} launches of kernels in a {what}", launches.total());
    let libraries = ("calls of cuDNN and cuBLAS".into(), launches.libraries);
    let rows = launches.kernels.iter().chain([&libraries]);
    for (name, count) in rows.filter(|(_, count)| *count > 0) {
        println!("{count:>7}   {name}");
    }
    if let Some(taken) = device_bytes {
        println!("{} of device memory taken so far", amount(taken));
    }
}
