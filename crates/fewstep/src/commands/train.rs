//! `fewstep train`: a teacher from data.

use super::plan;
use super::running::{RunArgs, go, prepare};
use crate::builtin;
use crate::failure::{Blame, Outcome};
use burn::tensor::Device;
use fewstep_distill::recipe::TrainRecipe;
use fewstep_distill::run::{Run, train_phases};
use fewstep_formats::Model;
use fewstep_nn::UNet;
use std::sync::Arc;

/// Train a teacher with classifier-free guidance.
///
/// Example: fewstep train recipes/fashion-mnist/teacher.toml --set data.path=~/data/fashion-mnist
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    run: RunArgs,
}

pub(crate) fn run(args: Args) -> Outcome {
    let recipe: TrainRecipe = args.run.recipe()?;
    recipe.validate().map_err(|e| args.run.complain(e))?;
    let dataset = Arc::new(builtin::load_data(&recipe.data)?);
    let network = recipe.network_for(&dataset).blame_input()?;
    let device = Device::flex();
    let initial = Model {
        network: UNet::new(&network, recipe.seed, &device).blame_input()?,
        recipe: recipe.sampler_recipe(&dataset),
    };
    let run = Run {
        folder: args.run.folder(),
        seed: recipe.seed,
        phases: train_phases(&recipe),
        dataset,
        flip: recipe.flip,
        config: recipe.run,
        device,
    };
    if args.run.dry_run {
        return plan::print(&run, &initial, &recipe);
    }
    prepare(&run.folder, &recipe, args.run.resume())?;
    go(&run, initial, args.run.resume())?;
    println!(
        "The teacher is in {}",
        run.model_folder(&run.phases[0]).display()
    );
    Ok(())
}
