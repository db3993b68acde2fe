//! Flags that several verbs share, and what they stand for.

use crate::error::{CliError, CliResult};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use fewstep_diffusion::Spacing;
use fewstep_diffusion::sampler::{Sampler, SamplerConfig};
use fewstep_generate::Generator;

/// Reads one of the names of a table.
pub(crate) fn named<T: Copy + Send + Sync + 'static>(
    table: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(table.iter().map(|(name, _)| *name)).map(|given| {
        let entry = table.iter().find(|(name, _)| *name == given);
        entry
            .expect("the parser lets only names of the table through")
            .1
    })
}

/// Reads a whole number of at least 1.
pub(crate) fn positive(given: &str) -> Result<usize, String> {
    match given.parse() {
        Ok(0) | Err(_) => Err("expected a whole number of at least 1".into()),
        Ok(number) => Ok(number),
    }
}

/// Reads an ordinary number.
pub(crate) fn finite(given: &str) -> Result<f64, String> {
    match given.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("expected a number such as 1 or 0.5".into()),
    }
}

/// Reads the name of a sampler. Names of earlier versions are read and not shown.
fn sampler() -> impl TypedValueParser<Value = Sampler> {
    let names = Sampler::ALL
        .map(|sampler| PossibleValue::new(sampler.plain_name()).aliases(sampler.old_names()));
    PossibleValuesParser::new(names).try_map(|given| given.parse::<Sampler>())
}

/// Reads the name of a spacing. Names of earlier versions are read and not shown.
fn spacing() -> impl TypedValueParser<Value = Spacing> {
    let names =
        Spacing::NAMED.map(|(name, spacing)| PossibleValue::new(name).aliases(spacing.old_name()));
    PossibleValuesParser::new(names).try_map(|given| given.parse::<Spacing>())
}

/// How to sample.
#[derive(clap::Args)]
pub(crate) struct SamplerArgs {
    /// How to sample; by default as the model was made for, with ddim for a teacher.
    #[arg(long, value_parser = sampler())]
    sampler: Option<Sampler>,
    /// How ddim, ancestral, dpm-solver++, unipc and heun spread their steps over time [default: uniform].
    #[arg(long, value_parser = spacing())]
    spacing: Option<Spacing>,
    /// Noise that the ddim sampler adds at each step: 0 (none, the default) to 1 (as much as ancestral).
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    eta: Option<f64>,
    /// Noise that the heun sampler adds over all steps: EDM's S_churn, 0 (none, the default) or above; EDM used 40.
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    churn: Option<f64>,
}

impl SamplerArgs {
    /// The sampler for a model.
    pub(crate) fn choose(&self, generator: &Generator) -> CliResult<SamplerConfig> {
        let mut chosen = match self.sampler {
            Some(sampler) => sampler.into(),
            None => generator.default_sampler(),
        };
        if let Some(eta) = self.eta {
            let with_eta = chosen.sampler.with_eta(eta);
            chosen.sampler = with_eta.map_err(|e| CliError::input(format!("--eta {eta}: {e}")))?;
        }
        if let Some(churn) = self.churn {
            let with_churn = chosen.sampler.with_churn(churn);
            chosen.sampler =
                with_churn.map_err(|e| CliError::input(format!("--churn {churn}: {e}")))?;
        }
        match self.spacing {
            None => {}
            Some(_) if chosen.sampler.is_few_step() => {
                return Err(CliError::input(format!(
                    "--spacing does not go with the {} sampler, whose steps are the ones that a student was distilled for: omit it, or choose another --sampler",
                    chosen.name()
                )));
            }
            Some(spacing) => chosen.spacing = spacing,
        }
        Ok(chosen)
    }
}

/// One guidance weight.
#[derive(clap::Args)]
pub(crate) struct GuidanceArgs {
    /// Guidance weight w of the papers: 0 is no guidance. By default what the model recommends.
    #[arg(long, value_parser = finite, allow_negative_numbers = true)]
    w: Option<f64>,
    /// Guidance as diffusers counts it: scale = 1 + w.
    #[arg(long, value_parser = finite, allow_negative_numbers = true, conflicts_with = "w")]
    guidance_scale: Option<f64>,
}

impl GuidanceArgs {
    /// w, if either was given.
    pub(crate) fn w(&self) -> Option<f64> {
        self.w.or(self.guidance_scale.map(to_w))
    }
}

/// A list of guidance weights.
#[derive(clap::Args)]
pub(crate) struct GuidanceListArgs {
    /// Guidance weights w of the papers: 0 is no guidance. By default what the model recommends.
    #[arg(long, value_parser = finite, value_delimiter = ',', allow_negative_numbers = true)]
    w: Vec<f64>,
    /// Guidance as diffusers counts it: scale = 1 + w.
    #[arg(long, value_parser = finite, value_delimiter = ',', allow_negative_numbers = true, conflicts_with = "w")]
    guidance_scale: Vec<f64>,
}

impl GuidanceListArgs {
    /// The weights as requests take them: the model's own where none was given.
    pub(crate) fn list(&self) -> Vec<Option<f64>> {
        let scales = self.guidance_scale.iter().copied().map(to_w);
        let given: Vec<Option<f64>> = self.w.iter().copied().chain(scales).map(Some).collect();
        match given.is_empty() {
            true => vec![None],
            false => given,
        }
    }
}

fn to_w(scale: f64) -> f64 {
    tidy(scale - 1.0)
}

/// Without the last digits that adding or taking 1 leaves.
pub(crate) fn tidy(number: f64) -> f64 {
    (number * 1e9).round() / 1e9
}

/// A guidance weight in both conventions.
pub(crate) fn both_conventions(w: f64) -> String {
    format!("w = {w} (guidance scale {})", tidy(1.0 + w))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_becomes_a_weight_without_rounding_noise() {
        assert_eq!(to_w(2.3), 1.3);
        assert_eq!(both_conventions(0.1), "w = 0.1 (guidance scale 1.1)");
    }
}
