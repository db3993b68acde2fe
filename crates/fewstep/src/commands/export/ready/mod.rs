//! Files for one tool, with what the tool must be told: `--for`.

mod a1111;
mod comfyui;
mod readme;

use super::converted;
use crate::commands::shared::example::steps_of;
use crate::error::{CliError, CliResult};
use fewstep_diffusion::{
    BetaSchedule, DistilledFor, Guidance, PredictionKind, Role, Sampler, SamplerRecipe,
    ScheduleConfig,
};
use fewstep_formats::{
    FormatError, GgufPrecision, Model, Pipeline, WeightPrecision, write_atomically,
    write_json_atomically,
};
use fewstep_nn::BackboneConfig;
use std::path::Path;

/// A tool that reads models.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Tool {
    /// ComfyUI: a checkpoint, and a workflow in API form.
    Comfyui,
    /// AUTOMATIC1111's web interface and Forge: a checkpoint, and its .yaml where they need one.
    A1111,
    /// diffusers: a folder.
    Diffusers,
    /// stable-diffusion.cpp: a whole model as GGUF.
    SdCpp,
}

/// What generates the images of a model in tools that do not know ours.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Solver {
    /// DDIM on the few steps that a student was distilled for.
    FewSteps,
    /// That of latent consistency models, which adds noise after each step.
    Consistency,
    /// An ordinary one of many steps.
    Ordinary,
}

/// Whose networks a model has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Architecture {
    First,
    Second,
    Sdxl,
}

/// How a tool that knows nothing of the sampler recipe generates with a model.
pub(super) struct Ready<'a> {
    tool: Tool,
    recipe: &'a SamplerRecipe,
    steps: usize,
    /// The guidance scale: 1 for what needs no second branch.
    cfg: f64,
    /// Height and width of images.
    size: [usize; 2],
    solver: Solver,
    /// The guidance scale towards the source image of a model that edits by instruction.
    image_guidance: Option<f64>,
    architecture: Architecture,
    /// Which layer of its text encoders it takes if none is skipped, from the last one, which is 1.
    usual_clip_layer: usize,
}

/// The file of the weights.
const CHECKPOINT: &str = "model.safetensors";
const GGUF: &str = "model.gguf";
const PROMPT: &str = "a lighthouse at night";

impl<'a> Ready<'a> {
    /// # Errors
    /// When the tools have no way to generate with such a model.
    pub(super) fn new(tool: Tool, pipeline: &Pipeline, model: &'a Model) -> CliResult<Self> {
        let recipe = &model.recipe;
        let BackboneConfig::UNet(network) = model.network.config();
        let edits = network.sees_source();
        let refused = match recipe.role {
            _ if recipe.control.is_some() => "it generates from control images",
            _ if edits && tool != Tool::Diffusers => "it edits images by instruction",
            _ if network.concat > 0 && !edits => "it is for inpainting",
            _ if !recipe.classes.is_empty() => "it has classes instead of prompts",
            Role::Student {
                sampler: DistilledFor::Stochastic,
                ..
            } => "it was distilled for the stochastic sampler, which is only in fewstep",
            Role::Student {
                sampler: DistilledFor::Encoder,
                ..
            } => "it goes from images to noise",
            _ => "",
        };
        if !refused.is_empty() {
            return Err(CliError::input(format!(
                "--for writes text-to-image models, and for diffusers those that edit by instruction, and this is none: {refused}. Use --form"
            )));
        }
        let solver = solver_of(recipe);
        let unknown = match (tool, solver, recipe.prediction) {
            (Tool::Diffusers, ..) | (_, _, PredictionKind::Eps) => "",
            (Tool::A1111 | Tool::SdCpp, _, PredictionKind::X) => {
                "a network that predicts the image itself"
            }
            (Tool::Comfyui | Tool::A1111, Solver::Consistency, _) => {
                "a latent consistency model that does not predict noise"
            }
            _ => "",
        };
        if !unknown.is_empty() {
            return Err(CliError::input(format!(
                "this tool has no sampler for {unknown}: use --for diffusers, or --form"
            )));
        }
        let [_, height, width] = recipe.resolution;
        let factor = pipeline.vae.factor();
        Ok(Self {
            tool,
            recipe,
            steps: steps_of(&recipe.role),
            cfg: match recipe.guidance {
                Guidance::ClassifierFree if solver == Solver::Consistency => 1.0,
                Guidance::ClassifierFree => 7.5,
                // Only diffusers gives a student its w.
                Guidance::Input { default, .. } => 1.0 + default,
                Guidance::None | Guidance::Fixed { .. } => 1.0,
            },
            size: [height * factor, width * factor],
            solver,
            image_guidance: edits.then(|| recipe.default_image_guidance()),
            architecture: match (network.text_time, network.text) {
                (Some(_), _) => Architecture::Sdxl,
                (None, Some(text)) if text.linear => Architecture::Second,
                _ => Architecture::First,
            },
            usual_clip_layer: model.network.config().usual_clip_layer(),
        })
    }

