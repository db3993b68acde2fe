//! Settings of adapting a student.

use crate::error::RecipeError;
use crate::optim::OptimConfig;
use fewstep_diffusion::limits::{STEPS, UPDATES, count, within};
use serde::{Deserialize, Serialize};

/// Let a student follow a teacher that has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptConfig {
    /// Updates.
    pub updates: u64,
    /// Steps of the teacher from noise to image, a multiple of the student's; by default the
    /// smallest multiple from 16 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher_steps: Option<usize>,
    /// How the parameters move.
    pub optim: OptimConfig,
}

/// Steps of the teacher that are enough by default.
const TEACHER_STEPS: usize = 16;

impl AdaptConfig {
    /// How many steps of the teacher one of the student's is, where that has so many.
    pub(super) fn substeps(&self, steps: usize) -> Result<usize, String> {
        match self.teacher_steps {
            None => Ok(TEACHER_STEPS.div_ceil(steps)),
            Some(of_teacher) if of_teacher.is_multiple_of(steps) => Ok(of_teacher / steps),
            Some(of_teacher) => Err(format!(
                "`adapt.teacher_steps` is {of_teacher} and the student has {steps} as its number of steps: give a multiple of it, such as {}",
                of_teacher.next_multiple_of(steps)
            )),
        }
    }

    pub(crate) fn validate(&self) -> Result<(), RecipeError> {
        self.optim.validate().map_err(|e| e.within("adapt.optim"))?;
        if let Some(steps) = self.teacher_steps {
            count("adapt.teacher_steps", steps, STEPS)?;
        }
        Ok(within("adapt.updates", self.updates, 1..=UPDATES)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_teachers_steps_are_a_multiple_of_the_students() {
        let substeps = |teacher_steps, steps| {
            let config = AdaptConfig {
                updates: 1,
                teacher_steps,
                optim: OptimConfig::of(1, 1e-3),
            };
            config.substeps(steps)
        };
        for (teacher, steps, each) in [(None, 1, 16), (None, 3, 6), (None, 32, 1), (Some(8), 4, 2)]
        {
            assert_eq!(substeps(teacher, steps), Ok(each));
        }
        let error = substeps(Some(10), 4).expect_err("no multiple");
        assert!(error.contains("such as 12"), "{error}");
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let key = |change: fn(&mut AdaptConfig)| {
            let mut config = AdaptConfig {
                updates: 1,
                teacher_steps: Some(8),
                optim: OptimConfig::of(1, 1e-3),
            };
            assert_eq!(config.validate(), Ok(()));
            change(&mut config);
            config.validate().expect_err("refused").key
        };
        assert_eq!(key(|c| c.updates = 0), "adapt.updates");
        assert_eq!(key(|c| c.teacher_steps = Some(0)), "adapt.teacher_steps");
        assert_eq!(key(|c| c.optim.clip = -1.0), "adapt.optim.clip");
    }
}
