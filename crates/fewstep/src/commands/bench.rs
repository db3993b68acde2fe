//! `fewstep bench`: how long a network takes on a device.

use crate::compute;
use crate::error::{CliResult, IntoCliResult};
use crate::memory::{self, MemoryArgs};
use crate::parsers::{positive, steps, steps_or_none};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use fewstep_diffusion::random::{self, Purpose};
use fewstep_diffusion::{DiffusionModel, Inputs, Network, PredictionKind, PromptEmbeds, Schedule};
use fewstep_distill::method::{Batch, Denoising, LossWeighting, Objective};
use fewstep_distill::optim::{Ema, OptimConfig, Optimizer, Stepper};
use fewstep_kernels::device::{Placement, profile};
use fewstep_nn::{Backbone, Modulation, Precision, Resampling, TextAttention, UNetConfig};
use serde::Serialize;
use std::time::Instant;

/// Time a network of a well-known size on a device.
///
/// The weights are random. Timed are the forward pass, and a training update: forward, backward,
/// clipping, Adam, moving average.
///
/// Example: fewstep bench cifar10 --device cuda --precision bf16 --batch 128
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The size of the network: that for CIFAR-10 in progressive distillation, that of Stable
    /// Diffusion 1.5 at 512x512, or a tiny one.
    #[arg(value_enum)]
    size: Size,
    /// Images in a batch.
    #[arg(long, default_value_t = 16, value_parser = positive)]
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
    /// Timed rounds; the median is reported.
    #[arg(long, default_value_t = 20, value_parser = steps)]
    rounds: usize,
    /// Rounds before these that are not timed, for compilation and autotuning.
    #[arg(long, value_name = "ROUNDS", default_value_t = 5, value_parser = steps_or_none)]
    warm_up: usize,
    /// Turn NVIDIA's profiler on only for the timed rounds, for `ncu --profile-from-start off`.
    #[arg(long)]
    profile: bool,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Size {
    Cifar10,
    StableDiffusion,
    Tiny,
}

impl Size {
    fn config(self) -> UNetConfig {
        match self {
            // recipes/cifar10/teacher.toml
            Self::Cifar10 => UNetConfig {
                channels: 3,
                widths: vec![256; 3],
                blocks: 3,
                attention: vec![false, true, true],
                head: 256,
                groups: 32,
                resampling: Resampling::Block,
                classes: 10,
                ..UNetConfig::default()
            },
            Self::StableDiffusion => UNetConfig {
                channels: 4,
                widths: vec![320, 640, 1280, 1280],
                blocks: 2,
                attention: vec![true, true, true, false],
                heads: vec![8; 4],
                text: Some(TextAttention {
                    width: 768,
                    linear: false,
                }),
                modulation: Modulation::Add,
                groups: 32,
                epsilon: 1e-5,
                ..UNetConfig::default()
            },
            Self::Tiny => UNetConfig {
                channels: 3,
                widths: vec![32, 64],
                blocks: 1,
                attention: vec![false, true],
                head: 32,
                groups: 32,
                resampling: Resampling::Block,
                classes: 10,
                ..UNetConfig::default()
            },
        }
    }

    fn side(self) -> usize {
        match self {
            Self::Cifar10 | Self::Tiny => 32,
            Self::StableDiffusion => 64,
        }
    }
}

#[derive(Serialize)]
struct Timing {
    network: Size,
    parameters: usize,
    what: &'static str,
    precision: String,
    batch: usize,
    /// From the start of the first round to its end.
    first_seconds: f64,
    milliseconds: f64,
    fastest_milliseconds: f64,
    /// Until the host had queued its work.
    host_milliseconds: f64,
    images_per_second: f64,
}

pub(crate) fn run(args: Args) -> CliResult {
    args.memory.choose();
    let device = compute::device(None)?;
    let precision = args.precision.choose(&device)?;
    fewstep_kernels::allow_tf32(args.tf32);
    let config = args.size.config();
    if !Placement::of(&device).has_own_memory() {
        let maps = config.forward([args.size.side(); 2], 77);
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
            first_seconds: measured.first,
            milliseconds: 1e3 * measured.median,
            fastest_milliseconds: 1e3 * measured.fastest,
            host_milliseconds: 1e3 * measured.host,
            images_per_second: args.batch as f64 / measured.median,
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
        Ok(())
    };
    let (batch, placement) = (
        batch(args.size, args.batch, &device),
        Placement::of(&device),
    );
    let (inputs, time) = (batch.inputs.clone(), vec![500.0; args.batch]);
    report(
        "forward",
        args.measure(&device, || {
            placement.close_to(|| network.forward(batch.images.clone(), &time, &inputs));
        }),
    )?;
    if args.forward_only {
        return Ok(());
    }
    let config = OptimConfig {
        optimizer: Optimizer::AdamW,
        weight_decay: 0.001,
        ema: Some(Ema::Decay(0.9999)),
        gradient_checkpointing: args.gradient_checkpointing,
        ..OptimConfig::of(args.batch, 1e-4)
    };
    let model = DiffusionModel {
        network: network.clone(),
        schedule: Schedule::default(),
        prediction: PredictionKind::V,
    };
    let mut stepper = Stepper::new(model, config, 1_000_000);
    let objective: &dyn Objective = &Denoising {
        weighting: LossWeighting::TruncatedSnr,
        label_dropout: 0.1,
        weights: None,
    };
    let measured = args.measure(&device, || {
        let updated = stepper.update(objective, std::slice::from_ref(&batch), 1);
        updated.expect("the numbers of a new network are finite");
    });
    report("update", measured)
}

struct Measured {
    first: f64,
    host: f64,
    median: f64,
    fastest: f64,
}

impl Args {
    fn measure(&self, device: &Device, mut work: impl FnMut()) -> Measured {
        let placement = Placement::of(device);
        let mut time = || {
            let start = Instant::now();
            work();
            let host = start.elapsed().as_secs_f64();
            // A device reports its failure at the next read.
            let _ = device.sync();
            [start.elapsed().as_secs_f64(), host]
        };
        let [first, _] = time();
        for _ in 1..self.warm_up {
            time();
        }
        if self.profile {
            placement.close_to(|| profile(true));
        }
        let times: Vec<[f64; 2]> = (0..self.rounds).map(|_| time()).collect();
        if self.profile {
            placement.close_to(|| profile(false));
        }
        let sorted = |of: usize| {
            let mut times: Vec<f64> = times.iter().map(|time| time[of]).collect();
            times.sort_by(f64::total_cmp);
            times
        };
        let (whole, host) = (sorted(0), sorted(1));
        Measured {
            first,
            median: whole[whole.len() / 2],
            fastest: whole[0],
            host: host[host.len() / 2],
        }
    }
}

fn batch(size: Size, count: usize, device: &Device) -> Batch {
    let config = size.config();
    let samples: Vec<u64> = (0..count as u64).collect();
    let draw = |seed, shape| random::normal(seed, &samples, Purpose::InitialNoise, shape, device);
    let embeds = config
        .text
        .map(|text| draw(2, [1, 77, text.width]).squeeze_dim::<3>(1));
    Batch {
        images: draw(1, [config.channels, size.side(), size.side()]) * 0.5,
        inputs: Inputs {
            classes: (config.classes > 0)
                .then(|| samples.iter().map(|&s| Some((s % 10) as u32)).collect()),
            prompt: embeds.map(|embeds: Tensor<3>| PromptEmbeds {
                uncond: embeds.clone().into(),
                cond: embeds.into(),
            }),
            ..Inputs::default()
        },
        clock: 0,
        update: 0,
    }
}
