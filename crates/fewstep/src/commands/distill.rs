//! `fewstep distill`: few-step students from a teacher.

use super::shared::run::{RunArgs, go, prepare};
use super::shared::{captioned, plan};
use crate::builtin;
use crate::compute;
use crate::error::{CliError, CliResult, IntoCliResult};
use burn::module::Module;
use burn::tensor::Device;
use fewstep_data::{
    ConditionConfig, Conditions, DataConfig, Examples, ImageShape, LatentsHeader, Masks,
};
use fewstep_diffusion::Guidance;
use fewstep_distill::Copies;
use fewstep_distill::method::{GuidanceWeights, control_spec};
use fewstep_distill::recipe::{DistillRecipe, PhaseRecipe, RunConfig, TEXT_WEIGHTS};
use fewstep_distill::run::{Phase, Run};
use fewstep_formats::{Model, PipelineComponents};
use fewstep_generate::ModelSource;
use fewstep_nn::BackboneConfig;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Distil a teacher into few-step students.
///
/// A recipe without `method` folds guidance in and halves the steps again and again. With method = "codi" a model
/// learns to draw from control images (a smaller image, one with a hole, edges, a depth map) in 1 to 4 steps;
/// with "consistency" it learns few steps alone, with "denoising" the condition alone.
///
/// The folder of a latent diffusion model, such as Stable Diffusion, is distilled on captioned images
/// (data.kind = "captioned"), a class-conditional one on labelled images; one that fills in images learns with holes ([condition], kind = "inpaint").
///
/// Example: fewstep distill recipes/fashion-mnist/distill.toml --set teacher=runs/teacher/models/teacher
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) run: RunArgs,
}

/// The one key that says which recipe it is.
#[derive(Deserialize)]
struct Which {
    method: Option<toml::Value>,
}

pub(crate) fn run(args: Args) -> CliResult {
    match args.run.recipe::<Which>()?.method {
        None => halve(&args.run),
        Some(_) => one_phase(&args.run),
    }
}

fn halve(args: &RunArgs) -> CliResult {
    let mut recipe: DistillRecipe = args.recipe()?;
    recipe
        .validate()
        .map_err(|e| args.complain(e.to_string()))?;
    let inputs = Inputs::read(
        &recipe.teacher,
        &recipe.data,
        recipe.condition.as_ref(),
        recipe.flip,
        args.plan,
        &recipe.run,
    )?;
    inputs.check_taught()?;
    if let Some(lora) = &recipe.lora {
        let network = inputs.teacher.network.clone();
        let fits = network.with_lora(lora, recipe.seed);
        fits.map_err(|error| args.complain(error.to_string()))?;
    }
    let guidance = inputs.teacher.recipe.guidance;
    if recipe.w.is_none() {
        recipe.w = usual_weights(guidance, inputs.components.is_some());
    }
    recipe
        .check_guidance(guidance)
        .map_err(|e| args.complain(e.to_string()))?;
    let phases = recipe.phases().map_err(|e| args.complain(e.to_string()))?;
    inputs.run(
        args,
        phases,
        (recipe.seed, recipe.flip, recipe.run),
        &recipe.prompts,
        &recipe,
    )
}

fn one_phase(args: &RunArgs) -> CliResult {
    let recipe: PhaseRecipe = args.recipe()?;
    recipe
        .validate()
        .map_err(|e| args.complain(e.to_string()))?;
    let inputs = Inputs::read(
        &recipe.teacher,
        &recipe.data,
        recipe.condition.as_ref(),
        recipe.flip,
        args.plan,
        &recipe.run,
    )?;
    let phases = recipe.phases(inputs.examples.conditions());
    inputs.run(
        args,
        phases,
        (recipe.seed, recipe.flip, recipe.run),
        &[],
        &recipe,
    )
}

/// The weights that a student is for when nothing is said: those that its teacher was distilled for, and for a latent teacher
/// of two branches the usual ones.
fn usual_weights(teacher: Guidance, latent: bool) -> Option<GuidanceWeights> {
    match teacher {
        Guidance::Input { w_min, w_max, .. } => Some(GuidanceWeights::Range([w_min, w_max])),
        Guidance::Fixed { w } => Some(GuidanceWeights::Single(w)),
        Guidance::ClassifierFree => latent.then_some(TEXT_WEIGHTS),
        Guidance::None => None,
    }
}

/// The masks for a latent teacher that does inpainting; none for others.
fn masks(
    network: &BackboneConfig,
    condition: Option<&ConditionConfig>,
) -> CliResult<Option<Masks>> {
    /// Masks of each image by default.
    const USUAL: usize = 4;
    let (latent, concat) = (network.channels(), network.concat_channels());
    let refused = match condition {
        _ if concat == 0 => return Ok(None),
        _ if concat != 1 + latent => format!(
            "the teacher sees {concat} maps next to its latents of {latent} channels: only inpainting models are distilled, which see {} (a mask, and the latents of the masked image)",
            1 + latent
        ),
        Some(&ConditionConfig::Inpaint { mask: kind, masks }) => match masks.unwrap_or(USUAL) {
            0 => "`condition.masks` is 0: each image needs at least one".into(),
            each => return Ok(Some(Masks { kind, each })),
        },
        _ => "the teacher is for inpainting: say which masks to train on, such as `[condition]` with `kind = \"inpaint\"` and `mask = \"mixed\"`".into(),
    };
    Err(CliError::input(refused))
}

/// What a recipe names, read and found to fit together.
struct Inputs {
    teacher: Model,
    examples: Examples,
    components: Option<PipelineComponents>,
    device: Device,
}

