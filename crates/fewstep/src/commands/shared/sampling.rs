//! The flags for the sampler.

use crate::error::{CliError, CliResult};
use crate::parsers::number;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use fewstep_diffusion::Spacing;
use fewstep_diffusion::sampler::{Sampler, SamplerConfig};
use fewstep_generate::Generator;

/// Parses the name of a sampler. Names of earlier versions are accepted, but not shown.
fn sampler() -> impl TypedValueParser<Value = Sampler> {
    let names = Sampler::ALL
        .map(|sampler| PossibleValue::new(sampler.plain_name()).aliases(sampler.old_names()));
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Sampler>())
}

/// Parses the name of a spacing. Names of earlier versions are accepted, but not shown.
fn spacing() -> impl TypedValueParser<Value = Spacing> {
    let names =
        Spacing::NAMED.map(|(name, spacing)| PossibleValue::new(name).aliases(spacing.old_name()));
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Spacing>())
}

/// How to sample.
#[derive(clap::Args)]
pub(crate) struct SamplerArgs {
    /// The sampler [default: the one that the model was made for; ddim for most teachers].
    #[arg(long, value_parser = sampler())]
    sampler: Option<Sampler>,
    /// How ddim, ancestral, dpm-solver++, unipc and heun spread their steps over time [default:
    /// what the model's scheduler says; uniform with --sampler].
    #[arg(long, value_parser = spacing())]
    spacing: Option<Spacing>,
    /// Noise that the ddim sampler adds at each step, from 0 (none, the default) to 1 (as much as
    /// ancestral).
    #[arg(long, value_parser = number, allow_negative_numbers = true)]
    eta: Option<f64>,
    /// Noise that the heun sampler adds over all steps: the S_churn of EDM, 0 (the default) or
    /// above; EDM used 40.
    #[arg(long, value_parser = number, allow_negative_numbers = true)]
    churn: Option<f64>,
}

impl SamplerArgs {
    /// Refuses a spacing, where the command says itself which steps are made.
    pub(crate) fn refuse_spacing(&self, steps: &str) -> CliResult {
        match self.spacing {
            None => Ok(()),
            Some(_) => Err(CliError::input(format!(
                "--spacing does not go with this command, {steps}: omit it"
            ))),
        }
    }

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
