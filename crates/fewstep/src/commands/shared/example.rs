//! The command that uses a model.

use crate::tasks::command_of;
use fewstep_diffusion::{DistilledFor, Role, SamplerRecipe, Task};
use fewstep_nn::ExtraInput;

/// How a model is used, besides what its sampler recipe says.
#[derive(Clone, Copy)]
pub(crate) struct Uses {
    /// Whether it generates from prompts.
    pub(crate) prompts: bool,
    /// What its network sees next to the noise.
    pub(crate) extra: Option<ExtraInput>,
}

/// The number of steps to try a model with.
pub(crate) fn steps_of(role: &Role) -> usize {
    match role {
        Role::Student {
            sampler: DistilledFor::Consistency,
            ..
        } => 4,
        Role::Student {
            steps: Some(steps), ..
        } => *steps,
        Role::Student { .. } | Role::Teacher => 32,
    }
}

/// The command to try a model with.
pub(crate) fn command_for(model: &str, recipe: &SamplerRecipe, uses: Uses) -> String {
    let prompt = match uses.prompts {
        true => " --prompt TEXT",
        false => "",
    };
    let steps = steps_of(&recipe.role);
    let extra = uses.extra.map(|extra| match extra {
        ExtraInput::MaskedImage => Task::Inpaint,
        ExtraInput::SourceImage => Task::Instruct,
    });
    let encodes = matches!(
        recipe.role,
        Role::Student {
            sampler: DistilledFor::Encoder,
            ..
        }
    );
    let task = recipe.control.map(|control| control.task).or(extra);
    match task.map(command_of) {
        _ if encodes => format!(
            "fewstep restyle --encoder {model} --decoder STUDENT --image FILE --from CLASS --to CLASS"
        ),
        Some("inpaint") => format!(
            "fewstep inpaint --model {model} --steps {steps} --image FILE --mask FILE{prompt} --out filled.png"
        ),
        Some(command) => format!(
            "fewstep {command} --model {model} --steps {steps} --image FILE{prompt} --out {command}.png"
        ),
        None => format!("fewstep sample --model {model} --steps {steps}{prompt} --out samples.png"),
    }
}
