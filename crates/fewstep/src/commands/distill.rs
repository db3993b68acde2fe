//! `fewstep distill`: few-step students from a teacher.

use super::shared::recipe_kind::{Command, RecipeKind};
use super::shared::run::RunArgs;
use super::shared::run_folder::RunFolder;
use super::shared::teacher_inputs::{Teacher, TeacherInputs};
use crate::error::CliResult;
use fewstep_diffusion::Guidance;
use fewstep_distill::World;
use fewstep_distill::method::{GuidanceWeights, StartModel};
use fewstep_distill::recipe::{
    DistillRecipe, FewStepStudent, PhaseRecipe, TEXT_WEIGHTS, default_w_embedding,
};

/// Distil a teacher into few-step students.
///
/// A recipe without `method` is guided distillation: it folds guidance into one network, then
/// halves the steps again and again. With method = "codi" a model learns to generate from control
/// images (a smaller image, a masked one, edges, a depth map) in 1 to 4 steps. With "consistency"
/// it learns only the few steps, with "denoising" only the control images. With "matching" a
/// student of few steps learns to generate as the teacher's samples are distributed, with
/// "adversarial" to be taken for real images.
///
/// A latent diffusion model such as Stable Diffusion is distilled on captioned images (data.kind =
/// "captioned"), a class-conditional one on labelled images, an inpainting model with random masks
/// ([condition] with kind = "inpaint"), and one that edits by instruction (InstructPix2Pix) on images
/// before and after an edit ([condition] with kind = "instruct").
///
/// Several processes that a launcher starts (mpirun, srun, torchrun) train together, each with its
/// share of every batch; the result is that of one. This needs a build with the feature `mpi`, or
/// `nccl` for NVIDIA GPUs.
///
/// Example: fewstep distill recipes/fashion-mnist/distill.toml --set
/// teacher=runs/teacher/models/teacher
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) run: RunArgs,
}

pub(crate) fn run(args: Args) -> CliResult {
    args.run.processes.together(|world| {
        args.run.check_command(Command::Distill)?;
        args.run.memory.choose();
        match args.run.distillation()? {
            RecipeKind::OnePhase => one_phase(&args.run, world),
            RecipeKind::Guided | RecipeKind::Teacher | RecipeKind::Adapt => halve(&args.run, world),
        }
    })
}

fn halve(args: &RunArgs, world: &World) -> CliResult {
    let mut recipe: DistillRecipe = args.recipe()?;
    recipe
        .validate()
        .map_err(|e| args.recipe_error(e.to_string()))?;
    let folder = args.open_folder(&recipe.data, &recipe.run, world)?;
    let started = folder.as_ref().map_or(Ok(None), RunFolder::stored)?;
    let is_new = started.is_none();
    recipe.complete(started.as_ref());
    if let Some((folder, started)) = folder.as_ref().zip(started) {
        // Weights that the recipe does not set follow from the teacher, and are checked with it.
        folder.check_recipe(&DistillRecipe {
            w: recipe.w.or(started.w),
            ..recipe.clone()
        })?;
    }
    let inputs = TeacherInputs::read(
        Teacher {
            model: &recipe.teacher,
            loras: &recipe.teacher_lora,
            clip_skip: recipe.clip_skip,
            image_guidance: recipe.image_guidance,
            stored: recipe.shared_precision(),
        },
        &recipe.data,
        recipe.condition.as_ref(),
        recipe.flip,
        (args.plan, folder.as_ref()),
        (args.device(&recipe.run, world)?, world),
    )?;
    inputs.check_learnt()?;
    if is_new {
        let embedding = default_w_embedding(inputs.reads_texts());
        recipe.w_embedding.get_or_insert(embedding);
    }
    args.check_lora(recipe.lora.as_ref(), &[&inputs.teacher.network])?;
    let guidance = inputs.teacher.recipe.guidance;
    if recipe.w.is_none() {
        recipe.w = default_weights(guidance, inputs.components.is_some());
    }
    recipe
        .check_guidance(guidance)
        .map_err(|e| args.recipe_error(e.to_string()))?;
    let phases = |recipe: &DistillRecipe| {
        let phases = recipe.phases();
        phases.map_err(|error| args.recipe_error(error.to_string()))
    };
    inputs.run(
        (args, folder),
        &phases,
        (recipe.seed, recipe.flip, recipe.run.clone()),
        &recipe.prompts,
        &recipe,
    )
}

fn one_phase(args: &RunArgs, world: &World) -> CliResult {
    let mut recipe: PhaseRecipe = args.recipe()?;
    recipe
        .validate()
        .map_err(|e| args.recipe_error(e.to_string()))?;
    let folder = args.open_folder(&recipe.data, &recipe.run, world)?;
    let started = folder.as_ref().map_or(Ok(None), RunFolder::stored)?;
    let is_new = started.is_none();
    recipe.complete(started.as_ref());
    if let Some(folder) = &folder {
        folder.check_recipe(&recipe)?;
    }
    let mut inputs = TeacherInputs::read(
        Teacher {
            model: &recipe.teacher,
            loras: &recipe.teacher_lora,
            clip_skip: recipe.clip_skip,
            image_guidance: recipe.image_guidance,
            stored: recipe.shared_precision(),
        },
        &recipe.data,
        recipe.condition.as_ref(),
        recipe.flip,
        (args.plan, folder.as_ref()),
        (args.device(&recipe.run, world)?, world),
    )?;
    if is_new {
        let embedding = default_w_embedding(inputs.reads_texts());
        recipe.w_embedding.get_or_insert(embedding);
    }
    let start = match recipe.student() {
        None => None,
        Some(FewStepStudent {
            reference, steps, ..
        }) => {
            inputs.check_learnt()?;
            let precisions = (recipe.shared_precision(), recipe.run.precision);
            let start = inputs.start((reference, steps), &[], precisions)?;
            inputs.guide_as(&start.recipe);
            Some(StartModel::from(start))
        }
    };
    let networks = start.iter().map(|start| &start.network);
    let networks: Vec<_> = networks.chain([&inputs.teacher.network]).collect();
    args.check_lora(recipe.lora.as_ref(), &networks)?;
    let examples = inputs.examples.clone();
    let phases = |recipe: &PhaseRecipe| Ok(recipe.phases(examples.conditions(), start.clone()));
    inputs.run(
        (args, folder),
        &phases,
        (recipe.seed, recipe.flip, recipe.run.clone()),
        &[],
        &recipe,
    )
}

/// The guidance weights of a student whose recipe sets none: its teacher's, and the usual ones for
/// a latent teacher with classifier-free guidance.
fn default_weights(teacher: Guidance, latent: bool) -> Option<GuidanceWeights> {
    match teacher {
        Guidance::Input { w_min, w_max, .. } => Some(GuidanceWeights::Range([w_min, w_max])),
        Guidance::Fixed { w } => Some(GuidanceWeights::Single(w)),
        Guidance::ClassifierFree => latent.then_some(TEXT_WEIGHTS),
        Guidance::None => None,
    }
}