impl Inputs {
    fn read(
        teacher: &str,
        data: &DataConfig,
        condition: Option<&ConditionConfig>,
        mirrored: bool,
        planned: bool,
        run: &RunConfig,
    ) -> CliResult<Self> {
        let device = compute::device_of_run(run)?;
        let source = ModelSource::find(teacher, None)?;
        let teacher = source.model(&device)?;
        let inputs = match source.components()? {
            Some(parts) => {
                Self::latent(teacher, parts, data, condition, mirrored, device, planned)?
            }
            None => Self::pixels(teacher, data, condition, device)?,
        };
        inputs.check_images()?;
        inputs.check_condition()?;
        Ok(inputs)
    }

    fn pixels(
        teacher: Model,
        data: &DataConfig,
        condition: Option<&ConditionConfig>,
        device: Device,
    ) -> CliResult<Self> {
        let dataset = Arc::new(builtin::load_data(data)?);
        let conditions = condition
            .map(|condition| Conditions::open(condition, &dataset, data))
            .transpose()
            .input_error()?;
        Ok(Self {
            teacher,
            examples: Examples::Images {
                dataset,
                conditions: conditions.map(Arc::new),
            },
            components: None,
            device,
        })
    }

    /// A latent diffusion model, with captioned images as latents and states.
    fn latent(
        teacher: Model,
        components: PipelineComponents,
        data: &DataConfig,
        condition: Option<&ConditionConfig>,
        mirrored: bool,
        device: Device,
        planned: bool,
    ) -> CliResult<Self> {
        let masks = masks(&teacher.network.config(), condition)?;
        // The masked images are stored with the latents, and are no control images.
        let condition = condition.filter(|_| masks.is_none());
        let copies = Copies { mirrored, masks };
        let fits = |header: &LatentsHeader| fits(&teacher, header, data.size);
        let around = &components;
        let mut examples =
            captioned::examples(data, condition, around, copies, &fits, &device, planned)?;
        if let Examples::Planned { bytes, .. } = &mut examples {
            // The teacher is there already.
            *bytes += 4 * teacher.network.num_params() as u64;
        }
        Ok(Self {
            teacher,
            examples,
            components: Some(components),
            device,
        })
    }

    fn check_images(&self) -> CliResult {
        let (recipe, examples) = (&self.teacher.recipe, &self.examples);
        let ImageShape {
            channels,
            height,
            width,
        } = examples.shape();
        let shape = [channels, height, width];
        if shape != recipe.resolution {
            return Err(CliError::input(format!(
                "the teacher draws {:?} (channels, height, width) and {} gives {shape:?}: set `data.size` and `data.channels` to match",
                recipe.resolution,
                examples.name()
            )));
        }
        if examples.classes().len() != recipe.classes.len() {
            return Err(CliError::input(format!(
                "the teacher knows {} classes and {} has {}",
                recipe.classes.len(),
                examples.name(),
                examples.classes().len()
            )));
        }
        Ok(())
    }

    /// A teacher that takes a condition is given the one it knows.
    fn check_condition(&self) -> CliResult {
        let Some(known) = self.teacher.recipe.control else {
            return Ok(());
        };
        let verb = known.task.verb();
        match self.examples.conditions().map(control_spec) {
            Some(given) if given == known => Ok(()),
            Some(given) => Err(CliError::input(format!(
                "the teacher was taught `{verb}` with control images of {:?} (channels, height, width), and [condition] gives `{}` with {:?}: give the same",
                known.shape,
                given.task.verb(),
                given.shape
            ))),
            None => Err(CliError::input(format!(
                "the teacher draws from control images of {:?} (channels, height, width), as `fewstep {verb}` gives them: add a [condition] section",
                known.shape
            ))),
        }
    }

    /// Halvings go on with what the teacher knows.
    fn check_taught(&self) -> CliResult {
        match (self.examples.conditions(), self.teacher.recipe.control) {
            (Some(_), None) => Err(CliError::input(
                "[condition] asks for control images, which the teacher has not learnt to take: teach it first, with `method = \"denoising\"`, or do both at once with `method = \"codi\"`",
            )),
            _ => Ok(()),
        }
    }

    fn run<R: Serialize + DeserializeOwned>(
        self,
        args: &RunArgs,
        phases: Vec<Phase>,
        (seed, flip, config): (u64, bool, RunConfig),
        prompts: &[String],
        recipe: &R,
    ) -> CliResult {
        let run = Run {
            folder: args.folder(),
            seed,
            phases,
            examples: self.examples,
            components: self.components,
            flip,
            config,
            device: self.device,
        };
        if args.dry_run {
            return plan::print(args, &run, &self.teacher, recipe);
        }
        prepare(&run.folder, recipe, args.resume())?;
        go(&run, self.teacher, prompts, args.resume())?;
        let models = run.folder.join("models");
        println!("What came out is in {}", models.display());
        Ok(())
    }
}

/// Whether a teacher draws such latents and attends to such states, of images of this side.
fn fits(teacher: &Model, header: &LatentsHeader, side: Option<usize>) -> Result<(), String> {
    let (drawn, made) = (teacher.recipe.resolution, header.latent);
    if drawn != made {
        let size = side.map(|side| format!(" = {}", side * drawn[1] / made[1]));
        return Err(format!(
            "the teacher draws latents of {drawn:?} (channels, height, width) and the data gives {made:?}: set `data.size`{} to match",
            size.unwrap_or_default()
        ));
    }
    let (read, states) = (teacher.network.config().text_width(), header.states[1]);
    match read {
        Some(width) if width != states => Err(format!(
            "the teacher attends to states of {width} features, and its text encoder's have {states}"
        )),
        _ => Ok(()),
    }
}