    /// What a user should know that no file can say.
    pub(super) fn warning(&self) -> Option<&'static str> {
        const BETAS: [f64; 2] = [0.00085, 0.012];
        let known = match &self.recipe.schedule {
            ScheduleConfig::Discrete {
                betas: BetaSchedule::ScaledLinear,
                beta_start,
                beta_end,
                steps: 1000,
                ..
            } => [*beta_start, *beta_end] == BETAS,
            _ => false,
        };
        match self.tool {
            Tool::Diffusers => None,
            _ if !known => Some(
                "this model has another noise schedule than Stable Diffusion, which this tool takes for granted: it will generate wrong images",
            ),
            Tool::SdCpp if self.has_zero_snr() => Some(
                "the schedule of this model ends without signal, which stable-diffusion.cpp does not know: its images will be wrong",
            ),
            Tool::A1111 if self.is_v() && self.architecture == Architecture::Sdxl => Some(
                "this model of SDXL predicts v, which Forge finds out by itself and AUTOMATIC1111's web interface up to 1.10.1 does not: its images will be noise",
            ),
            _ => None,
        }
    }

    /// Writes the files of the tool into a new folder. Gives the names of the tensors in f32 because
    /// a value of theirs is too large for the precision.
    pub(super) fn write(
        &self,
        pipeline: &Pipeline,
        model: &Model,
        precision: Option<WeightPrecision>,
        gguf: GgufPrecision,
        folder: &Path,
    ) -> Result<Vec<String>, FormatError> {
        let checkpoint = folder.join(CHECKPOINT);
        let too_large = match self.tool {
            Tool::Diffusers => {
                pipeline.components.save_pipeline(model, folder)?;
                converted(folder, precision)?
            }
            Tool::SdCpp => pipeline.save_whole_gguf(model, gguf, &folder.join(GGUF))?,
            Tool::Comfyui | Tool::A1111 => pipeline.save_single(model, precision, &checkpoint)?,
        };
        match self.tool {
            Tool::Comfyui => {
                write_json_atomically(&folder.join("workflow_api.json"), &self.workflow())?;
            }
            Tool::A1111 if self.needs_yaml() => {
                let yaml = self.yaml(pipeline, model);
                write_atomically(&checkpoint.with_extension("yaml"), yaml.as_bytes())?;
            }
            _ => {}
        }
        write_atomically(&folder.join("README.md"), self.readme(precision).as_bytes())?;
        Ok(too_large)
    }

    /// Which layer of the text encoder web interfaces, ComfyUI and stable-diffusion.cpp stop at, from the last one, which
    /// is 1; none where it is the usual one.
    fn last_layer(&self) -> Option<usize> {
        let skipped = self.recipe.clip_skip;
        (skipped > 0).then_some(self.usual_clip_layer + skipped)
    }

    fn is_v(&self) -> bool {
        self.recipe.prediction == PredictionKind::V
    }

    /// Whether the web interfaces need a configuration. Of Stable Diffusion 2 they find the prediction
    /// out from the weights.
    fn needs_yaml(&self) -> bool {
        self.is_v() && self.architecture == Architecture::First
    }

    fn has_zero_snr(&self) -> bool {
        matches!(
            self.recipe.schedule,
            ScheduleConfig::Discrete {
                zero_terminal_snr: true,
                ..
            }
        )
    }
}

fn solver_of(recipe: &SamplerRecipe) -> Solver {
    let sampler = recipe.default_sampler.map(|config| config.sampler);
    match recipe.role {
        Role::Student {
            sampler: DistilledFor::Consistency,
            ..
        } if sampler == Some(Sampler::MultistepConsistency) => Solver::Consistency,
        Role::Student {
            sampler: DistilledFor::Deterministic | DistilledFor::Consistency,
            ..
        } => Solver::FewSteps,
        _ => Solver::Ordinary,
    }
}
