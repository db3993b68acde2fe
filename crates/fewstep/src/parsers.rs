//! Parsers of flag values that several commands share.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use fewstep_data::expand_home;
use fewstep_diffusion::limits::{BATCH, BLOCKS, DATA_SIDE, FACTOR, IMAGES, STEPS, THREADS};
use fewstep_generate::{EmbeddingChoice, LoraChoice};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;

/// Parses one of the names in a table.
pub(crate) fn named<T: Copy + Send + Sync + 'static>(
    table: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(table.iter().map(|(name, _)| *name)).map(|text| {
        let entry = table.iter().find(|(name, _)| *name == text);
        entry.expect("the parser accepts only names in the table").1
    })
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

/// Parses a count of something, such as images.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    up_to(IMAGES, text)
}

/// Parses a number of steps.
pub(crate) fn steps(text: &str) -> Result<usize, String> {
    up_to(STEPS, text)
}

/// Parses a number of images in a network call.
pub(crate) fn batch_size(text: &str) -> Result<usize, String> {
    up_to(BATCH, text)
}

/// Parses a number of threads.
pub(crate) fn threads(text: &str) -> Result<usize, String> {
    up_to(THREADS, text)
}

/// Parses a number of layers, which may be 0.
pub(crate) fn layers(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number <= BLOCKS);
    number.ok_or_else(|| format!("expected a whole number of at most {BLOCKS}"))
}

/// Parses the side of images of a dataset.
pub(crate) fn data_side(text: &str) -> Result<usize, String> {
    up_to(DATA_SIDE, text)
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

/// Parses a LoRA file with how many times it counts: FILE or FILE:WEIGHT.
pub(crate) fn lora(text: &str) -> Result<LoraChoice, String> {
    let weighted = text.rsplit_once(':');
    let weighted = weighted.and_then(|(file, weight)| Some((file, weight.parse().ok()?)));
    let (file, weight): (&str, f64) = weighted.unwrap_or((text, 1.0));
    match weight.abs() <= FACTOR && !file.is_empty() {
        true => Ok(LoraChoice {
            file: expand_home(Path::new(file)),
            weight,
        }),
        false => Err(format!(
            "expected FILE or FILE:WEIGHT, such as style.safetensors:0.8, with a weight from -{FACTOR} to {FACTOR}"
        )),
    }
}

/// Parses a file of textual inversion with what stands for it in prompts: FILE or FILE:TOKEN. A path
/// that exists is taken as it is.
pub(crate) fn embedding(text: &str) -> Result<EmbeddingChoice, String> {
    let whole = expand_home(Path::new(text));
    let named = text.rsplit_once(':').filter(|_| !whole.exists());
    match named {
        Some((file, token)) if file.is_empty() || token.trim().is_empty() => {
            Err("expected FILE or FILE:TOKEN, such as style.pt:my-style".into())
        }
        Some((file, token)) => Ok(EmbeddingChoice {
            file: expand_home(Path::new(file)),
            token: Some(token.into()),
        }),
        None => Ok(EmbeddingChoice {
            file: whole,
            token: None,
        }),
    }
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

/// Parses a speed as bytes a second, such as 25GB/s or 100Gbit/s.
pub(crate) fn speed(text: &str) -> Result<f64, String> {
    let wrong = || "expected a speed such as 25GB/s or 100Gbit/s".to_string();
    let amount = text.strip_suffix("/s").unwrap_or(text);
    match amount.strip_suffix("bit") {
        Some(bits) => Ok(size(&format!("{bits}B")).map_err(|_| wrong())? as f64 / 8.0),
        None => Ok(size(amount).map_err(|_| wrong())? as f64),
    }
}

/// Parses a number of seconds, more than 0 and at most a year.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok();
    let seconds = seconds.filter(|seconds| *seconds > 0.0 && *seconds <= 365.0 * 24.0 * 3600.0);
    seconds.ok_or_else(|| "expected a number of seconds above 0, at most a year".into())
}

#[cfg(test)]
mod tests {
    use super::{size, speed};

    #[test]
    fn speeds_are_bytes_or_bits_a_second() {
        assert_eq!(speed("25GB/s"), Ok(25e9));
        assert_eq!(speed("100Gbit/s"), Ok(12.5e9));
        assert_eq!(speed("8kbit"), Ok(1000.0));
        for wrong in ["", "fast", "-1GB/s", "10 apples/s"] {
            assert!(speed(wrong).is_err(), "{wrong}");
        }
    }

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
