//! What a quickstart that is resumed may not change: what a later run of it started from.

use super::matching::Matching;
use crate::error::{CliError, CliResult};
use crate::numbers::plural;
use fewstep_distill::recipe::DistillRecipe;
use fewstep_distill::run::{Phase, is_run};
use std::path::Path;

/// Checks the settings of a run in this folder, with the phases of all halvings to the end. It begins
/// with those of a recipe, stored and as it is now.
///
/// # Errors
/// When a student was matched, and is to be another now or none, or the student that it started from
/// is to be another.
pub(super) fn check(
    (folder, whole): (&Path, &[Phase]),
    matching: Option<&Matching>,
    (stored, now): (Option<&DistillRecipe>, &DistillRecipe),
) -> CliResult {
    let refused = |reason: String| Err(CliError::input(reason));
    let students = whole.iter().filter_map(|phase| phase.method.steps());
    for steps in students.filter(|steps| is_run(&Matching::folder(folder, *steps))) {
        match matching {
            Some(matching) if matching.steps == steps => {}
            Some(_) => {
                return refused(format!(
                    "{} has matched its student of {}: resume it with --set-matching matching.steps={steps}",
                    folder.display(),
                    plural(steps, "step")
                ));
            }
            None => {
                return refused(format!(
                    "{} has a matched student: resume it without --plain",
                    folder.display()
                ));
            }
        }
        let updates = |recipe: &DistillRecipe| {
            let guided = recipe.guided.as_ref().map(|guided| guided.updates);
            let halvings = recipe.progressive.as_ref();
            (guided, halvings.map(|halvings| halvings.updates.clone()))
        };
        if stored.is_some_and(|stored| updates(stored) != updates(now)) {
            return refused(format!(
                "{} has a matched student, and those before it cannot have other updates now: resume it with the ones in its recipe.toml",
                folder.display()
            ));
        }
    }
    Ok(())
}
