//! `fewstep distill`: few-step students from a teacher.

use super::plan;
use super::running::{RunArgs, go, prepare};
use crate::builtin;
use crate::failure::{Failure, Outcome};
use crate::models;
use burn::tensor::Device;
use fewstep_distill::recipe::DistillRecipe;
use fewstep_distill::run::{Run, distill_phases};
use std::sync::Arc;

/// Distil a teacher into few-step students: guidance first, then halving after halving.
///
/// Example: fewstep distill recipes/fashion-mnist/distill.toml --set teacher=runs/teacher/models/teacher
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    run: RunArgs,
}

pub(crate) fn run(args: Args) -> Outcome {
    let recipe: DistillRecipe = args.run.recipe()?;
    recipe.validate().map_err(|e| args.run.complain(e))?;
    let device = Device::flex();
    let teacher = models::load(&recipe.teacher, None, &device)?;
    let dataset = Arc::new(builtin::load_data(&recipe.data)?);
    let shape = [
        dataset.shape.channels,
        dataset.shape.height,
        dataset.shape.width,
    ];
    if shape != teacher.recipe.resolution {
        return Err(Failure::input(format!(
            "the teacher draws pictures of {:?} (channels, height, width) and {} has {shape:?}: set `data.size` and `data.channels` to match",
            teacher.recipe.resolution, dataset.name
        )));
    }
    if dataset.classes.len() != teacher.recipe.classes.len() {
        return Err(Failure::input(format!(
            "the teacher knows {} classes and {} has {}",
            teacher.recipe.classes.len(),
            dataset.name,
            dataset.classes.len()
        )));
    }
    let run = Run {
        folder: args.run.folder(),
        seed: recipe.seed,
        phases: distill_phases(&recipe).map_err(|e| args.run.complain(e))?,
        dataset,
        flip: recipe.flip,
        config: recipe.run,
        device,
    };
    if args.run.dry_run {
        return plan::print(&run, &teacher, &recipe);
    }
    prepare(&run.folder, &recipe, args.run.resume())?;
    go(&run, teacher, args.run.resume())?;
    println!(
        "The students are in {}",
        run.folder.join("models").display()
    );
    Ok(())
}
