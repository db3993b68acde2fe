//! `fewstep export`: a model in a form that other tools read.

mod lora;
mod ready;

use super::shared::guidance::both_conventions;
use super::shared::models;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::parsers::{number, steps};
use crate::{console, output};
use burn::tensor::Device;
use clap::ValueEnum;
use fewstep_diffusion::Guidance;
use fewstep_diffusion::limits::RANK;
use fewstep_formats::{
    FormatError, GgufPrecision, Model, Pipeline, WeightPrecision, convert_weights, vacant,
    write_folder_atomically,
};
use fewstep_generate::ModelSource;
use ready::{Ready, Tool};
use std::path::{Path, PathBuf};

/// Write a model in a form that other tools read.
///
/// --for names a tool, and writes a folder with all that it needs and a README.md that says what to
/// do with it. --form writes one form only. A folder is for diffusers, which passes w to a student,
/// unless it edits by instruction. Other tools ignore a student's input for w without a warning: for
/// them, one w is folded in (--bake-w).
///
/// Example: fewstep export --model runs/sd15 --steps 4 --bake-w 6.5 --for comfyui --out student
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model: a folder, a run folder, a name on the hub, or builtin:NAME.
    #[arg(long)]
    model: String,
    /// Of a run's students, the one for this number of steps.
    #[arg(long, value_parser = steps)]
    steps: Option<usize>,
    /// Write what this tool needs into a new folder.
    #[arg(long = "for", value_enum, value_name = "TOOL", conflicts_with = "form")]
    tool: Option<Tool>,
    /// What to write.
    #[arg(long, value_enum, default_value = "folder")]
    form: Form,
    /// Fold this guidance weight w (guidance scale − 1) into the network, which then has no input
    /// for w [default: with --for of a tool that knows no w, the model's own].
    #[arg(long, value_name = "W", value_parser = number, allow_negative_numbers = true)]
    bake_w: Option<f64>,
    /// With --form lora: make a LoRA of this rank of a student whose weights were all trained, of its
    /// difference to --base. What LoRA of several ranks lose is printed.
    #[arg(long, value_name = "RANK", requires = "base", value_parser = clap::value_parser!(u64).range(1..=RANK as u64))]
    extract: Option<u64>,
    /// The model that the student was distilled from, for --extract.
    #[arg(long, value_name = "MODEL", requires = "extract")]
    base: Option<String>,
    /// Precision of the weights [default: f16 for GGUF; elsewhere f32 for the U-Net, and the
    /// other parts as they are].
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
    /// The U-Net as GGUF, for stable-diffusion.cpp (--diffusion-model) and ComfyUI-GGUF.
    Gguf,
    /// The whole model as GGUF, for stable-diffusion.cpp (-m).
    GgufModel,
    /// A folder with the LoRA of a student that was trained with [lora], or that --extract makes: a
    /// file for diffusers, one for the web interfaces, and one with the input for w.
    Lora,
}

/// The type of weights in files.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Precision {
    /// 32-bit floats, bit for bit.
    F32,
    /// 16-bit floats.
    F16,
    /// bfloat16, the upper half of 32-bit floats.
    Bf16,
    /// For GGUF: one byte per weight of the U-Net, with a scale for every 32 (ggml's Q8_0);
    /// convolutions and the other parts in 16-bit floats.
    #[value(name = "q8_0")]
    Q8,
}

impl Precision {
    /// In a GGUF file.
    fn gguf(precision: Option<Self>) -> GgufPrecision {
        match precision {
            Some(Self::F32) => GgufPrecision::F32,
            Some(Self::F16) | None => GgufPrecision::F16,
            Some(Self::Bf16) => GgufPrecision::Bf16,
            Some(Self::Q8) => GgufPrecision::Q8,
        }
    }

    /// In a safetensors file.
    fn safetensors(precision: Option<Self>) -> CliResult<Option<WeightPrecision>> {
        match precision {
            None => Ok(None),
            Some(Self::F32) => Ok(Some(WeightPrecision::F32)),
            Some(Self::F16) => Ok(Some(WeightPrecision::F16)),
            Some(Self::Bf16) => Ok(Some(WeightPrecision::Bf16)),
            Some(Self::Q8) => Err(CliError::input(
                "--precision q8_0 is for GGUF (--form gguf, --form gguf-model, --for sd-cpp): the other files take f32, f16 or bf16",
            )),
        }
    }
}

