//! The `fewstep` program.

#[macro_use]
mod console;

mod builtin;
mod cli;
mod commands;
mod compute;
mod error;
mod log;
mod memory;
mod numbers;
mod output;
mod parsers;
mod plain;
mod processes;
mod progress;
mod recipes;
mod remote;
mod report;
mod spared;
mod storage;
mod tasks;
mod threads;
mod verbosity;

use cli::Command;
use std::process::ExitCode;

fn main() -> ExitCode {
    fewstep_kernels::memory::keep_freed_blocks();
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(error) => return error.report(),
    };
    cli.verbosity.choose(cli.command.log_format());
    if let Err(error) = cli.threads.choose() {
        return error.report();
    }
    cli.device.choose();
    if let Command::Train(_) | Command::Distill(_) | Command::Adapt(_) | Command::Quickstart(_) =
        cli.command
    {
        console::go_on_unread();
    }
    let result = match cli.command {
        Command::Quickstart(args) => commands::quickstart::run(args),
        Command::Train(args) => commands::train::run(args),
        Command::Distill(args) => commands::distill::run(args),
        Command::Adapt(args) => commands::adapt::run(args),
        Command::Plan(args) => commands::plan::run(args),
        Command::Recipe(args) => commands::recipe::run(args),
        Command::Data(args) => commands::data::run(args),
        Command::Sample(args) => commands::sample::run(args),
        Command::Edit(args) => commands::edit::run(args),
        Command::Restyle(args) => commands::restyle::run(args),
        Command::Upscale(args) => commands::upscale::run(args),
        Command::Inpaint(args) => commands::inpaint::run(args),
        Command::Depth(args) => commands::depth::run(args),
        Command::Instruct(args) => commands::instruct::run(args),
        Command::Render(args) => commands::render::run(args),
        Command::Serve(args) => commands::serve::run(args),
        Command::Eval(args) => commands::eval::run(args),
        Command::Merge(args) => commands::merge::run(args),
        Command::Export(args) => commands::export::run(args),
        Command::Import(args) => commands::import::run(args),
        Command::Info(args) => commands::info::run(args),
        Command::Cache(args) => commands::cache::run(args),
        Command::Completions(args) => commands::completions::run(args),
        Command::Man(args) => commands::man::run(args),
        Command::Check(args) => commands::check::run(args),
        Command::Bench(args) => commands::bench::run(args),
        Command::BenchServe(args) => commands::bench_serve::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}
