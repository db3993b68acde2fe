//! `fewstep data`: everything that is wrong with a data set.

use super::shared::data_set;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::numbers::plural;
use crate::spared::spare_set;
use crate::{builtin, console, output};
use fewstep_data::{ConditionConfig, DataConfig, Survey, expand_home, survey};
use fewstep_distill::recipe::parse_with;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Check a data set, and name everything in it that cannot be used.
///
/// Every image is decoded; captions, labels and the images given in pairs are checked as `train`
/// and `distill` do it, but a fault does not end the check. With --list, the names of what cannot
/// be used go to a file that `data.skip` takes.
///
/// Example: fewstep data recipes/text-to-image/emoji-distill.toml
///
/// Example: fewstep data captioned:~/data/photos --set data.size=512 --list unusable.txt
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The set: a recipe, whose [data] and [condition] are read; or KIND:PATH where KIND is a
    /// `data.kind`, such as folder or captioned; or a folder with a folder of images for each class.
    #[arg(value_name = "RECIPE|KIND:PATH|FOLDER")]
    set: String,
    /// Set a key, as in --set data.size=64 or --set data.split=test; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Write the names of what cannot be used to this file, for `data.skip`.
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// The overrides again, as they were given: another setting would find other faults.
    fn repeated(&self) -> String {
        let set = |set: &String| match set.contains([' ', '\'', '"', '{', '[', '$', '*', '?']) {
            true => format!(" --set '{}'", set.replace('\'', "'\\''")),
            false => format!(" --set {set}"),
        };
        self.overrides.iter().map(set).collect()
    }
}

/// What a recipe says of its data.
#[derive(Deserialize)]
struct Sections {
    data: DataConfig,
    condition: Option<ConditionConfig>,
}

/// Classes that are named before the rest is only counted.
const CLASSES: usize = 12;

pub(crate) fn run(args: Args) -> CliResult {
    if let Some(file) = &args.list {
        output::prepare(file)?;
    }
    let Sections { data, condition } = args.sections()?;
    let given = condition.as_ref().and_then(ConditionConfig::given);
    if let Some(file) = &args.list {
        let given = given
            .as_ref()
            .and_then(|given| given.location.path.as_deref());
        for read in [Some(&*data.path), given, data.skip.as_deref()]
            .into_iter()
            .flatten()
        {
            spare_set(file, &expand_home(read))?;
        }
    }
    let found = match builtin::is_sample(&data) {
        true => Survey::of(&builtin::load_data(&data)?),
        false => survey(&data, given).input_error()?,
    };
    if let Some(file) = &args.list {
        output::write(file, found.skip_list().as_bytes())?;
    }
    match args.json {
        true => println!("{:#}", serde_json::json!(found)),
        false => report(&data, &found),
    }
    if found.problems.is_empty() {
        return check_sizes(&args, &data, &found);
    }
    match &args.list {
        Some(file) => console::next(format_args!(
            "set `data.skip` to leave these out: --set data.skip={}",
            file.display()
        )),
        None => console::next(format_args!(
            "correct or remove these, or leave them out: fewstep data {}{} --list unusable.txt",
            args.set,
            args.repeated()
        )),
    }
    Err(CliError::input(format!(
        "{} of {} cannot be used",
        found.problems.len(),
        plural(found.examples + found.problems.len(), "example")
    )))
}

impl Args {
    fn sections(&self) -> CliResult<Sections> {
        if self.is_recipe() {
            let file = expand_home(Path::new(&self.set));
            let text = fewstep_data::read_text(&file).input_error()?;
            return Ok(parse_with(&text, &self.set, &self.overrides)?);
        }
        let data = data_set::named(&self.set)?;
        let known = ["data", "condition"];
        data_set::with_settings(&data, &self.set, &self.overrides, &known)
    }

    /// Whether a recipe says what the set is.
    fn is_recipe(&self) -> bool {
        let ending = Path::new(&self.set).extension();
        ending.is_some_and(|ending| ending == "toml")
    }
}

/// Says that images of several sizes need one. A recipe that sets none cannot be run.
fn check_sizes(args: &Args, data: &DataConfig, found: &Survey) -> CliResult {
    if data.size.is_some() || found.sizes.len() < 2 {
        return Ok(());
    }
    let sizes = found.sizes.iter().map(|[w, h]| format!("{w}x{h}"));
    let sizes: Vec<String> = sizes.collect();
    let message = format!(
        "the images are of different sizes, such as {}: set `data.size` to bring them to one side",
        sizes.join(" and ")
    );
    match args.is_recipe() {
        true => Err(CliError::input(message)),
        false => {
            console::note(format_args!("{message}"));
            Ok(())
        }
    }
}

fn report(data: &DataConfig, found: &Survey) {
    for problem in &found.problems {
        println!("{}: {}", problem.name, problem.reason);
    }
    println!(
        "{}: {} can be used, {} cannot",
        data.path.display(),
        plural(found.examples, "example"),
        found.problems.len()
    );
    if !found.classes.is_empty() {
        let named = found.classes.iter().take(CLASSES);
        let named: Vec<String> = named.map(|(name, n)| format!("{name} {n}")).collect();
        let more = match found.classes.len() > CLASSES {
            true => ", ...",
            false => "",
        };
        println!(
            "{}: {}{more}",
            classes(found.classes.len()),
            named.join(", ")
        );
    }
    if let [[copy, first], ..] = &found.duplicates[..] {
        println!(
            "{} the same file as an earlier one, such as {copy} and {first}",
            are(found.duplicates.len())
        );
    }
    if let (Some(size), 1..) = (data.size, found.small) {
        println!(
            "{} smaller than {size} pixels, and enlarged",
            are(found.small)
        );
    }
    if found.not_square > 0 {
        let fit = serde_json::json!(data.fit);
        println!("{} not square: `data.fit` is {fit}", are(found.not_square));
    }
}

fn classes(count: usize) -> String {
    match count {
        1 => "1 class".into(),
        _ => format!("{count} classes"),
    }
}

fn are(count: usize) -> String {
    match count {
        1 => "1 image is".into(),
        _ => format!("{count} images are"),
    }
}
