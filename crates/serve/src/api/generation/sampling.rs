//! Steps, sampler and guidance, for a model.

use super::{Generation, Manners};
use crate::error::ApiError;
use fewstep_diffusion::{Guidance, Role, Sampler, SamplerConfig};
use fewstep_formats::check_clip_skip;
use fewstep_generate::{Generator, scale_of};

impl Generation {
    /// How many layers of the text encoder are skipped.
    pub(super) fn clip_skip(
        &self,
        generator: &Generator,
        notes: &mut Vec<String>,
    ) -> Result<Option<usize>, ApiError> {
        let Some(asked) = self.clip_skip else {
            return Ok(None);
        };
        match (
            check_clip_skip(asked, generator.most_skipped()),
            self.manners,
        ) {
            (Ok(()), _) => Ok(Some(asked)),
            (Err(_), Manners::Adapting) => {
                notes.push(
                    "CLIP skip is ignored: this model has no CLIP text encoder of so many layers"
                        .into(),
                );
                Ok(None)
            }
            (Err(reason), _) => Err(ApiError::field("clip_skip", reason)),
        }
    }

    /// The steps: as asked for, or those that the model was distilled for.
    pub(super) fn steps(&self, generator: &Generator, notes: &mut Vec<String>) -> usize {
        let default = generator.default_steps();
        let Some(asked) = self.steps else {
            return default;
        };
        match generator.model().recipe.role {
            Role::Student {
                steps: Some(trained),
                ..
            } if self.manners == Manners::Adapting && trained != asked => {
                notes.push(format!(
                    "{trained} steps instead of {asked}: this model was distilled for them"
                ));
                trained
            }
            _ => asked,
        }
    }

    /// The sampler: as asked for, or the one that the model was made for.
    pub(super) fn sampler(
        &self,
        generator: &Generator,
        notes: &mut Vec<String>,
    ) -> Result<SamplerConfig, ApiError> {
        let default = generator.default_sampler();
        let Some(asked) = &self.sampler else {
            return Ok(default);
        };
        if self.manners != Manners::Adapting {
            let sampler: Sampler = asked
                .parse()
                .map_err(|error| ApiError::field("sampler", format!("{error}")))?;
            return Ok(match sampler == default.sampler {
                true => default,
                false => sampler.into(),
            });
        }
        let steps = generator.default_steps();
        let parsed = asked.parse::<Sampler>().ok().map(SamplerConfig::from);
        let fits = |config: &SamplerConfig| generator.check_sampling(*config, steps, None).is_ok();
        Ok(match parsed.filter(fits) {
            Some(config) if config.sampler == default.sampler => default,
            Some(config) => config,
            None => {
                let default_name = default.name();
                notes.push(format!(
                    "the sampler {default_name} instead of `{asked}`: this model is sampled with it"
                ));
                default
            }
        })
    }
}

/// The nearest weight that the model can take.
pub(super) fn fitting_w(
    asked: Option<f64>,
    generator: &Generator,
    notes: &mut Vec<String>,
) -> Option<f64> {
    let asked = asked?;
    let fitting = match generator.model().recipe.guidance {
        Guidance::ClassifierFree => return Some(asked),
        Guidance::None => None,
        Guidance::Fixed { w } => Some(w),
        Guidance::Input { w_min, w_max, .. } => Some(asked.clamp(w_min, w_max)),
    };
    if fitting != Some(asked) {
        let asked = scale_of(asked);
        notes.push(match fitting {
            None => format!("the guidance scale {asked} is ignored: this model has no guidance"),
            Some(w) => format!(
                "a guidance scale of {} instead of {asked}: this model was distilled for it",
                scale_of(w)
            ),
        });
    }
    fitting
}
