//! `fewstep bench-serve`: latency and throughput of a running server, by concurrency.

mod client;
mod round;

use crate::error::{CliError, CliResult};
use crate::parsers::{count, number, steps};
use client::{Client, Load};
use round::Round;
use serde_json::{Value, json};
use std::time::Duration;

/// Load a running server and measure latency and throughput, by the number of clients.
///
/// Each client sends its next request as soon as it has the answer to the one before. A table has a row
/// for each number of clients: images per second, latencies in ms, how long the network took for a
/// batch and how many images it had, answers that were refused with 429, and the server's memory
/// before and after. The server's own numbers come from its /metrics.
///
/// Example: fewstep bench-serve --clients 1,16,64 --seconds 10 --steps 4
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The address of the server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7860")]
    url: String,
    /// The token of the server, if it has one.
    #[arg(long, env = "FEWSTEP_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Numbers of clients, one after the other.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,4,16,64", value_parser = count)]
    clients: Vec<usize>,
    /// Seconds for each.
    #[arg(long, default_value_t = 10, value_parser = count)]
    seconds: usize,
    /// The name of a model [default: the server's first].
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Sampling steps [default: the model's own].
    #[arg(long, value_parser = steps)]
    steps: Option<usize>,
    /// Images per request.
    #[arg(long, default_value_t = 1, value_parser = count)]
    count: usize,
    /// Guidance weight w [default: the model's own].
    #[arg(long, value_parser = number, allow_negative_numbers = true)]
    w: Option<f64>,
    /// The prompt, for models that generate from prompts.
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Share of the requests, 0 to 1, that clients leave at a random time before the answer.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = number)]
    leave: f64,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> CliResult {
    if !args.url.starts_with("http://") {
        return Err(CliError::input(format!(
            "--url {}: expected an address that begins with http://",
            args.url
        )));
    }
    if !(0.0..=1.0).contains(&args.leave) {
        return Err(CliError::input(format!(
            "--leave {}: expected a share from 0 to 1",
            args.leave
        )));
    }
    let client = Client::new(args.url.trim_end_matches('/'), args.token.as_deref());
    let load = Load {
        body: args.body(),
        count: args.count,
        leave: args.leave,
    };
    // So that no round has the loading of the model in it, and a request that is wrong is said.
    client.try_once(&load).map_err(CliError::input)?;
    let mut rounds = vec![];
    if !args.json {
        println!("{}", Round::HEAD);
    }
    for &clients in &args.clients {
        let time = Duration::from_secs(args.seconds as u64);
        let round = Round::run(&client, &load, clients, time);
        match args.json {
            true => rounds.push(round.json()),
            false => println!("{}", round.row()),
        }
        if let Some(message) = &round.failure {
            return Err(CliError::Work(anyhow::anyhow!(
                "{} of {} requests failed; the first: {message}",
                round.failed,
                round.requests
            )));
        }
    }
    if args.json {
        println!("{:#}", Value::from(rounds));
    }
    Ok(())
}

impl Args {
    /// The body of a request, to which each gets a seed of its own.
    fn body(&self) -> Value {
        let mut body = json!({ "count": self.count });
        let fields = [
            ("model", self.model.clone().map(Value::from)),
            ("steps", self.steps.map(Value::from)),
            ("w", self.w.map(Value::from)),
            ("prompt", self.prompt.clone().map(Value::from)),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        body
    }
}
