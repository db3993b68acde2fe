//! The halvings that go on from the matched student: a run of its own, whose folder is in that of the
//! first halvings.

use super::matching::Matching;
use super::training::Training;
use crate::commands::shared::plan;
use crate::commands::shared::run_folder::RunFolder;
use crate::error::{CliError, CliResult, IntoCliResult};
use fewstep_distill::World;
use fewstep_distill::recipe::{DistillRecipe, RunConfig};
use fewstep_distill::run::{Phase, Run, is_run};
use fewstep_formats::Model;
use std::path::PathBuf;

/// The students that are halved from the matched one.
pub(super) struct Onward {
    pub(super) recipe: DistillRecipe,
    pub(super) phases: Vec<Phase>,
    /// The folder of its run.
    pub(super) folder: PathBuf,
    /// The folder that their models have next to those of the other students.
    models: PathBuf,
}

/// The recipe up to the student that is matched, and the halvings that go on from the matched one; the
/// former is the whole where no halving follows.
///
/// # Errors
/// When the halvings cannot go on with the settings of the matched student.
pub(super) fn split(
    whole: &DistillRecipe,
    matching: &Matching,
) -> CliResult<(DistillRecipe, Option<Onward>)> {
    let halvings = whole.progressive.as_ref();
    let parts = halvings.and_then(|halvings| halvings.split_at(matching.steps));
    let Some([before, after]) = parts else {
        return Ok((whole.clone(), None));
    };
    let before = DistillRecipe {
        progressive: Some(before),
        ..whole.clone()
    };
    let mut recipe = DistillRecipe {
        teacher: matching.model().display().to_string(),
        w: matching.recipe.w,
        guided: None,
        progressive: Some(after),
        run: RunConfig {
            // Its folder is in one that is copied.
            mirror: None,
            ..whole.run.clone()
        },
        ..whole.clone()
    };
    recipe.complete(None);
    recipe.validate().map_err(CliError::input)?;
    let onward = Onward {
        phases: phases(&recipe)?,
        recipe,
        folder: matching.onward(),
        models: matching.models.clone(),
    };
    Ok((before, Some(onward)))
}

/// The phases, with names by which they are not taken for those of plain students.
fn phases(recipe: &DistillRecipe) -> CliResult<Vec<Phase>> {
    let phases = recipe.phases().map_err(CliError::input)?;
    let matched = phases.into_iter().map(|phase| Phase {
        name: format!("matched-{}", phase.name),
        ..phase
    });
    Ok(matched.collect())
}

impl Onward {
    /// Halves the matched student, and leaves the new ones next to it. `before` is the run of the
    /// first halvings.
    pub(super) fn train(
        &self,
        matched: &Model,
        before: &Run,
        resume: bool,
        training: &mut Training<'_>,
    ) -> CliResult<Vec<Model>> {
        // The run of the matched student may have been stopped before this one began.
        let resume = resume && is_run(&self.folder);
        let folder = RunFolder::open(&self.folder, resume, None, &World::default())?;
        let run = Run {
            folder: self.folder.clone(),
            seed: self.recipe.seed,
            phases: self.phases.clone(),
            examples: before.examples.clone(),
            components: None,
            flip: self.recipe.flip,
            config: self.recipe.run.clone(),
            device: before.device.clone(),
            world: World::default(),
        };
        plan::check_memory(&run, matched)?;
        let inputs = folder.begin(&self.recipe, &phases, &run, matched)?;
        let students = training.train(&run, (matched, &inputs), resume)?;
        for (student, phase) in students.iter().zip(&self.phases) {
            student.save(&self.models.join(&phase.name)).input_error()?;
        }
        Ok(students)
    }
}
