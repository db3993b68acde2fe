//! The flags for guidance, in both conventions: w of the papers, and scale = 1 + w.

use crate::parsers::number;
use fewstep_generate::{scale_of, w_of};

/// One guidance weight.
#[derive(clap::Args)]
pub(crate) struct GuidanceArgs {
    /// Guidance weight w of the papers; 0 is no guidance [default: what the model recommends].
    #[arg(long, value_parser = number, allow_negative_numbers = true)]
    w: Option<f64>,
    /// Guidance scale of diffusers, which is 1 + w.
    #[arg(long, value_name = "SCALE", value_parser = number, allow_negative_numbers = true, conflicts_with = "w")]
    guidance_scale: Option<f64>,
}

impl GuidanceArgs {
    /// w, if either flag is there.
    pub(crate) fn w(&self) -> Option<f64> {
        self.w.or(self.guidance_scale.map(w_of))
    }
}

/// A list of guidance weights.
#[derive(clap::Args)]
pub(crate) struct GuidanceListArgs {
    /// Guidance weights w of the papers; 0 is no guidance [default: what the model recommends].
    #[arg(long, value_parser = number, value_delimiter = ',', allow_negative_numbers = true)]
    w: Vec<f64>,
    /// Guidance scale of diffusers, which is 1 + w.
    #[arg(long, value_name = "SCALE", value_parser = number, value_delimiter = ',', allow_negative_numbers = true, conflicts_with = "w")]
    guidance_scale: Vec<f64>,
}

impl GuidanceListArgs {
    /// The weights for requests; without flags the model's default.
    pub(crate) fn list(&self) -> Vec<Option<f64>> {
        let scales = self.guidance_scale.iter().copied().map(w_of);
        let list: Vec<Option<f64>> = self.w.iter().copied().chain(scales).map(Some).collect();
        match list.is_empty() {
            true => vec![None],
            false => list,
        }
    }
}

/// A guidance weight in both conventions.
pub(crate) fn both_conventions(w: f64) -> String {
    format!("w = {w} (guidance scale {})", scale_of(w))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_shown_in_both_conventions() {
        assert_eq!(both_conventions(0.1), "w = 0.1 (guidance scale 1.1)");
    }
}
