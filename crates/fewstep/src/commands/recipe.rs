//! `fewstep recipe`: the recipes that come with the program.

use super::shared::recipe_kind::RecipeKind;
use crate::error::{CliError, CliResult};
use crate::recipes::{ALL, find};
use crate::{console, output};
use fewstep_distill::recipe::parse;
use std::path::PathBuf;

/// List the recipes that come with the program, or print one of them.
///
/// To change a recipe, write it to a file and edit that; or change single keys with --set when you
/// run it.
///
/// Example: fewstep recipe cifar10/small-distill --out my.toml
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The recipe to print, such as cifar10/distill [default: a list of all].
    name: Option<String>,
    /// Write the recipe to this file, which must not exist yet.
    #[arg(long, value_name = "FILE", requires = "name")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: Args) -> CliResult {
    let Some(name) = &args.name else {
        let width = ALL.iter().map(|recipe| recipe.name.len()).max();
        for recipe in ALL {
            println!(
                "{:1$}  {2}",
                recipe.name,
                width.unwrap_or(0),
                recipe.summary()
            );
        }
        return Ok(());
    };
    let recipe = find(name).map_err(CliError::input)?;
    let Some(file) = &args.out else {
        println!("{}", recipe.text.trim_end());
        return Ok(());
    };
    if file.exists() {
        return Err(CliError::input(format!(
            "{} is there already: choose another name, or remove it first",
            file.display()
        )));
    }
    output::prepare(file)?;
    output::write(file, recipe.text.as_bytes())?;
    let keys: toml::Table = parse(recipe.text, recipe.name)?;
    println!("{} written", file.display());
    if let Some(kind) = RecipeKind::of(&keys) {
        let command = kind.command().name();
        console::next(format_args!("fewstep {command} {}", file.display()));
    }
    Ok(())
}
