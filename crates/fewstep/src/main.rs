//! The `fewstep` program.

#[macro_use]
mod console;

mod builtin;
mod commands;
mod compute;
mod error;
mod memory;
mod numbers;
mod output;
mod parsers;
mod progress;
mod report;
mod tasks;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Turns a slow diffusion model into one that generates images in 1 to 4 steps.
#[derive(Parser)]
#[command(name = "fewstep", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    device: compute::DeviceArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Quickstart(commands::quickstart::Args),
    Train(commands::train::Args),
    Distill(commands::distill::Args),
    Plan(commands::plan::Args),
    Sample(commands::sample::Args),
    Edit(commands::edit::Args),
    Restyle(commands::restyle::Args),
    Upscale(commands::upscale::Args),
    Inpaint(commands::inpaint::Args),
    Depth(commands::depth::Args),
    Instruct(commands::instruct::Args),
    Render(commands::render::Args),
    Eval(commands::eval::Args),
    Export(commands::export::Args),
    Import(commands::import::Args),
    Info(commands::info::Args),
    Check(commands::check::Args),
    Bench(commands::bench::Args),
}

fn main() -> ExitCode {
    fewstep_kernels::memory::keep_freed_blocks();
    tracing_subscriber::fmt()
        .with_writer(|| console::Log)
        // Colours are control characters, of which none are let through.
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .init();
    let cli = Cli::parse();
    cli.device.choose();
    if let Command::Train(_) | Command::Distill(_) | Command::Quickstart(_) = cli.command {
        console::go_on_unread();
    }
    let result = match cli.command {
        Command::Quickstart(args) => commands::quickstart::run(args),
        Command::Train(args) => commands::train::run(args),
        Command::Distill(args) => commands::distill::run(args),
        Command::Plan(args) => commands::plan::run(args),
        Command::Sample(args) => commands::sample::run(args),
        Command::Edit(args) => commands::edit::run(args),
        Command::Restyle(args) => commands::restyle::run(args),
        Command::Upscale(args) => commands::upscale::run(args),
        Command::Inpaint(args) => commands::inpaint::run(args),
        Command::Depth(args) => commands::depth::run(args),
        Command::Instruct(args) => commands::instruct::run(args),
        Command::Render(args) => commands::render::run(args),
        Command::Eval(args) => commands::eval::run(args),
        Command::Export(args) => commands::export::run(args),
        Command::Import(args) => commands::import::run(args),
        Command::Info(args) => commands::info::run(args),
        Command::Check(args) => commands::check::run(args),
        Command::Bench(args) => commands::bench::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}
