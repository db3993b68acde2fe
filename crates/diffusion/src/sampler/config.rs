//! A sampler on its time grid.

use super::choice::Sampler;
use crate::{GridError, Schedule, Spacing, TimeGrid};
use serde::{Deserialize, Serialize};

/// A sampler and how its steps are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerConfig {
    /// The sampler.
    pub sampler: Sampler,
    /// How its steps are spread over time.
    pub spacing: Spacing,
}

impl From<Sampler> for SamplerConfig {
    /// The sampler on the papers' grid t = i / N.
    fn from(sampler: Sampler) -> Self {
        Self {
            sampler,
            spacing: Spacing::Uniform,
        }
    }
}

impl SamplerConfig {
    /// The sampler's [name](Sampler::name).
    pub fn name(self) -> String {
        self.sampler.name()
    }

    /// The times of `steps` steps.
    ///
    /// # Errors
    /// When the steps cannot be spread over the schedule.
    pub fn grid(self, schedule: &Schedule, steps: usize) -> Result<TimeGrid, GridError> {
        TimeGrid::new(schedule, self.spacing, steps)
    }
}
