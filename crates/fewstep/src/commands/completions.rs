//! `fewstep completions`: the flags in a shell's own completion.

use crate::cli;
use crate::error::CliResult;
use clap_complete::Shell;

/// Print a script that completes commands and flags in a shell.
///
/// Example: fewstep completions bash > ~/.local/share/bash-completion/completions/fewstep
///
/// Example: fewstep completions zsh > ~/.zfunc/_fewstep
///
/// Example: fewstep completions fish > ~/.config/fish/completions/fewstep.fish
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The shell.
    shell: Shell,
}

pub(crate) fn run(args: Args) -> CliResult {
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut cli::command(), "fewstep", &mut script);
    println!("{}", String::from_utf8_lossy(&script).trim_end());
    Ok(())
}
