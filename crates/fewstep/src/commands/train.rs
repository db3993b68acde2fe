//! `fewstep train`: a teacher from data.

use super::shared::captioned::{self, Wanted};
use super::shared::plan;
use super::shared::recipe_kind::Command;
use super::shared::run::{RunArgs, run_phases};
use super::shared::run_folder::RunFolder;
use crate::builtin;
use crate::console;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::output::cache_folder;
use fewstep_data::Examples;
use fewstep_distill::recipe::{TextConfig, TrainRecipe};
use fewstep_distill::run::Run;
use fewstep_distill::{Copies, World};
use fewstep_formats::{Model, PipelineComponents, RepositoryKind};
use fewstep_generate::find_part;
use fewstep_nn::Backbone;
use std::sync::Arc;

/// Train a teacher for classifier-free guidance.
///
/// With a [text] section the teacher is a latent model that learns from captions. The autoencoder
/// and the text encoder of that section encode the captioned images once, into a file in the cache
/// folder.
///
/// Several processes that a launcher starts (mpirun, srun, torchrun) train together, each with its
/// share of every batch; the result is that of one. This needs a build with the feature `mpi`, or
/// `nccl` for NVIDIA GPUs.
///
/// Example: fewstep train recipes/fashion-mnist/teacher.toml --set data.path=~/data/fashion-mnist
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) run: RunArgs,
}

pub(crate) fn run(args: Args) -> CliResult {
    args.run.processes.together(|world| train(&args, world))
}

fn train(args: &Args, world: &World) -> CliResult {
    args.run.check_command(Command::Train)?;
    args.run.memory.choose();
    let mut recipe: TrainRecipe = args.run.recipe()?;
    recipe
        .validate()
        .map_err(|e| args.run.recipe_error(e.to_string()))?;
    let device = args.run.device(&recipe.run, world)?;
    let folder = args.run.open_folder(&recipe.data, &recipe.run, world)?;
    let started = folder.as_ref().map_or(Ok(None), RunFolder::stored)?;
    recipe.complete(started.as_ref());
    if let Some(folder) = &folder {
        folder.check_recipe(&recipe)?;
    }
    let (examples, components) = match &recipe.text {
        None => (images(&recipe)?, None),
        Some(text) => {
            let assembled = |first: bool| assemble(text, &args.run, folder.as_ref(), first);
            let components = world.first_at_rank_0(|| assembled(world.is_first()))??;
            let fits = |examples: &Examples| {
                let shape = examples.shape();
                let network = recipe.network_of(shape, examples.text_width(), 0);
                network.map(drop).map_err(|error| {
                    let shape = [shape.channels, shape.height, shape.width];
                    CliError::input(format!(
                        "the data gives latents of {shape:?} (channels, height, width): {error}"
                    ))
                })
            };
            let examples = captioned::examples(&Wanted {
                data: &recipe.data,
                condition: None,
                components: &components,
                copies: Copies {
                    mirrored: recipe.flip,
                    extra: None,
                },
                fits: &fits,
                run: folder.as_ref(),
                device: &device,
                world,
                planned: args.run.plan,
            })?;
            (examples, Some(components))
        }
    };
    let network = recipe.network_for(&examples).input_error()?;
    let initial = Model {
        network: Backbone::new(&network, recipe.seed, &device).input_error()?,
        recipe: recipe.sampler_recipe(&examples),
    };
    let run = Run {
        folder: args.run.folder(),
        seed: recipe.seed,
        phases: recipe.phases(),
        examples,
        components,
        flip: recipe.flip,
        config: recipe.run.clone(),
        device,
        world: world.clone(),
    };
    let Some(mut folder) = folder else {
        return plan::print(&args.run, &run, &initial, &recipe);
    };
    plan::check_memory(&run, &initial)?;
    let phases = |recipe: &TrainRecipe| Ok(recipe.phases());
    let inputs = folder.begin(&recipe, &phases, &run, &initial)?;
    let prompts = recipe.text.map(|text| text.prompts).unwrap_or_default();
    run_phases(&run, (initial, &inputs), &prompts, &mut folder)?;
    let teacher = run.model_folder(&run.phases[0]);
    println!("The teacher is in {}", teacher.display());
    console::next(format_args!(
        "fewstep distill RECIPE --set teacher={}",
        teacher.display()
    ));
    Ok(())
}

/// Puts the autoencoder and the text encoder of the recipe together into one folder inside the run.
fn assemble(
    text: &TextConfig,
    args: &RunArgs,
    run: Option<&RunFolder>,
    first: bool,
) -> CliResult<PipelineComponents> {
    let folder = match run {
        None => cache_folder()
            .unwrap_or_else(std::env::temp_dir)
            .join("dry-run"),
        Some(_) => args.folder().join("parts"),
    };
    let made = !first || run.is_some_and(RunFolder::resume);
    if made && folder.join("model_index.json").is_file() {
        return PipelineComponents::open(&folder).input_error();
    }
    let autoencoder = find_part(&text.autoencoder, RepositoryKind::Autoencoder)?;
    let encoder = find_part(&text.encoder, RepositoryKind::TextEncoder)?;
    PipelineComponents::assemble(&autoencoder, &encoder, text.length, &folder).input_error()
}

fn images(recipe: &TrainRecipe) -> CliResult<Examples> {
    let dataset = builtin::load_data(&recipe.data)?;
    Ok(Examples::images(Arc::new(dataset)))
}
