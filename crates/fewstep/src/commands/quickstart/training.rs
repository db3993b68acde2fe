//! Trains the runs of quickstart, one after another.

use super::stages::{Stage, Stages};
use crate::commands::shared::interrupt::Interrupt;
use crate::commands::shared::mirror::Mirror;
use crate::error::CliResult;
use fewstep_distill::run::{Event, Run, RunInputs};
use fewstep_formats::Model;

/// What shows, copies and stops the runs.
pub(super) struct Training<'a> {
    pub(super) stages: &'a mut Stages,
    pub(super) mirror: &'a mut Option<Mirror>,
    pub(super) interrupt: Interrupt,
    /// Phases of the runs before.
    pub(super) done: usize,
}

impl Training<'_> {
    /// Runs all phases of a run, and returns the model of each.
    pub(super) fn train(
        &mut self,
        run: &Run,
        (teacher, inputs): (&Model, &RunInputs),
        resume: bool,
    ) -> CliResult<Vec<Model>> {
        let mut stage: Option<Stage> = None;
        let mut mean = 0.0;
        let (stages, mirror, done) = (&mut *self.stages, &mut *self.mirror, self.done);
        let mut show = |event: Event<'_>| {
            if let Some(warning) = mirror.as_mut().and_then(|mirror| mirror.after(&event)) {
                eprintln!("{warning}");
            }
            match event {
                Event::PhaseStarted {
                    phase,
                    index,
                    updates,
                } => {
                    stages.skip_to(done + index);
                    stage = Some(stages.start(&phase.name, phase.updates, "updates", updates));
                }
                Event::Updated { .. } => {
                    if let Some(stage) = &stage {
                        stage.advance();
                    }
                }
                Event::Logged(record) => {
                    mean = record.loss;
                    if let Some(stage) = &stage {
                        stage.say(format!("loss {mean:.4}"));
                    }
                }
                Event::Checkpointed { .. } | Event::Saved => {}
                Event::PhaseFinished { .. } => {
                    if let Some(stage) = stage.take() {
                        stage.finish(&format!("loss {mean:.4}"));
                    }
                }
            }
        };
        let ended = run.run(teacher.clone(), inputs, resume, &mut |event| {
            show(event);
            self.interrupt.flow()
        });
        self.interrupt.result(ended?)?;
        self.done += run.phases.len();
        self.stages.skip_to(self.done);
        let models = run.phases.iter().map(|phase| run.model(phase));
        Ok(models.collect::<Result<_, _>>()?)
    }
}
