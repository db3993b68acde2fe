//! The facts about a recipe.

use super::fields::Fields;
use crate::commands::shared::recipe_kind::{RecipeKind, wrong_method};
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::numbers::thousands;
use fewstep_data::{DataConfig, Split};
use fewstep_distill::recipe::{
    AdaptRecipe, DistillRecipe, MethodName, PhaseRecipe, TeacherLora, TrainRecipe, parse,
};
use fewstep_distill::run::Phase;
use serde::Serialize;
use std::path::Path;

/// What a recipe does.
pub(super) struct Plan {
    pub(super) purpose: String,
    /// The command that runs it.
    command: &'static str,
    data: DataConfig,
    pub(super) seed: u64,
    pub(super) phases: Vec<Phase>,
}

/// The facts about a recipe file; as JSON for scripts.
#[derive(Serialize)]
pub(super) struct Facts {
    kind: &'static str,
    recipe: String,
    purpose: String,
    command: &'static str,
    data: String,
    seed: u64,
    phases: Vec<Planned>,
}

#[derive(Serialize)]
struct Planned {
    phase: String,
    updates: u64,
    batch: usize,
}

impl Facts {
    pub(super) fn gather(file: &Path) -> CliResult<Self> {
        let origin = file.display().to_string();
        let text = fewstep_data::read_text(file).input_error()?;
        let plan = Plan::read(&text, &origin)?;
        Ok(Self {
            kind: "recipe",
            recipe: origin,
            data: plan.data(),
            purpose: plan.purpose,
            command: plan.command,
            seed: plan.seed,
            phases: plan.phases.iter().map(Planned::of).collect(),
        })
    }

    pub(super) fn fields(&self) -> Fields {
        let mut fields = Fields::default();
        fields.add("Recipe", &*self.recipe);
        fields.add("Purpose", &*self.purpose);
        fields.add("Data", &*self.data);
        fields.add("Seed", self.seed.to_string());
        let width = self.phases.iter().map(|p| p.phase.len()).max().unwrap_or(0);
        let lines = self.phases.iter().map(|planned| {
            format!(
                "{:width$}  {} updates of {} samples",
                planned.phase,
                thousands(planned.updates),
                planned.batch
            )
        });
        fields.add_all("Phases", lines);
        fields.add("Try", format!("fewstep {} {}", self.command, self.recipe));
        fields
    }
}

impl Planned {
    fn of(phase: &Phase) -> Self {
        Self {
            phase: phase.name.clone(),
            updates: phase.updates,
            batch: phase.optim.batch,
        }
    }
}

impl Plan {
    /// Reads the text of a recipe; its keys say which kind it is.
    pub(super) fn read(text: &str, origin: &str) -> CliResult<Self> {
        let invalid = |error: &dyn std::fmt::Display| CliError::input(format!("{origin}: {error}"));
        let keys: toml::Table = parse(text, origin).input_error()?;
        let kind = RecipeKind::of(&keys).unwrap_or(RecipeKind::Teacher);
        if kind == RecipeKind::Teacher {
            let recipe: TrainRecipe = parse(text, origin).input_error()?;
            recipe.validate().map_err(|error| invalid(&error))?;
            return Ok(Self {
                purpose: match &recipe.text {
                    Some(_) => "train a teacher that generates from prompts".into(),
                    None => "train a teacher".into(),
                },
                command: "train",
                phases: recipe.phases(),
                data: recipe.data,
                seed: recipe.seed,
            });
        }
        if kind == RecipeKind::Adapt {
            let recipe: AdaptRecipe = parse(text, origin).input_error()?;
            recipe.validate().map_err(|error| invalid(&error))?;
            let teacher = named(&recipe.teacher, &recipe.teacher_lora);
            return Ok(Self {
                purpose: match recipe.fine_tune {
                    Some(_) => format!(
                        "teach the student {} and its teacher {teacher} new images",
                        recipe.student
                    ),
                    None => format!("let the student {} follow {teacher}", recipe.student),
                },
                command: "adapt",
                phases: recipe.phases(None),
                data: recipe.data,
                seed: recipe.seed,
            });
        }
        if let Some(wrong) = wrong_method(&keys) {
            return Err(invalid(&wrong));
        }
        if kind == RecipeKind::OnePhase {
            let recipe: PhaseRecipe = parse(text, origin).input_error()?;
            recipe.validate().map_err(|error| invalid(&error))?;
            return Ok(Self {
                purpose: match recipe.student() {
                    Some(student) => {
                        let verb = match recipe.method {
                            MethodName::Adversarial => "train against a discriminator",
                            _ => "match",
                        };
                        format!("{verb} the student {} with the teacher ", student.reference)
                    }
                    None => "adapt the teacher ".into(),
                } + &named(&recipe.teacher, &recipe.teacher_lora),
                command: "distill",
                phases: recipe.phases(None, None),
                data: recipe.data,
                seed: recipe.seed,
            });
        }
        let recipe: DistillRecipe = parse(text, origin).input_error()?;
        recipe.validate().map_err(|error| invalid(&error))?;
        Ok(Self {
            purpose: format!(
                "distil the teacher {}",
                named(&recipe.teacher, &recipe.teacher_lora)
            ),
            command: "distill",
            phases: recipe.phases().map_err(|error| invalid(&error))?,
            data: recipe.data,
            seed: recipe.seed,
        })
    }

    /// The data in words.
    pub(super) fn data(&self) -> String {
        let part = match self.data.split {
            Split::Train => "to train on",
            Split::Test => "held out",
        };
        format!("{}, the part {part}", self.data.path.display())
    }
}

/// A teacher with its LoRA.
fn named(teacher: &str, loras: &[TeacherLora]) -> String {
    let loras = loras.iter().map(|lora| format!(" + LoRA {}", lora.name()));
    format!("{teacher}{}", loras.collect::<String>())
}
