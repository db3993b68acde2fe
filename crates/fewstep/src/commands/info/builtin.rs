//! The models that are built into the program.

use super::model;
use crate::console;
use crate::error::CliResult;
use burn::tensor::Device;
use fewstep_generate::{ModelSource, builtin_models};
use serde::Serialize;

/// A builtin model; as JSON for scripts.
#[derive(Serialize)]
struct Facts {
    model: String,
    steps: Vec<usize>,
    role: String,
    classes: usize,
    /// Channels, height and width.
    images: [usize; 3],
}

pub(super) fn print(json: bool) -> CliResult {
    let mut all = vec![];
    for builtin in builtin_models() {
        let steps = builtin.steps.last().copied();
        let source = ModelSource::find(&builtin.name, steps)?;
        let recipe = source.model(&Device::flex())?.recipe;
        all.push(Facts {
            model: builtin.name,
            role: match &builtin.steps[..] {
                [] | [_] => model::role(&recipe.role),
                steps => format!(
                    "students in {} steps",
                    steps
                        .iter()
                        .map(usize::to_string)
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            },
            steps: builtin.steps,
            classes: recipe.classes.len(),
            images: recipe.resolution,
        });
    }
    if json {
        println!("{:#}", serde_json::json!(all));
        return Ok(());
    }
    let width = all.iter().map(|facts| facts.model.len()).max().unwrap_or(0);
    for facts in &all {
        let [_, height, side] = facts.images;
        println!(
            "{:width$}  {}; {side}x{height}, {} classes",
            facts.model, facts.role, facts.classes
        );
    }
    console::next(format_args!("fewstep info {} --steps 4", all[0].model));
    Ok(())
}
