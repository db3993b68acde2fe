//! Timing work on a device, and counting what it launches.

use crate::parsers::{steps, steps_or_none};
use burn::tensor::Device;
use fewstep_kernels::device::{Launches, Placement, count_launches, profile};
use std::time::Instant;

/// How work is measured.
#[derive(clap::Args)]
pub(super) struct MeasureArgs {
    /// Timed rounds; the median is reported.
    #[arg(long, default_value_t = 20, value_parser = steps)]
    rounds: usize,
    /// Rounds before these that are not timed, for compilation and autotuning.
    #[arg(long, value_name = "ROUNDS", default_value_t = 5, value_parser = steps_or_none)]
    warm_up: usize,
    /// Turn NVIDIA's profiler on only for the timed rounds, for `ncu --profile-from-start off`.
    #[arg(long)]
    profile: bool,
    /// Count the kernels that one more round launches on a GPU, by name.
    #[arg(long)]
    launches: bool,
}

/// What a round took, in seconds.
pub(super) struct Measured {
    /// The first round.
    pub(super) first: f64,
    /// Until the host had queued its work.
    pub(super) host: f64,
    pub(super) median: f64,
    pub(super) fastest: f64,
    pub(super) launches: Option<Launches>,
}

impl MeasureArgs {
    /// Does the work again and again.
    pub(super) fn measure(&self, device: &Device, mut work: impl FnMut()) -> Measured {
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
        let launches = self.launches.then(|| count_launches(&mut time).1);
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
            launches,
        }
    }
}
