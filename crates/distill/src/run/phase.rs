//! A phase of a run: one method, from the model before it to the next.

use crate::method::{Method, MethodError, Objective, Teacher, check_prediction};
use crate::optim::OptimConfig;
use fewstep_diffusion::{DiffusionModel, Schedule};
use fewstep_formats::Model;
use fewstep_nn::{Backbone, LoraConfig, Precision, TrainedPart};
use std::sync::Arc;

/// One phase: one method, from the model before it to the next.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Name of the phase and of the model that comes out.
    pub name: String,
    /// What is learnt.
    pub method: Arc<dyn Method>,
    /// LoRA to train instead of all of the student.
    pub lora: Option<LoraConfig>,
    /// Whether the student keeps the dropout of the network before it. Students of teachers have
    /// none: their targets are exact, and a network with masks would learn to miss them.
    pub dropout: bool,
    /// The type of the frozen teacher's weights.
    pub teacher_precision: Precision,
    /// How.
    pub optim: OptimConfig,
    /// Where a recipe has these settings, for messages: `guided.optim`.
    pub optim_key: &'static str,
    /// For how long.
    pub updates: u64,
}

impl Phase {
    /// Samples that the phase sees.
    pub fn samples(&self) -> u64 {
        self.updates * self.optim.batch as u64
    }

    /// The learning rate of the student's last turn up to an update, which is counted from 0.
    pub(super) fn lr_of(&self, update: u64) -> f64 {
        let turn = self.method.turn();
        let own = turn.count(update + 1).saturating_sub(1);
        self.optim.learning_rate(own, turn.count(self.updates))
    }

    /// What of the student is trained.
    pub(super) fn trained_part(&self) -> TrainedPart {
        match self.lora {
            Some(_) => TrainedPart::Lora,
            None => self.method.trained_part(),
        }
    }

    /// Freezes what is not trained.
    pub(super) fn freeze(&self) -> fn(Backbone) -> Backbone {
        match self.trained_part() {
            TrainedPart::All => |network| network,
            TrainedPart::AllButConvolutions => Backbone::freeze_convolutions,
            TrainedPart::ControlNet => Backbone::freeze_base,
            TrainedPart::Lora => Backbone::freeze_all_but_lora,
        }
    }

    /// Whether the teacher has its LoRA in its weights: where memory is short, it has not.
    pub(super) fn merges_teacher(&self) -> bool {
        !self.optim.gradient_checkpointing
    }

    /// The type that the weights of the student are stored in: with LoRA it has the teacher's.
    pub(super) fn stored_precision(&self) -> Precision {
        match self.lora {
            Some(_) => self.teacher_precision,
            None => Precision::F32,
        }
    }

    pub(super) fn teacher<'a>(&'a self, base: &'a Model) -> Teacher<'a> {
        Teacher {
            model: base,
            precision: self.teacher_precision,
            merged: self.merges_teacher(),
            lora: self.lora.as_ref(),
        }
    }

    /// The same for a plan, which copies no weights.
    pub(super) fn planned_teacher<'a>(&'a self, base: &'a Model) -> Teacher<'a> {
        Teacher {
            precision: Precision::F32,
            merged: false,
            ..self.teacher(base)
        }
    }

    /// Checks the settings of a new run against the model that this phase starts from.
    pub(super) fn check_settings(&self, base: &Model) -> Result<(), MethodError> {
        self.method.check_settings(base)?;
        let mut recipe = base.recipe.clone();
        self.method.result(&mut recipe);
        check_prediction(&base.recipe, &recipe, self.trained_part())
    }

    /// The student at the start of the phase, with the LoRA that the phase trains.
    pub(super) fn student(&self, base: &Model, seed: u64) -> Result<Backbone, MethodError> {
        self.method.check(base)?;
        let network = self.method.student(base, seed)?;
        let network = match self.dropout {
            true => network,
            false => network.without_dropout(),
        };
        match &self.lora {
            Some(lora) if network.lora().is_none() => network
                .with_lora(lora, seed)
                .map_err(|error| MethodError::Teacher(error.to_string())),
            _ => Ok(network),
        }
    }

    /// The student as a model.
    pub(super) fn model(
        &self,
        base: &Model,
        student: Backbone,
    ) -> Result<DiffusionModel<Backbone>, MethodError> {
        let mut recipe = base.recipe.clone();
        self.method.result(&mut recipe);
        Ok(DiffusionModel {
            network: student,
            schedule: Schedule::new(recipe.schedule)
                .map_err(|e| MethodError::Teacher(e.to_string()))?,
            prediction: recipe.prediction,
        })
    }

    /// What the student learns, with the model before this phase as its frozen teacher.
    pub(super) fn objective(&self, base: &Model) -> Result<Box<dyn Objective>, MethodError> {
        self.method.objective(&self.teacher(base))
    }
}
