//! `fewstep sample`: images from a model.

use super::shared::generate::{PromptedArgs, class_count};
use crate::error::CliResult;
use fewstep_generate::{Init, Subject};

/// Generate images with a model.
///
/// By default with the sampler and the number of steps that the model was made for.
///
/// Image i of a seed is the same in every call, for any count and any batch size.
///
/// A model that generates from prompts needs --prompt; one with classes takes --class.
///
/// Example: fewstep sample --model builtin:fashion-mnist --steps 4 --w 1 --count 64 --out grid.png
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompted: PromptedArgs,
    /// A class to generate, by name or number; may be given several times [default: all classes in
    /// turn].
    #[arg(long = "class", value_name = "CLASS")]
    classes: Vec<String>,
}

pub(crate) fn run(args: Args) -> CliResult {
    let generator = args.prompted.load()?;
    let subjects = args
        .prompted
        .prompts
        .subjects(&generator, Some(&args.classes))?;
    let count = match subjects[0] {
        Subject::Class(_) => class_count(subjects.len()),
        Subject::Prompt(_) => subjects.len(),
        Subject::Any => 16,
    };
    let prompted = &args.prompted;
    prompted.run(&generator, &subjects, count, Init::Noise, &[], |_| Ok(()))
}
