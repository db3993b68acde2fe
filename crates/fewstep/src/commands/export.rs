//! `fewstep export`: a model in a form that other tools read.

use super::shared::guidance::both_conventions;
use super::shared::models;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::parsers::{number, steps};
use crate::{console, output};
use burn::tensor::Device;
use clap::ValueEnum;
use fewstep_diffusion::Guidance;
use fewstep_formats::{
    FormatError, GgufPrecision, Model, Pipeline, export_lora, export_lora_with_w, vacant,
    write_folder_atomically,
};
use fewstep_generate::ModelSource;
use std::path::{Path, PathBuf};

/// Write a model in a form that other tools read.
///
/// A folder is for diffusers, which passes w to a student. Other tools ignore a student's input for
/// w without a warning: for them, fold in one w with --bake-w.
///
/// Example: fewstep export --model runs/sd15 --steps 4 --bake-w 6.5 --form single-file --out
/// student.safetensors
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model: a folder, a run folder, a name on the hub, or builtin:NAME.
    #[arg(long)]
    model: String,
    /// Of a run's students, the one for this number of steps.
    #[arg(long, value_parser = steps)]
    steps: Option<usize>,
    /// What to write.
    #[arg(long, value_enum, default_value = "folder")]
    form: Form,
    /// Fold this guidance weight w (guidance scale − 1) into the network, which then has no input
    /// for w. With --form lora, into kohya.safetensors.
    #[arg(long, value_name = "W", value_parser = number, allow_negative_numbers = true)]
    bake_w: Option<f64>,
    /// Precision of the weights, for --form gguf [default: f16].
    #[arg(long, value_enum)]
    precision: Option<Precision>,
    /// The folder or file to write. A folder must be new or empty.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Form {
    /// diffusers' folder layout.
    Folder,
    /// One safetensors file with U-Net, autoencoder and text encoder, as web interfaces for Stable
    /// Diffusion read it.
    SingleFile,
    /// The U-Net as GGUF, for stable-diffusion.cpp and ComfyUI-GGUF.
    Gguf,
    /// A folder with the LoRA of a student that was trained with [lora]: a file for diffusers, one
    /// for the web interfaces, and one with the input for w.
    Lora,
}

#[derive(Clone, Copy, ValueEnum)]
enum Precision {
    /// 32-bit floats, bit for bit.
    F32,
    /// 16-bit floats.
    F16,
    /// One byte per weight, with a scale for every 32 (ggml's Q8_0); convolutions in 16-bit floats.
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
            "--precision is for --form gguf: the other forms keep the weights as they are",
        ));
    }
    args.check_place()?;
    match args.form {
        Form::Folder => args.write_model(|pipeline, model, out| {
            write_folder_atomically(out, |draft| pipeline.components.save_pipeline(model, draft))
        })?,
        Form::SingleFile => args.write_model(Pipeline::save_single)?,
        Form::Gguf => {
            let precision = args.precision.unwrap_or(Precision::F16).into();
            let mut too_large = vec![];
            args.write_model(|pipeline, model, out| {
                too_large = pipeline.save_gguf(model, precision, out)?;
                Ok(())
            })?;
            if !too_large.is_empty() {
                eprintln!(
                    "warning: written in f32, since values of it are too large for the precision: {}",
                    too_large.join(", ")
                );
            }
        }
        Form::Lora => args.write_lora()?,
    }
    args.report()
}

impl Args {
    /// Refuses to write over the model itself, and over folders that exist.
    fn check_place(&self) -> CliResult {
        if matches!(self.form, Form::Folder | Form::Lora) {
            return vacant(&self.out).map(drop).input_error();
        }
        output::prepare(&self.out)?;
        let source = ModelSource::find(&self.model, self.steps)?;
        let whole = |path: &Path| path.canonicalize().ok();
        let folder = self
            .out
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let place = whole(&self.out).or_else(|| whole(folder.unwrap_or(Path::new("."))));
        match (place, source.path().and_then(whole)) {
            (Some(place), Some(model)) if place.starts_with(&model) => {
                Err(CliError::input(format!(
                    "{} lies in the model's own folder, {}: choose another place for --out",
                    self.out.display(),
                    model.display()
                )))
            }
            _ => Ok(()),
        }
    }

    /// Writes the model. `write` writes a latent one with all its parts.
    fn write_model(
        &self,
        write: impl FnOnce(&Pipeline, &Model, &Path) -> Result<(), FormatError>,
    ) -> CliResult {
        let device = Device::flex();
        let source = models::find(&self.model, self.steps)?;
        if let ModelSource::Latent(folder) = &source {
            let pipeline = Pipeline::load(folder, &device).input_error()?;
            let model = self.baked(&pipeline.model)?;
            return output::written(&self.out, write(&pipeline, &model, &self.out));
        }
        if self.form != Form::Folder {
            return Err(CliError::input(format!(
                "{} generates without prompts and has no autoencoder and no text encoder: other tools cannot read it from one file, so use --form folder",
                self.model
            )));
        }
        let model = source.model(&device)?;
        let model = self.baked(&model)?;
        write_folder_atomically(&self.out, |draft| model.save(draft)).input_error()
    }

    /// Writes the files of a LoRA.
    fn write_lora(&self) -> CliResult {
        let source = models::find(&self.model, self.steps)?;
        let Some(folder) = source.path() else {
            return Err(CliError::input("builtin models have no LoRA"));
        };
        let Some(w) = self.bake_w else {
            let mut has_w = false;
            let written = write_folder_atomically(&self.out, |draft| {
                has_w = export_lora(folder, draft)?;
                Ok::<_, FormatError>(())
            });
            if has_w && written.is_ok() {
                eprintln!(
                    "warning: this student has an input for w, which readers of kohya.safetensors do not know, so they generate without guidance: fold one w into that file with --bake-w"
                );
            }
            return written.input_error();
        };
        let model = source.model(&Device::flex())?;
        self.baked(&model)?;
        let written = write_folder_atomically(&self.out, |draft| {
            export_lora_with_w(folder, draft, &model, w)
        });
        written.input_error()
    }

    /// The model, with one w folded in if --bake-w is set.
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
                "this model has no input for w, so there is nothing to fold in: omit --bake-w",
            )),
        }
    }

    fn report(&self) -> CliResult {
        let out = self.out.display();
        println!("{out} written");
        match self.form {
            Form::Folder => console::next(format_args!("fewstep info {out}")),
            Form::SingleFile => console::next(format_args!(
                "fewstep info {out}, or give the file to a web interface, to ComfyUI (models/checkpoints), or to stable-diffusion.cpp (-m)"
            )),
            Form::Gguf => console::next(format_args!(
                "fewstep info {out}, or give the file to ComfyUI-GGUF (models/unet) or to stable-diffusion.cpp (--diffusion-model)"
            )),
            Form::Lora => console::next(format_args!(
                "fewstep info {out}/kohya.safetensors, or give that file to a web interface with its base"
            )),
        }
        Ok(())
    }
}
