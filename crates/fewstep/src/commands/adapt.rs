//! `fewstep adapt`: a few-step student learns what its teacher learns anew.

use super::shared::recipe_kind::Command;
use super::shared::run::RunArgs;
use super::shared::teacher_inputs::{Teacher, TeacherInputs};
use crate::error::{CliError, CliResult, IntoCliResult};
use fewstep_diffusion::Guidance;
use fewstep_distill::World;
use fewstep_distill::recipe::AdaptRecipe;
use fewstep_distill::run::Phase;

/// Teach a few-step student your own images, or a LoRA, and keep its steps.
///
/// Ordinary fine-tuning breaks a student of few steps. Here its teacher learns the images
/// ([fine_tune]) or gets a LoRA of other tools (teacher_lora), and the student learns to land where
/// the changed teacher lands, at the steps, the sampler and the guidance weights that it has. With
/// [lora] both learn a LoRA, which is a small file for other tools too; without it all weights.
///
/// Example: fewstep adapt recipes/fashion-mnist/adapt.toml --set data.path=~/data/fashion-striped
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) run: RunArgs,
}

pub(crate) fn run(args: Args) -> CliResult {
    args.run.processes.together(|world| adapt(&args.run, world))
}

fn adapt(args: &RunArgs, world: &World) -> CliResult {
    args.check_command(Command::Adapt)?;
    args.memory.choose();
    let recipe: AdaptRecipe = args.recipe()?;
    recipe
        .validate()
        .map_err(|e| args.recipe_error(e.to_string()))?;
    let folder = args.open_folder(&recipe.data, &recipe.run, world)?;
    if let Some(folder) = &folder {
        folder.check_recipe(&recipe)?;
    }
    let mut inputs = TeacherInputs::read(
        Teacher {
            model: &recipe.teacher,
            loras: &recipe.teacher_lora,
            clip_skip: recipe.clip_skip,
            image_guidance: None,
            stored: recipe.shared_precision(),
        },
        &recipe.data,
        recipe.condition.as_ref(),
        recipe.flip,
        (args.plan, folder.as_ref()),
        (args.device(&recipe.run, world)?, world),
    )?;
    inputs.check_learnt()?;
    if let (Some(_), Guidance::Input { .. } | Guidance::Fixed { .. }) =
        (&recipe.fine_tune, inputs.teacher.recipe.guidance)
    {
        return Err(CliError::input(
            "the teacher has guidance folded in, which ordinary fine-tuning would undo: give the teacher with two branches that it was distilled from, or remove [fine_tune]",
        ));
    }
    let read = |model: (&str, Option<usize>)| {
        let precisions = (recipe.shared_precision(), recipe.run.precision);
        inputs.start(model, &recipe.teacher_lora, precisions)
    };
    let start = read((&recipe.student, recipe.steps))?;
    let before = recipe.teacher_before.as_deref();
    let before = before
        .map(|reference| read((reference, None)))
        .transpose()?;
    inputs.guide_as(&start.recipe);
    let networks = [&start.network, &inputs.teacher.network];
    args.check_lora(recipe.lora.as_ref(), &networks)?;
    let start = recipe.start(start, &inputs.teacher, before.as_ref());
    let start = start.map_err(|error| args.recipe_error(error.to_string()))?;
    drop(before);
    let phases = |recipe: &AdaptRecipe| Ok(recipe.phases(Some(start.clone())));
    // All phases start from models whose sampler recipe is the teacher's.
    for Phase { method, .. } in phases(&recipe)? {
        method.check(&inputs.teacher).input_error()?;
        method.check_settings(&inputs.teacher).input_error()?;
    }
    inputs.run(
        (args, folder),
        &phases,
        (recipe.seed, recipe.flip, recipe.run.clone()),
        &recipe.prompts,
        &recipe,
    )
}
