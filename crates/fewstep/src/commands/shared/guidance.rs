//! The flags for guidance, in both conventions: w of the papers, and scale = 1 + w.

use crate::parsers::number;

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
        self.w.or(self.guidance_scale.map(to_w))
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
        let scales = self.guidance_scale.iter().copied().map(to_w);
        let list: Vec<Option<f64>> = self.w.iter().copied().chain(scales).map(Some).collect();
        match list.is_empty() {
            true => vec![None],
            false => list,
        }
    }
}

fn to_w(scale: f64) -> f64 {
    tidy(scale - 1.0)
}

/// Rounds away what adding or subtracting 1 does to the last digits.
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
