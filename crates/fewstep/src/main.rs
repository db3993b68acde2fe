//! The `fewstep` program.

mod builtin;
mod commands;
mod failure;
mod models;
mod progress;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Turns a slow diffusion model into one that draws in 1 to 4 steps.
#[derive(Parser)]
#[command(name = "fewstep", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Train(commands::train::Args),
    Distill(commands::distill::Args),
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .init();
    let result = match Cli::parse().command {
        Command::Train(args) => commands::train::run(args),
        Command::Distill(args) => commands::distill::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
