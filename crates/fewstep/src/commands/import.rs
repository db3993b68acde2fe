//! `fewstep import`: a model out of the form that another tool writes.

use crate::error::{CliError, CliResult, IntoCliResult};
use burn::tensor::Device;
use fewstep_formats::{Pickles, Pipeline};
use fewstep_generate::ModelSource;
use std::path::{Path, PathBuf};

/// Make a folder out of a single-file Stable Diffusion model, or out of a folder with pickled weights.
///
/// A single file holds weights alone: the tokenizer and the configurations come from a folder of a model of the same
/// shape, its base as a rule. Latent diffusion's class-conditional model, which reads no texts, needs none.
///
/// Example: fewstep import --file fine-tune.safetensors --like sd15 --out fine-tune
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file: U-Net, autoencoder and text encoder under the names of the first latent diffusion code. Or a folder in
    /// diffusers' layout whose weights are pickled.
    #[arg(long)]
    file: PathBuf,
    /// For a single file of a model that reads texts: the folder of a latent diffusion model of the same shape, or its name on
    /// the hub.
    #[arg(long, value_name = "FOLDER")]
    like: Option<String>,
    /// Read pickled weights (.ckpt, .bin, .pt) too. Nothing in them is run, and what is no tensor is refused.
    #[arg(long)]
    allow_pickle: bool,
    /// The folder to write.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

pub(crate) fn run(args: Args) -> CliResult {
    let device = Device::flex();
    let pickles = match args.allow_pickle {
        true => Pickles::Allowed,
        false => Pickles::Refused,
    };
    match (args.file.is_dir(), &args.like) {
        (true, None) if args.allow_pickle => {
            Pipeline::import_pickled(&args.file, &args.out).input_error()?;
        }
        (true, None) => {
            return Err(CliError::input(format!(
                "{} is a folder, which is a model already unless its weights are pickled: ask for those with --allow-pickle",
                args.file.display()
            )));
        }
        (true, Some(_)) => {
            return Err(CliError::input(
                "--like is for a single file, and a folder has configurations of its own: leave it away",
            ));
        }
        (false, None) => {
            Pipeline::import_classes(&args.file, pickles, &args.out, &device).input_error()?;
        }
        (false, Some(like)) => {
            let source = ModelSource::find(like, None)?;
            let folder = source.path().unwrap_or(Path::new(like));
            let like = Pipeline::load(folder, &device).input_error()?;
            like.import_single(&args.file, pickles, &args.out)
                .input_error()?;
        }
    }
    // What was written must be a whole model.
    Pipeline::load(&args.out, &device).input_error()?;
    println!("{} written", args.out.display());
    Ok(())
}
