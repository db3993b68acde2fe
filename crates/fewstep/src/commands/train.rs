//! `fewstep train`: a teacher from data.

use super::shared::run::{RunArgs, prepare, run_phases};
use super::shared::{captioned, plan};
use crate::builtin;
use crate::compute;
use crate::error::{CliResult, IntoCliResult};
use crate::output::cache_folder;
use fewstep_data::{Examples, LatentsHeader};
use fewstep_distill::Copies;
use fewstep_distill::recipe::{TextConfig, TrainRecipe};
use fewstep_distill::run::{Run, is_run};
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
/// Example: fewstep train recipes/fashion-mnist/teacher.toml --set data.path=~/data/fashion-mnist
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) run: RunArgs,
}

pub(crate) fn run(args: Args) -> CliResult {
    args.run.memory.choose();
    let recipe: TrainRecipe = args.run.recipe()?;
    recipe
        .validate()
        .map_err(|e| args.run.recipe_error(e.to_string()))?;
    let device = compute::device_of_run(&recipe.run)?;
    let folder = args.run.folder();
    if is_run(&folder) && !args.run.dry_run {
        prepare(&folder, &recipe, args.run.resume())?;
    }
    let (examples, components) = match &recipe.text {
        None => (images(&recipe)?, None),
        Some(text) => {
            let components = assemble(text, &args.run)?;
            let fits = |header: &LatentsHeader| {
                let network = recipe.network_of(header.shape(), Some(header.states[1]), 0);
                network.map(drop).map_err(|error| {
                    format!(
                        "the data gives latents of {:?} (channels, height, width): {error}",
                        header.latent
                    )
                })
            };
            let copies = Copies {
                mirrored: recipe.flip,
                masks: None,
            };
            let data = &recipe.data;
            let planned = args.run.plan;
            let examples =
                captioned::examples(data, None, &components, copies, &fits, &device, planned)?;
            (examples, Some(components))
        }
    };
    let network = recipe.network_for(&examples).input_error()?;
    let initial = Model {
        network: Backbone::new(&network, recipe.seed, &device).input_error()?,
        recipe: recipe.sampler_recipe(&examples),
    };
    let run = Run {
        folder,
        seed: recipe.seed,
        phases: recipe.phases(),
        examples,
        components,
        flip: recipe.flip,
        config: recipe.run,
        device,
    };
    if args.run.dry_run {
        return plan::print(&args.run, &run, &initial, &recipe);
    }
    plan::check_memory(&run, &initial)?;
    prepare(&run.folder, &recipe, args.run.resume())?;
    let prompts = recipe.text.map(|text| text.prompts).unwrap_or_default();
    run_phases(&run, initial, &prompts, args.run.resume())?;
    println!(
        "The teacher is in {}",
        run.model_folder(&run.phases[0]).display()
    );
    Ok(())
}

/// Puts the autoencoder and the text encoder of the recipe together into one folder inside the run.
fn assemble(text: &TextConfig, args: &RunArgs) -> CliResult<PipelineComponents> {
    let folder = match args.dry_run {
        true => cache_folder()
            .unwrap_or_else(std::env::temp_dir)
            .join("dry-run"),
        false => args.folder().join("parts"),
    };
    if args.resume() && folder.join("model_index.json").is_file() {
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
