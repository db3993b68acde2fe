//! The teacher and the data of a recipe.

use super::captioned::{self, Wanted};
use super::example::{Uses, command_for};
use super::run::{RunArgs, run_phases};
use super::run_folder::RunFolder;
use super::{models, plan};
use crate::builtin;
use crate::console;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::tasks::command_of;
use burn::module::Module;
use burn::tensor::Device;
use fewstep_data::{ConditionConfig, Conditions, DataConfig, Examples, ImageShape, Masks};
use fewstep_diffusion::limits::{self, MASKS};
use fewstep_diffusion::{Guidance, SamplerRecipe};
use fewstep_distill::method::control_spec;
use fewstep_distill::recipe::{RunConfig, TeacherLora};
use fewstep_distill::run::{Phase, Run};
use fewstep_distill::{Copies, ExtraCopies, World};
use fewstep_formats::{Loras, Model, PipelineComponents, check_clip_skip};
use fewstep_generate::ModelSource;
use fewstep_nn::{BackboneConfig, ExtraInput, Precision};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// What is encoded next to each image for a model that sees more than the noise; none for others.
fn extra_copies(
    network: &BackboneConfig,
    condition: Option<&ConditionConfig>,
) -> CliResult<Option<ExtraCopies>> {
    /// Masks of each image when the recipe sets none.
    const DEFAULT: usize = 4;
    let refused = match (network.extra_input(), condition) {
        (None, _) => return Ok(None),
        (Some(ExtraInput::SourceImage), Some(ConditionConfig::Instruct(_))) => {
            return Ok(Some(ExtraCopies::Source));
        }
        (Some(ExtraInput::SourceImage), _) => {
            "the teacher edits images by instruction: say where the images before the edit are, for example `[condition]` with `kind = \"instruct\"` and `path = \"before\"`"
        }
        (Some(ExtraInput::MaskedImage), Some(&ConditionConfig::Inpaint { mask: kind, masks })) => {
            let each = masks.unwrap_or(DEFAULT);
            limits::count("condition.masks", each, MASKS).input_error()?;
            return Ok(Some(ExtraCopies::Masked(Masks { kind, each })));
        }
        (Some(ExtraInput::MaskedImage), _) => {
            "the teacher is for inpainting: choose the masks to train with, for example `[condition]` with `kind = \"inpaint\"` and `mask = \"mixed\"`"
        }
    };
    Err(CliError::input(refused))
}

/// The guidance scale of source images that the students of a teacher have: what the recipe says,
/// else what the teacher says; none for a teacher that sees none.
fn image_guidance(teacher: &Model, wanted: Option<f64>) -> CliResult<Option<f64>> {
    let recipe = &teacher.recipe;
    let sees_source = teacher.network.config().sees_source();
    let refused = match (sees_source, recipe.guidance, wanted) {
        (false, _, None) => return Ok(None),
        (true, Guidance::ClassifierFree, _) => {
            return Ok(Some(wanted.unwrap_or(recipe.default_image_guidance())));
        }
        (true, _, None) => return Ok(recipe.image_guidance),
        (true, _, Some(_)) => {
            "the teacher is a student, which has the guidance towards its source image folded in"
        }
        (false, _, Some(_)) => {
            "it is the guidance towards a source image, and the teacher sees none (InstructPix2Pix does)"
        }
    };
    Err(CliError::input(format!(
        "`image_guidance`: {refused}: remove it"
    )))
}

/// The teacher as a recipe names it.
pub(crate) struct Teacher<'a> {
    pub(crate) model: &'a str,
    pub(crate) loras: &'a [TeacherLora],
    /// How many of the last layers of its text encoders are skipped, if not as it says.
    pub(crate) clip_skip: Option<usize>,
    /// The guidance scale of its source image, if not as it says.
    pub(crate) image_guidance: Option<f64>,
    /// The type of its weights, where the student has them too.
    pub(crate) stored: Precision,
}

/// The teacher and the data of a recipe, loaded and checked against each other.
pub(crate) struct TeacherInputs {
    pub(crate) teacher: Model,
    pub(crate) examples: Examples,
    pub(crate) components: Option<PipelineComponents>,
    /// Whether the recipe sets the guidance scale of source images.
    sets_image_guidance: bool,
    device: Device,
    world: World,
}

