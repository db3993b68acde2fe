//! Parsers of flag values that several commands share.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use fewstep_diffusion::limits::{FACTOR, IMAGES, STEPS};
use std::hash::{BuildHasher, Hasher, RandomState};

/// Parses one of the names in a table.
pub(crate) fn named<T: Copy + Send + Sync + 'static>(
    table: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(table.iter().map(|(name, _)| *name)).map(|text| {
        let entry = table.iter().find(|(name, _)| *name == text);
        entry.expect("the parser accepts only names in the table").1
    })
}

/// Parses a whole number of at least 1.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number of at least 1".into()),
        Ok(number) => Ok(number),
    }
}

/// Parses a seed; -1 is a random one, as in the web interfaces for Stable Diffusion. Random ones are
/// below 2^32, which other tools take too.
pub(crate) fn seed(text: &str) -> Result<u64, String> {
    match text {
        "-1" | "random" => {
            let random = RandomState::new().build_hasher().finish();
            Ok(u64::from(random as u32))
        }
        _ => text.parse().map_err(|_| {
            "expected a whole number of at least 0, or -1 for a random seed".to_string()
        }),
    }
}

/// Parses a number of a size that has a meaning.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.abs() <= FACTOR => Ok(number),
        _ => Err(format!(
            "expected a number such as 1 or 0.5, from -{FACTOR} to {FACTOR}"
        )),
    }
}

/// Parses a number of images.
pub(crate) fn images(text: &str) -> Result<usize, String> {
    up_to(IMAGES, text)
}

/// Parses a number of steps.
pub(crate) fn steps(text: &str) -> Result<usize, String> {
    up_to(STEPS, text)
}

/// Parses a number of steps that may be 0.
pub(crate) fn steps_or_none(text: &str) -> Result<usize, String> {
    match text {
        "0" => Ok(0),
        _ => steps(text),
    }
}

fn up_to(most: usize, text: &str) -> Result<usize, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("expected a whole number of at least 1 and at most {most}"))
}
/// Parses a number of bytes, such as 8GiB or 500MB.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => 0,
    };
    let number = digits.trim().parse::<f64>().unwrap_or(0.0) * unit as f64;
    match number.is_finite() && number >= 1.0 {
        true => Ok(number as u64),
        false => Err("expected a size such as 8GiB or 500MB".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_read_with_their_unit() {
        assert_eq!(size("8GiB"), Ok(8 << 30));
        assert_eq!(size("1.5 mb"), Ok(1_500_000));
        assert_eq!(size("100"), Ok(100));
        for wrong in ["", "GiB", "-1GB", "3 apples", "0"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
