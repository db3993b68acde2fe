//! `fewstep export`: a model in the form that another tool reads.

use super::shared::guidance::both_conventions;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::parsers::{finite, positive};
use burn::tensor::Device;
use clap::ValueEnum;
use fewstep_diffusion::Guidance;
use fewstep_formats::{FormatError, GgufPrecision, Model, Pipeline, export_lora};
use fewstep_generate::ModelSource;
use std::path::{Path, PathBuf};

/// Write a model in the form that another tool reads.
///
/// A folder goes to diffusers, which gives a student its w as it is. Other tools pass over the input for w in silence:
/// for them, fold one w in with --bake-w.
///
/// Example: fewstep export --model student --bake-w 6.5 --form single-file --out student.safetensors
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model: a model folder, the folder of a latent diffusion model or its name on the hub, or a run folder.
    #[arg(long)]
    model: String,
    /// Which student of a run: the one for so many steps.
    #[arg(long, value_parser = positive)]
    steps: Option<usize>,
    /// What to write.
    #[arg(long, value_enum, default_value = "folder")]
    form: Form,
    /// Fold this guidance weight w (guidance scale − 1) into a bias: an ordinary network for this w alone.
    #[arg(long, value_name = "W", value_parser = finite, allow_negative_numbers = true)]
    bake_w: Option<f64>,
    /// How the weights of --form gguf are stored [default: f16].
    #[arg(long, value_enum)]
    precision: Option<Precision>,
    /// The folder or file to write.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Form {
    /// diffusers' folder layout.
    Folder,
    /// One safetensors file with U-Net, autoencoder and text encoder, as web interfaces for Stable Diffusion read it.
    SingleFile,
    /// The U-Net alone as GGUF, for stable-diffusion.cpp and ComfyUI-GGUF.
    Gguf,
    /// A folder with the LoRA of a student that was trained as such: for diffusers, for the web interfaces,
    /// and the input for w.
    Lora,
}

#[derive(Clone, Copy, ValueEnum)]
enum Precision {
    /// 32-bit floats, bit for bit.
    F32,
    /// 16-bit floats.
    F16,
    /// One byte a weight, with a scale for each 32 (ggml's Q8_0); convolutions in 16-bit floats.
    #[value(name = "q8_0")]
    Q8,
}

impl From<Precision> for GgufPrecision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::F16 => Self::F16,
            Precision::Q8 => Self::Q8,
        }
    }
}

pub(crate) fn run(args: Args) -> CliResult {
    if args.precision.is_some() && args.form != Form::Gguf {
        return Err(CliError::input(
            "--precision is for --form gguf: the other forms hold the weights as they are",
        ));
    }
    match args.form {
        Form::Folder => {
            args.write_model(|pipeline, model, out| pipeline.components.save_pipeline(model, out))?
        }
        Form::SingleFile => args.write_model(Pipeline::save_single)?,
        Form::Gguf => {
            let precision = args.precision.unwrap_or(Precision::F16).into();
            args.write_model(|pipeline, model, out| pipeline.save_gguf(model, precision, out))?
        }
        Form::Lora => args.write_changes()?,
    }
    args.report()
}

impl Args {
    /// The model, where it is a latent one written by `write` with all its parts.
    fn write_model(
        &self,
        write: impl FnOnce(&Pipeline, &Model, &Path) -> Result<(), FormatError>,
    ) -> CliResult {
        let device = Device::flex();
        let source = ModelSource::find(&self.model, self.steps)?;
        if let ModelSource::Latent(folder) = &source {
            let pipeline = Pipeline::load(folder, &device).input_error()?;
            let model = self.baked(&pipeline.model)?;
            return write(&pipeline, &model, &self.out).input_error();
        }
        if self.form != Form::Folder {
            return Err(CliError::input(format!(
                "{} generates without prompts, and has no autoencoder and no text encoder: no other tool reads such a model from one file, so write a folder",
                self.model
            )));
        }
        let model = source.model(&device)?;
        self.baked(&model)?.save(&self.out).input_error()
    }

    /// The files of LoRA.
    fn write_changes(&self) -> CliResult {
        if self.bake_w.is_some() {
            return Err(CliError::input(
                "--bake-w makes one network for one w, and --form lora writes changes of a network: choose one of them",
            ));
        }
        let source = ModelSource::find(&self.model, self.steps)?;
        match source.path() {
            Some(folder) => export_lora(folder, &self.out).input_error(),
            None => Err(CliError::input("builtin models have no LoRA")),
        }
    }

    /// The model with one w folded in, where that was asked for.
    fn baked(&self, model: &Model) -> CliResult<Model> {
        match (self.bake_w, model.recipe.guidance) {
            (None, _) => Ok(model.clone()),
            (Some(w), Guidance::Input { w_min, w_max, .. }) => {
                if w < w_min || w > w_max {
                    eprintln!(
                        "warning: {} lies outside the range that this student was distilled for, w = {w_min} to {w_max}",
                        both_conventions(w)
                    );
                }
                Ok(model.with_fixed_w(w))
            }
            (Some(_), _) => Err(CliError::input(
                "this model has no input for w, so there is nothing to fold in: leave --bake-w away",
            )),
        }
    }

    fn report(&self) -> CliResult {
        println!("{} written", self.out.display());
        Ok(())
    }
}