impl TeacherInputs {
    /// `on` is whether to predict memory only, and the folder of the run.
    pub(crate) fn read(
        teacher: Teacher<'_>,
        data: &DataConfig,
        condition: Option<&ConditionConfig>,
        mirrored: bool,
        on: (bool, Option<&RunFolder>),
        (device, world): (Device, &World),
    ) -> CliResult<Self> {
        let Teacher {
            model,
            loras,
            clip_skip,
            image_guidance: wanted,
            stored,
        } = teacher;
        let source = models::find(model, None)?;
        stored.check_stored(&device).input_error()?;
        let (names, loras) = (loras, TeacherLora::read(loras).input_error()?);
        let mut teacher = load(&source, &loras, stored, &device)?;
        let skipped = &mut teacher.recipe.clip_skip;
        *skipped = clip_skip.unwrap_or(*skipped);
        teacher.recipe.image_guidance = image_guidance(&teacher, wanted)?;
        let added = &mut teacher.recipe.provenance.teacher_lora;
        added.extend(names.iter().map(TeacherLora::name));
        let inputs = match source.components()? {
            Some(parts) => {
                let skipped = teacher.recipe.clip_skip;
                let parts = parts.with_loras(loras).with_clip_skip(skipped);
                let teacher = (teacher, stored);
                let of = (device, world);
                Self::latent(teacher, parts, data, condition, mirrored, of, on)?
            }
            None => {
                check_clip_skip(teacher.recipe.clip_skip, 0).map_err(CliError::input)?;
                loras.check_without_text().input_error()?;
                Self::pixels(teacher, data, condition, device)?
            }
        };
        let inputs = Self {
            world: world.clone(),
            sets_image_guidance: wanted.is_some(),
            ..inputs
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
        let dataset = builtin::load_data(data)?;
        let dataset = dataset.with_classes_of(&teacher.recipe.classes);
        let dataset = Arc::new(dataset.input_error()?);
        let conditions = condition
            .map(|condition| Conditions::open(condition, &dataset, &builtin::in_memory(data)))
            .transpose()
            .input_error()?;
        Ok(Self {
            teacher,
            examples: Examples::Images {
                dataset,
                conditions: conditions.map(Arc::new),
            },
            components: None,
            sets_image_guidance: false,
            device,
            world: World::default(),
        })
    }

    /// A latent diffusion model, with its images as latents and prompt embeddings.
    fn latent(
        (mut teacher, stored): (Model, Precision),
        components: PipelineComponents,
        data: &DataConfig,
        condition: Option<&ConditionConfig>,
        mirrored: bool,
        (device, world): (Device, &World),
        (planned, run): (bool, Option<&RunFolder>),
    ) -> CliResult<Self> {
        let extra = extra_copies(&teacher.network.config(), condition)?;
        // Masked images are stored with the latents; they are no control images.
        let condition = condition.filter(|_| !matches!(extra, Some(ExtraCopies::Masked(_))));
        let copies = Copies { mirrored, extra };
        let fits =
            |examples: &Examples| fits(&teacher, examples, data.size).map_err(CliError::input);
        let mut examples = captioned::examples(&Wanted {
            data,
            condition,
            components: &components,
            copies,
            fits: &fits,
            run,
            device: &device,
            world,
            planned,
        })?;
        let ImageShape {
            channels,
            height,
            width,
        } = examples.shape();
        let size = [channels, height, width];
        let trained = std::mem::replace(&mut teacher.recipe.resolution, size);
        if trained != size
            && let Some(side) = data.size
        {
            let usual = side * trained[1] / height;
            if let Some(control) = &mut teacher.recipe.control {
                *control = control.resized(trained, size).ok_or_else(|| {
                    CliError::input(format!(
                        "the teacher takes control images of {:?} (channels, height, width) with images of {usual}x{usual} pixels, and `data.size` is {side}: give a size with which control images have whole pixels",
                        control.shape
                    ))
                })?;
            }
            console::note(format_args!(
                "the teacher generates images of {usual}x{usual} pixels, and its students will generate those of {side}x{side} (`data.size`)"
            ));
        }
        if let Examples::Planned { bytes, .. } = &mut examples {
            // The teacher is in memory already.
            *bytes += stored.bytes() * teacher.network.num_params() as u64;
        }
        Ok(Self {
            teacher,
            examples,
            components: Some(components),
            sets_image_guidance: false,
            device,
            world: World::default(),
        })
    }

    /// Another model that a method starts from, such as a few-step student, with LoRA added, its
    /// weights stored in a type and computing in another.
    pub(crate) fn start(
        &self,
        (reference, steps): (&str, Option<usize>),
        loras: &[TeacherLora],
        (stored, computing): (Precision, Precision),
    ) -> CliResult<Model> {
        let source = ModelSource::find(reference, steps)?;
        let loras = TeacherLora::read(loras).input_error()?;
        let mut start = load(&source, &loras, stored, &self.device)?;
        start.network = start.network.computing_in(computing);
        Ok(start)
    }

    /// Guides the teacher towards source images as a student is, unless the recipe says otherwise.
    pub(crate) fn guide_as(&mut self, student: &SamplerRecipe) {
        let scale = student.image_guidance;
        if scale.is_some() && !self.sets_image_guidance {
            self.teacher.recipe.image_guidance = scale;
        }
    }

    /// Whether the teacher generates from texts.
    pub(crate) fn reads_texts(&self) -> bool {
        self.components.is_some() && self.teacher.recipe.classes.is_empty()
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
                "the teacher generates {:?} (channels, height, width) and {} gives {shape:?}: set `data.size` and `data.channels` to match",
                recipe.resolution,
                examples.name()
            )));
        }
        Ok(())
    }

    /// A teacher that generates from control images gets those that it was trained with.
    fn check_condition(&self) -> CliResult {
        let Some(taken) = self.teacher.recipe.control else {
            return Ok(());
        };
        let command = command_of(taken.task);
        match self.examples.conditions().map(control_spec) {
            Some(spec) if spec == taken => Ok(()),
            Some(spec) => Err(CliError::input(format!(
                "the teacher is for `fewstep {command}`, with control images of {:?} (channels, height, width) for images of this size, and [condition] makes those for `fewstep {}` of {:?}: use the same",
                taken.shape,
                command_of(spec.task),
                spec.shape
            ))),
            None => Err(CliError::input(format!(
                "the teacher generates from control images of {:?} (channels, height, width), as in `fewstep {command}`: add a [condition] section",
                taken.shape
            ))),
        }
    }

    /// Guided distillation teaches no condition: the teacher must have learnt it.
    pub(crate) fn check_learnt(&self) -> CliResult {
        match (self.examples.conditions(), self.teacher.recipe.control) {
            (Some(_), None) => Err(CliError::input(
                "[condition] makes control images, which the teacher has not learnt to use: train it with `method = \"denoising\"` first, or do both at once with `method = \"codi\"`",
            )),
            _ => Ok(()),
        }
    }

    pub(crate) fn run<R: Serialize + DeserializeOwned>(
        self,
        (args, folder): (&RunArgs, Option<RunFolder>),
        phases: &dyn Fn(&R) -> CliResult<Vec<Phase>>,
        (seed, flip, config): (u64, bool, RunConfig),
        prompts: &[String],
        recipe: &R,
    ) -> CliResult {
        let reads_texts = self.reads_texts();
        let run = Run {
            folder: args.folder(),
            seed,
            phases: phases(recipe)?,
            examples: self.examples,
            components: self.components,
            flip,
            config,
            device: self.device,
            world: self.world,
        };
        let Some(mut folder) = folder else {
            return plan::print(args, &run, &self.teacher, recipe);
        };
        plan::check_memory(&run, &self.teacher)?;
        let inputs = folder.begin(recipe, phases, &run, &self.teacher)?;
        let uses = Uses {
            prompts: reads_texts,
            extra: self.teacher.network.config().extra_input(),
        };
        let mut result = self.teacher.recipe.clone();
        let phases = run.phases.iter();
        phases.for_each(|phase| phase.method.result(&mut result));
        run_phases(&run, (self.teacher, &inputs), prompts, &mut folder)?;
        let models = run.folder.join("models");
        println!("The models are in {}", models.display());
        let folder = run.folder.display().to_string();
        console::next(format_args!("{}", command_for(&folder, &result, uses)));
        Ok(())
    }
}

