//! `fewstep sample`: images from a model.

use super::shared::generate::{PromptedArgs, class_count};
use super::shared::image_shards::ImageShard;
use super::shared::shard::Shard;
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
/// A large set can be generated in shards, by any number of processes on any machines: with
/// --shard 3/64 a call generates the fourth of 64 shards of the --count images, one file each, into
/// the folder --out. A shard can be run again at any time. `fewstep merge` checks that all are
/// there.
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
    /// Generate only this shard of the --count images, counted from 0: 0/64 is the first of 64.
    /// --out is then a folder.
    #[arg(long, value_name = "I/N", conflicts_with = "columns")]
    shard: Option<Shard>,
}

pub(crate) fn run(mut args: Args) -> CliResult {
    let sharded = match args.shard {
        Some(shard) => Some((shard, ImageShard::place(&mut args.prompted.images)?)),
        None => None,
    };
    let generator = args.prompted.load(args.shard)?;
    let subjects = args
        .prompted
        .prompts
        .subjects(&generator, Some(&args.classes))?;
    let count = match subjects[0] {
        Subject::Class(_) => class_count(subjects.len()),
        Subject::Prompt(_) => subjects.len(),
        Subject::Any => 16,
    };
    let Some((shard, storage)) = sharded else {
        let prompted = &args.prompted;
        return prompted.run(&generator, &subjects, count, Init::Noise, &[], |_| Ok(()));
    };
    let set = ImageShard::of(shard, &mut args.prompted, &generator, &subjects, count)?;
    let prompted = &args.prompted;
    prompted.run(&generator, &subjects, count, Init::Noise, &[], |_| {
        set.write(&storage)
    })
}
