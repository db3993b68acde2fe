//! `fewstep import`: a model folder from files that other tools write.

use crate::console;
use crate::error::{CliError, CliResult, IntoCliResult};
use burn::tensor::Device;
use fewstep_formats::{Pickles, Pipeline, write_folder_atomically};
use fewstep_generate::ModelSource;
use std::path::{Path, PathBuf};

/// Make a model folder from a single-file Stable Diffusion model (safetensors or GGUF), or from a
/// folder with pickled weights.
///
/// A single file holds only weights. The tokenizer and the configurations come from the folder of a
/// model with the same architecture, usually its base (--like). The class-conditional model of
/// latent diffusion reads no prompts and needs none.
///
/// Example: fewstep import --file fine-tune.safetensors --like path/to/sd15 --out fine-tune
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A file with U-Net, autoencoder and text encoder, under the parameter names of the first
    /// latent diffusion code: safetensors, or GGUF of floats or Q8_0; what it lacks comes from
    /// --like. Or a folder in diffusers' layout whose weights are pickled.
    #[arg(long)]
    file: PathBuf,
    /// For a single file: the folder of a latent diffusion model with the same architecture, or its
    /// name on the hub.
    #[arg(long, value_name = "FOLDER")]
    like: Option<String>,
    /// Read pickled weights (.ckpt, .bin, .pt) too. No code in them is run: other objects than
    /// tensors are passed over, and a file that calls what could run anything is refused.
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
    write_folder_atomically(&args.out, |draft| {
        args.write(draft, pickles, &device)?;
        // What was written must be a whole model.
        Pipeline::load(draft, &device).map(drop).input_error()
    })?;
    println!("{} written", args.out.display());
    Ok(())
}

impl Args {
    fn write(&self, out: &Path, pickles: Pickles, device: &Device) -> CliResult {
        match (self.file.is_dir(), &self.like) {
            (true, None) if self.allow_pickle => {
                Pipeline::import_pickled(&self.file, out).input_error()?;
            }
            (true, None) => {
                return Err(CliError::input(format!(
                    "{} is a folder, and a folder needs no import unless its weights are pickled: add --allow-pickle to read those",
                    self.file.display()
                )));
            }
            (true, Some(_)) => {
                return Err(CliError::input(
                    "--like is for a single file, and a folder has its own configurations: omit it",
                ));
            }
            (false, None) => {
                Pipeline::import_classes(&self.file, pickles, out, device).input_error()?;
            }
            (false, Some(like)) => {
                let source = ModelSource::find(like, None)?;
                let folder = source.path().unwrap_or(Path::new(like));
                let like = Pipeline::load(folder, device).input_error()?;
                let absent = like.import_single(&self.file, pickles, out).input_error()?;
                if !absent.is_empty() {
                    console::note(format_args!(
                        "{} has no {}: {} of {} taken",
                        self.file.display(),
                        absent.join(" and no "),
                        if absent.len() == 1 { "that" } else { "those" },
                        folder.display().to_string()
                            + if absent.len() == 1 { " is" } else { " are" }
                    ));
                }
            }
        }
        Ok(())
    }
}
