//! The command line: all commands, and what holds for the flags of all of them.

use crate::plain::short;
use crate::threads::ThreadArgs;
use crate::verbosity::VerbosityArgs;
use crate::{commands, compute};
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};
use fewstep_data::expand_home;
use std::any::TypeId;
use std::path::PathBuf;

/// Turns a slow diffusion model into one that generates images in 1 to 4 steps.
#[derive(Parser)]
#[command(name = "fewstep", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) device: compute::DeviceArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
    #[command(flatten)]
    pub(crate) verbosity: VerbosityArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Quickstart(commands::quickstart::Args),
    Train(commands::train::Args),
    Distill(commands::distill::Args),
    Plan(commands::plan::Args),
    Recipe(commands::recipe::Args),
    Data(commands::data::Args),
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
    Cache(commands::cache::Args),
    Completions(commands::completions::Args),
    Man(commands::man::Args),
    Check(commands::check::Args),
    Bench(commands::bench::Args),
}

/// The command line of this process. Ends the program where it is wrong.
pub(crate) fn parse() -> Cli {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(std::env::args_os());
    let cli = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    cli.unwrap_or_else(|error| end(&error.format(&mut command)))
}

/// Ends the program with a message about the command line, which does not repeat a long one.
fn end(error: &clap::Error) -> ! {
    let message = error.render().to_string();
    if message.lines().all(|line| short(line) == line) {
        error.exit();
    }
    // Which cuts long lines.
    eprintln!("{}", message.trim_end());
    std::process::exit(error.exit_code())
}

/// All commands and their flags.
pub(crate) fn command() -> clap::Command {
    with_common_rules(Cli::command())
}

/// In every flag, `~` is the user's home where a path is expected, and a value may start with a
/// minus where it is a number: then the flag itself says what it takes.
fn with_common_rules(command: clap::Command) -> clap::Command {
    let rules = |arg: Arg| {
        if !arg.get_action().takes_values() {
            return arg;
        }
        let is_path = arg.get_value_parser().type_id() == TypeId::of::<PathBuf>();
        let arg = arg.allow_negative_numbers(true);
        match is_path {
            true => arg.value_parser(PathBufValueParser::new().map(|path| expand_home(&path))),
            false => arg,
        }
    };
    command.mut_args(rules).mut_subcommands(with_common_rules)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
