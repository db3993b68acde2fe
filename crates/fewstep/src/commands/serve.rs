//! `fewstep serve`: images over HTTP.

use super::shared::loras::LoadArgs;
use crate::compute::{self, PrecisionArgs};
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::log::LogFormat;
use crate::memory::{self, MemoryArgs};
use crate::parsers::{batch_size, count, size, steps};
use clap::builder::RangedU64ValueParser;
use fewstep_generate::{Family, KeepEncoder, LoadOptions, LoraChoice, ModelSource};
use fewstep_kernels::device::Placement;
use fewstep_serve::{Config, Limits, NamedModel, ServeError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Generate images over HTTP, with a page to try the models on.
///
/// Clients of OpenAI's image API and of the A1111 web interface work with it, and it has an API of its
/// own. Requests that go together share network calls, whoever made them: each image has its own w,
/// seed and prompt.
///
/// It stops on Ctrl-C or SIGTERM, after the requests that it has accepted.
///
/// Example: fewstep serve --model builtin:fashion-mnist
///
/// Example: FEWSTEP_TOKEN=secret fewstep serve --model photos=runs/sd15 --address 0.0.0.0:7860
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A model: a folder, a run, a .safetensors file, a name on the hub or builtin:NAME; with NAME= in
    /// front, requests give it that name. May be given several times: the first is loaded at start
    /// and the others when they are asked for [default: builtin:fashion-mnist and its teacher].
    #[arg(long = "model", value_name = "[NAME=]MODEL")]
    models: Vec<String>,
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7860")]
    address: SocketAddr,
    /// What clients must present as bearer token, or as the password of Basic authentication. Required
    /// unless the address is a loopback one. The environment variable keeps it out of lists of
    /// processes.
    #[arg(long, env = "FEWSTEP_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A further name of this host, for requests to a loopback address, such as behind a proxy.
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// The origin of another web page that may use the server, such as https://example.org.
    #[arg(long = "cors", value_name = "ORIGIN")]
    cors: Vec<String>,
    /// Memory for models, such as 8GiB: their weights, and what the one that generates takes. Those not
    /// used for longest leave for others, and fewer images go through the network at once [default:
    /// what the machine has].
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    #[command(flatten)]
    load: LoadArgs,
    /// The folder of the LoRA that requests may name: `loras` of a request, or `<lora:NAME:WEIGHT>` in
    /// a prompt, where NAME is that of a .safetensors file in it.
    #[arg(long, value_name = "FOLDER")]
    lora_dir: Option<PathBuf>,
    #[command(flatten)]
    force: MemoryArgs,
    #[command(flatten)]
    precision: PrecisionArgs,
    /// Images per network call, at most [default: 64; 16 with control images; 1 for latent models].
    #[arg(long, value_parser = batch_size)]
    batch: Option<usize>,
    /// Requests that may wait; further ones are answered with 429.
    #[arg(long, value_parser = count, default_value_t = 256)]
    queue: usize,
    /// Seconds that a request may take, waiting included.
    #[arg(long, value_name = "SECONDS", value_parser = seconds(1), default_value_t = 600)]
    timeout: u64,
    /// Seconds that requests may go on after a signal to stop.
    #[arg(long, value_name = "SECONDS", value_parser = seconds(0), default_value_t = 30)]
    grace: u64,
    /// Images that one request may ask for.
    #[arg(long, value_parser = count, default_value_t = Limits::default().images)]
    max_images: usize,
    /// Steps that one request may ask for.
    #[arg(long, value_parser = steps, default_value_t = Limits::default().steps)]
    max_steps: usize,
    /// Pixels that an image in a request may have.
    #[arg(long, value_parser = count, default_value_t = Limits::default().pixels as usize)]
    max_pixels: usize,
    /// How the log on standard error is written: for people, or as JSON on each line.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
    /// Size that a request may have.
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "32MiB")]
    max_body: u64,
}

pub(crate) fn run(args: Args) -> CliResult {
    let device = compute::device(None)?;
    args.force.choose();
    let options = args
        .precision
        .load_options(&device, None, &args.load, KeepEncoder::Always)?;
    let most = memory::limit_on(Placement::of(&device).memory());
    let load = Box::new(move |source: &ModelSource, more: &[LoraChoice]| {
        let options = LoadOptions {
            loras: [&options.loras, more].concat(),
            ..options.clone()
        };
        source.generator(&options, &device)
    });
    let ended = fewstep_serve::run(args.config(most)?, load, |address| {
        println!("fewstep serves on http://{address}/");
    });
    let ended = ended.map_err(|error| match error {
        ServeError::NeedsToken(_) => CliError::input(format!("{error} (FEWSTEP_TOKEN or --token)")),
        ServeError::Model(error) => error.into(),
        ServeError::System(_) => CliError::Work(error.into()),
        error => CliError::Input(error.into()),
    })?;
    println!(
        "stopped: {} finished and {} cancelled after the signal",
        ended.finished, ended.cancelled
    );
    Ok(())
}

/// Parses seconds, at most a year: a point in time so far away can be reckoned with.
fn seconds(least: u64) -> RangedU64ValueParser {
    clap::value_parser!(u64).range(least..=365 * 24 * 3600)
}

impl Args {
    /// The settings, where the models may take this much memory at `most`.
    fn config(self, most: Option<u64>) -> CliResult<Config> {
        let given = match self.models.is_empty() {
            true => vec![
                "builtin:fashion-mnist".into(),
                "builtin:fashion-mnist-teacher".into(),
            ],
            false => self.models,
        };
        let models: CliResult<Vec<NamedModel>> = given.iter().map(|text| named(text)).collect();
        if self.token.as_ref().is_some_and(String::is_empty) {
            return Err(CliError::input(
                "the token is empty: give one, or unset FEWSTEP_TOKEN",
            ));
        }
        if let Some(folder) = self.lora_dir.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(CliError::input(format!(
                "--lora-dir {}: there is no such folder",
                folder.display()
            )));
        }
        Ok(Config {
            address: self.address,
            token: self.token,
            hosts: self.hosts,
            cors: self.cors,
            models: models?,
            memory: [self.memory, most].into_iter().flatten().min(),
            loras: self.lora_dir,
            batch: self.batch,
            queue: self.queue,
            timeout: Duration::from_secs(self.timeout),
            grace: Duration::from_secs(self.grace),
            limits: Limits {
                body: self.max_body as usize,
                pixels: self.max_pixels as u64,
                images: self.max_images,
                steps: self.max_steps,
                ..Limits::default()
            },
        })
    }
}

/// A model with the name that requests give it: what is in front of `=`, else the last part of its
/// path, or all of a name on the hub.
fn named(text: &str) -> CliResult<NamedModel> {
    let (name, reference) = match text.split_once('=') {
        Some((name, reference)) if !name.contains(['/', '\\']) => (Some(name), reference),
        _ => (None, text),
    };
    let family = Family::find(reference).input_error()?;
    let of_path = || {
        let plain = reference.strip_prefix("builtin:").unwrap_or(reference);
        let last = Path::new(plain)
            .file_stem()
            .filter(|_| Path::new(plain).exists());
        last.map_or(plain.into(), |last| last.to_string_lossy().into_owned())
    };
    let name = name.map_or_else(of_path, String::from);
    if name.is_empty() {
        return Err(CliError::input(format!(
            "--model {text}: the name is empty"
        )));
    }
    Ok(NamedModel {
        name,
        reference: reference.into(),
        family,
    })
}
