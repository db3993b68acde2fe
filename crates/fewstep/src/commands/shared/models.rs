//! Models by the name that a user gives.

use crate::console;
use crate::error::CliResult;
use crate::numbers::plural;
use fewstep_generate::{Candidate, Choice, ModelSource};

/// Finds a model. Where several have this name and none was asked for exactly, says which of them
/// was taken.
pub(crate) fn find(reference: &str, steps: Option<usize>) -> CliResult<ModelSource> {
    let (source, choice) = ModelSource::choose(reference, steps)?;
    if let Some(note) = note(reference, steps, &choice) {
        console::note(format_args!("{note}"));
    }
    Ok(source)
}

fn note(reference: &str, steps: Option<usize>, choice: &Choice) -> Option<String> {
    let taken = &choice.taken;
    let alike = |other: &&Candidate| other.steps.is_some() && other.steps == taken.steps;
    let alike = choice.others.iter().find(alike);
    if let (Some(other), true) = (alike, taken.steps == steps) {
        return Some(format!(
            "{reference} has several models for {}, and {} is taken; the other is {reference}/models/{}",
            plural(steps.unwrap_or_default(), "step"),
            taken.name,
            other.name
        ));
    }
    if choice.others.is_empty() || steps.is_some() && taken.steps == steps {
        return None;
    }
    let others: Vec<String> = choice.others.iter().map(described).collect();
    // Where a command has no --steps, as for the teacher of a recipe, the name does it.
    let another = match reference.starts_with("builtin:") {
        true => "--steps chooses".into(),
        false => {
            let run = reference.trim_end_matches('/');
            format!("--steps chooses, or the name {run}/models/NAME")
        }
    };
    Some(format!(
        "{reference} has several models, and {} is taken; there {} also {} ({another})",
        described(taken),
        if others.len() == 1 { "is" } else { "are" },
        others.join(", ")
    ))
}

/// A model with its steps, unless its name says them.
fn described(model: &Candidate) -> String {
    let Some(steps) = model.steps else {
        return format!("{} for any number of steps", model.name);
    };
    match model.name.ends_with(&format!("steps-{steps}")) {
        true => model.name.clone(),
        false => format!("{} for {}", model.name, plural(steps, "step")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_what_was_taken_and_what_else_there_is() {
        let model = |name: &str, steps| Candidate {
            name: name.into(),
            steps,
        };
        let choice = Choice {
            taken: model("steps-4", Some(4)),
            others: vec![model("guided", None), model("steps-1", Some(1))],
        };
        let said = note("runs/x", Some(3), &choice).unwrap_or_default();
        assert_eq!(
            said,
            "runs/x has several models, and steps-4 is taken; there are also guided for any number of steps, steps-1 (--steps chooses, or the name runs/x/models/NAME)"
        );
        let builtin = note("builtin:x", None, &choice).unwrap_or_default();
        assert!(builtin.ends_with("(--steps chooses)"), "{builtin}");
        assert!(note("runs/x", None, &choice).is_some());
        assert_eq!(note("runs/x", Some(4), &choice), None);
        let matched = Choice {
            taken: model("matched-steps-4", Some(4)),
            others: vec![model("guided", None), model("steps-4", Some(4))],
        };
        assert_eq!(
            note("runs/x", Some(4), &matched).unwrap_or_default(),
            "runs/x has several models for 4 steps, and matched-steps-4 is taken; the other is runs/x/models/steps-4"
        );
        let only = Choice {
            others: vec![],
            ..choice
        };
        assert_eq!(note("runs/x", None, &only), None);
    }
}