pub(crate) fn run(args: Args) -> CliResult {
    args.check_place()?;
    if args.extract.is_some() && (args.tool.is_some() || args.form != Form::Lora) {
        return Err(CliError::input("--extract makes a LoRA: use --form lora"));
    }
    let gguf = Precision::gguf(args.precision);
    let plain = match args.writes_gguf() {
        true => None,
        false => Precision::safetensors(args.precision)?,
    };
    let mut too_large = vec![];
    match (args.tool, args.form) {
        (Some(tool), _) => too_large = args.write_for(tool, plain, gguf)?,
        (None, Form::Folder) => args.write_model(|pipeline, model, out| {
            write_folder_atomically(out, |draft| {
                pipeline.components.save_pipeline(model, draft)?;
                too_large = converted(draft, plain)?;
                Ok(())
            })
        })?,
        (None, Form::SingleFile) => args.write_model(|pipeline, model, out| {
            too_large = pipeline.save_single(model, plain, out)?;
            Ok(())
        })?,
        (None, Form::Gguf) => args.write_model(|pipeline, model, out| {
            too_large = pipeline.save_gguf(model, gguf, out)?;
            Ok(())
        })?,
        (None, Form::GgufModel) => args.write_model(|pipeline, model, out| {
            too_large = pipeline.save_whole_gguf(model, gguf, out)?;
            Ok(())
        })?,
        (None, Form::Lora) => {
            too_large = match (args.extract, &args.base) {
                (Some(rank), Some(base)) => args.extract_lora(rank as usize, base, plain)?,
                _ => args.write_lora(plain)?,
            }
        }
    }
    if !too_large.is_empty() {
        eprintln!(
            "warning: written in f32, since values of it are too large for the precision: {}",
            too_large.join(", ")
        );
    }
    args.report()
}

/// Says that tokens which only the model's own tokenizer knows are left out of a single file.
fn note_added_tokens(pipeline: &Pipeline) {
    if pipeline.text_encoder.vocabulary_without_added().is_some() {
        console::note(format_args!(
            "the tokens that this model adds to CLIP's are left out, since other tools have a tokenizer of their own: use them there as embeddings, or a folder with diffusers"
        ));
    }
}

/// The weights in a new folder in this precision, if one was asked for.
fn converted(
    folder: &Path,
    precision: Option<WeightPrecision>,
) -> Result<Vec<String>, FormatError> {
    precision.map_or(Ok(vec![]), |precision| convert_weights(folder, precision))
}

impl Args {
    fn writes_gguf(&self) -> bool {
        match self.tool {
            Some(tool) => tool == Tool::SdCpp,
            None => matches!(self.form, Form::Gguf | Form::GgufModel),
        }
    }

    /// Writes what a tool needs. A student's w is folded in where the tool does not know it.
    fn write_for(
        &self,
        tool: Tool,
        precision: Option<WeightPrecision>,
        gguf: GgufPrecision,
    ) -> CliResult<Vec<String>> {
        let source = models::find(&self.model, self.steps)?;
        let ModelSource::Latent(folder) = &source else {
            return Err(CliError::input(format!(
                "{} generates without prompts: --for is for text-to-image models, so use --form folder",
                self.model
            )));
        };
        let pipeline = Pipeline::load(folder, &Device::flex()).input_error()?;
        let model = match (self.bake_w, pipeline.model.recipe.guidance) {
            (None, Guidance::Input { default, .. })
                if tool != Tool::Diffusers || pipeline.model.network.config().sees_source() =>
            {
                console::note(format_args!(
                    "{} is folded in, since this tool passes no w to a model: choose another with --bake-w",
                    both_conventions(default)
                ));
                pipeline.model.with_fixed_w(default)
            }
            _ => self.baked(&pipeline.model)?,
        };
        if tool != Tool::Diffusers {
            note_added_tokens(&pipeline);
        }
        let ready = Ready::new(tool, &pipeline, &model)?;
        if let Some(warning) = ready.warning() {
            eprintln!("warning: {warning}");
        }
        let mut too_large = vec![];
        let written = write_folder_atomically(&self.out, |draft| {
            too_large = ready.write(&pipeline, &model, precision, gguf, draft)?;
            Ok::<_, FormatError>(())
        });
        written.input_error()?;
        Ok(too_large)
    }

    /// Refuses to write over the model itself, and over folders that exist.
    fn check_place(&self) -> CliResult {
        if self.tool.is_some() || matches!(self.form, Form::Folder | Form::Lora) {
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
            let takes_w = matches!(model.recipe.guidance, Guidance::Input { .. });
            // diffusers' pipeline for these does not pass w on.
            if takes_w && model.network.config().sees_source() {
                eprintln!(
                    "warning: other tools pass no w to a model that edits by instruction, diffusers neither: for them, fold one in with --bake-w"
                );
            }
            if matches!(self.form, Form::SingleFile | Form::GgufModel) {
                note_added_tokens(&pipeline);
            }
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
        let precision = Precision::safetensors(self.precision)?;
        let written = write_folder_atomically(&self.out, |draft| {
            model.save(draft)?;
            converted(draft, precision).map(drop)
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
        if self.tool.is_some() {
            console::next(format_args!("see {out}/README.md"));
            return Ok(());
        }
        match self.form {
            Form::Folder => console::next(format_args!("fewstep info {out}")),
            Form::SingleFile => console::next(format_args!(
                "fewstep info {out}, or give the file to a web interface, to ComfyUI (models/checkpoints), or to stable-diffusion.cpp (-m)"
            )),
            Form::Gguf => console::next(format_args!(
                "fewstep info {out}, or give the file to ComfyUI-GGUF (models/unet) or to stable-diffusion.cpp (--diffusion-model)"
            )),
            Form::GgufModel => console::next(format_args!(
                "fewstep info {out}, or give the file to stable-diffusion.cpp (-m)"
            )),
            Form::Lora => console::next(format_args!(
                "fewstep info {out}/kohya.safetensors, or give that file to a web interface with its base"
            )),
        }
        Ok(())
    }
}