/// A model with LoRA added, and with its weights stored in a type.
fn load(
    source: &ModelSource,
    loras: &Loras,
    stored: Precision,
    device: &Device,
) -> CliResult<Model> {
    let model = source.stored_model(stored.into(), device)?;
    loras.add_to(model, device).input_error()
}

/// Whether a teacher takes the latents and the prompt embeddings of the data, whose images have
/// this side if the recipe says one. That may be another than the teacher's, since its U-Net takes
/// latents of any size that it can halve often enough.
fn fits(teacher: &Model, examples: &Examples, side: Option<usize>) -> Result<(), String> {
    let (expected, shape) = (teacher.recipe.resolution, examples.shape());
    let got = [shape.channels, shape.height, shape.width];
    let network = teacher.network.config();
    let fits = expected == got || side.is_some() && expected[0] == got[0];
    if !fits {
        let size = side.map(|side| format!(" = {}", side * expected[1] / got[1]));
        return Err(format!(
            "the teacher takes latents of {expected:?} (channels, height, width) and the data gives {got:?}: set `data.size`{} to match",
            size.unwrap_or_default()
        ));
    }
    let multiple = network.size_multiple();
    if let Some(side) = side.filter(|_| !got[1..].iter().all(|side| side.is_multiple_of(multiple)))
    {
        let factor = side / got[1].max(1);
        return Err(format!(
            "`data.size` is {side}, and the teacher takes images whose sides are multiples of {}",
            multiple * factor
        ));
    }
    let (width, got) = (teacher.network.config().text_width(), examples.text_width());
    match width.zip(got) {
        Some((width, got)) if width != got => Err(format!(
            "the teacher takes prompt embeddings of width {width}, and its text encoder's have width {got}"
        )),
        _ => Ok(()),
    }
}
