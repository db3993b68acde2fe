//! The command line: all commands, and what holds for the flags of all of them.

use crate::error::CliResult;
use crate::log::LogFormat;
use crate::plain::short;
use crate::spared::{spare_inputs, spare_model, spare_results, spare_set};
use crate::threads::ThreadArgs;
use crate::verbosity::VerbosityArgs;
use crate::{commands, compute};
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use fewstep_data::expand_home;
use std::any::TypeId;
use std::path::{Path, PathBuf};

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
    Adapt(commands::adapt::Args),
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
    Serve(commands::serve::Args),
    Eval(commands::eval::Args),
    Merge(commands::merge::Args),
    Export(commands::export::Args),
    Import(commands::import::Args),
    Info(commands::info::Args),
    Cache(commands::cache::Args),
    Completions(commands::completions::Args),
    Man(commands::man::Args),
    Check(commands::check::Args),
    Bench(commands::bench::Args),
    BenchServe(commands::bench_serve::Args),
}

impl Command {
    /// How the log is written, which only a command that goes on and on lets choose.
    pub(crate) fn log_format(&self) -> LogFormat {
        match self {
            Self::Serve(args) => args.log_format,
            _ => LogFormat::default(),
        }
    }
}

/// Flags for files that are written.
const OUTPUTS: [&str; 4] = ["out", "sheet", "grid", "list"];
/// Flags for what may be the path of a model that is read, and is more than a path.
const MODELS: [&str; 5] = ["model", "teacher", "controlnet", "encoder", "decoder"];
/// Flags for data sets: paths, or KIND:PATH.
const SETS: [&str; 3] = ["data", "images", "set"];

/// The command line of this process. Ends the program where it is wrong; an error where a result
/// would be written over an input.
pub(crate) fn parse() -> CliResult<Cli> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(std::env::args_os());
    let matches = matches.unwrap_or_else(|error| end(&error));
    let cli = Cli::from_arg_matches(&matches);
    let cli = cli.unwrap_or_else(|error| end(&error.format(&mut command)));
    spare(&command, &matches)?;
    Ok(cli)
}

/// Refuses to write over what the command reads, and two results to one file.
fn spare(command: &clap::Command, matches: &ArgMatches) -> CliResult {
    let Some((name, matches)) = matches.subcommand() else {
        return Ok(());
    };
    let Some(command) = command.find_subcommand(name) else {
        return Ok(());
    };
    let (mut outputs, mut inputs) = (vec![], vec![]);
    for arg in command.get_arguments().filter(|arg| is_path(arg)) {
        let id = arg.get_id().as_str();
        let values = matches.try_get_raw(id).ok().flatten().into_iter().flatten();
        let paths = values.map(|value| expand_home(Path::new(value)));
        match OUTPUTS.contains(&id) {
            true => outputs.extend(paths),
            false => inputs.extend(paths.map(|path| (id, path))),
        }
    }
    for (id, input) in &inputs {
        let spare = |output: &PathBuf| match *id {
            id if MODELS.contains(&id) => spare_model(output, input),
            id if SETS.contains(&id) => spare_set(output, path_of_set(input)),
            _ => spare_inputs(output, &[input]),
        };
        outputs.iter().try_for_each(spare)?;
    }
    spare_results(&outputs)
}

/// The path in KIND:PATH.
fn path_of_set(set: &Path) -> &Path {
    let text = set.to_str().filter(|_| !set.exists());
    let path = text.and_then(|text| text.split_once(':'));
    path.map_or(set, |(_, path)| Path::new(path))
}

/// Whether the values of a flag are paths, or may be.
fn is_path(arg: &Arg) -> bool {
    let is_path = arg.get_value_parser().type_id() == TypeId::of::<PathBuf>();
    let id = arg.get_id().as_str();
    is_path || MODELS.contains(&id) || SETS.contains(&id)
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
