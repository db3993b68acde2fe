//! `fewstep man`: manual pages.

use crate::cli;
use crate::error::{CliResult, IntoCliResult};
use crate::output;
use clap::Command;
use std::path::{Path, PathBuf};

/// Write manual pages: one for the program, and one for each command.
///
/// Example: fewstep man --out ~/.local/share/man/man1
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder to write them to.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

pub(crate) fn run(args: Args) -> CliResult {
    let mut command = cli::command().disable_help_subcommand(true);
    command.build();
    output::prepare(&args.out.join("fewstep.1"))?;
    write(&command, &args.out)?;
    println!("{} written", args.out.display());
    Ok(())
}

fn write(command: &Command, folder: &Path) -> CliResult {
    let page = clap_mangen::Man::new(command.clone());
    let mut bytes = vec![];
    page.render(&mut bytes).work_error()?;
    output::write(&folder.join(page.get_filename()), &bytes)?;
    let mut below = command.get_subcommands();
    below.try_for_each(|command| write(command, folder))
}
