//! `fewstep import`: a model out of the form that another tool writes.

use crate::failure::{Blame, Outcome};
use burn::tensor::Device;
use fewstep_formats::Pipeline;
use std::path::PathBuf;

/// Make a folder out of a single-file Stable Diffusion model.
///
/// Such a file holds weights alone: the tokenizer and the configurations come from a folder of a model of the same
/// shape, its base as a rule.
///
/// Example: fewstep import --file fine-tune.safetensors --like sd15 --out fine-tune
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file: U-Net, autoencoder and text encoder under the names of the first latent diffusion code.
    #[arg(long)]
    file: PathBuf,
    /// The folder of a latent diffusion model of the same shape.
    #[arg(long, value_name = "FOLDER")]
    like: PathBuf,
    /// The folder to write.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

pub(crate) fn run(args: Args) -> Outcome {
    let device = Device::flex();
    let like = Pipeline::load(&args.like, &device).blame_input()?;
    like.import_single(&args.file, &args.out).blame_input()?;
    // What was written must be a whole model.
    Pipeline::load(&args.out, &device).blame_input()?;
    println!("{} written", args.out.display());
    Ok(())
}
