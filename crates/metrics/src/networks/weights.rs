//! Weights out of a safetensors file, with one message that lists everything that does not fit.

use crate::{MetricsError, Result};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::Path;

/// Most problems that a message lists one by one.
const LISTED: usize = 8;

/// The bytes of a weights file. A device has no end, and is none.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let read = || match std::fs::metadata(path)? {
        kind if kind.is_file() || kind.is_dir() => std::fs::read(path),
        _ => Err(std::io::Error::other(
            "it is a device or a pipe, not a file",
        )),
    };
    read().map_err(|source| MetricsError::File {
        path: path.to_owned(),
        source,
    })
}

/// SHA-256 of a weights file, in hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub fn weights_hash(path: &Path) -> Result<String> {
    Ok(hash(&read(path)?))
}

/// SHA-256 in hexadecimal.
pub(crate) fn hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The metadata of a safetensors file.
pub(crate) fn metadata(bytes: &[u8], origin: &str) -> Result<HashMap<String, String>> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|source| MetricsError::Format {
        origin: origin.to_owned(),
        source,
    })?;
    Ok(header.metadata().clone().unwrap_or_default())
}

/// A weights file that is being read.
///
/// A tensor that is missing or has another shape is noted and read as zeros;
/// [`finish`](Self::finish) then refuses the file with all of them in one message. So the code that
/// builds a network needs no error handling.
pub(crate) struct Weights<'a> {
    origin: &'a str,
    file: SafeTensors<'a>,
    problems: Vec<String>,
}

impl<'a> Weights<'a> {
    pub(crate) fn parse(bytes: &'a [u8], origin: &'a str) -> Result<Self> {
        let file = SafeTensors::deserialize(bytes).map_err(|source| MetricsError::Format {
            origin: origin.to_owned(),
            source,
        })?;
        Ok(Self {
            origin,
            file,
            problems: Vec::new(),
        })
    }

    /// Shape of a tensor, if the file has it.
    pub(crate) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let view = self.file.tensor(name).ok()?;
        Some(view.shape().to_vec())
    }

    /// Values of a tensor of this shape, row by row.
    pub(crate) fn take(&mut self, name: &str, shape: &[usize]) -> Vec<f32> {
        match self.read(name, shape) {
            Ok(values) => values,
            Err(problem) => {
                self.problems.push(problem);
                vec![0.0; shape.iter().product()]
            }
        }
    }

    fn read(&self, name: &str, shape: &[usize]) -> std::result::Result<Vec<f32>, String> {
        let values = self.stored(name, shape)?;
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(values),
            false => Err(format!(
                "`{name}` has values that are infinite or not a number"
            )),
        }
    }

    fn stored(&self, name: &str, shape: &[usize]) -> std::result::Result<Vec<f32>, String> {
        let view = self.file.tensor(name);
        let view = view.map_err(|_| format!("`{name}` {shape:?} is missing"))?;
        if view.shape() != shape {
            return Err(format!("`{name}` is {:?}, not {shape:?}", view.shape()));
        }
        let bytes = view.data();
        let halves = || bytes.as_chunks::<2>().0.iter();
        match view.dtype() {
            Dtype::F32 => {
                let words = bytes.as_chunks::<4>().0.iter();
                Ok(words.map(|w| f32::from_le_bytes(*w)).collect())
            }
            Dtype::F16 => Ok(halves()
                .map(|w| half::f16::from_le_bytes(*w).to_f32())
                .collect()),
            Dtype::BF16 => Ok(halves()
                .map(|w| half::bf16::from_le_bytes(*w).to_f32())
                .collect()),
            other => Err(format!("`{name}` is {other:?}, not F32, F16 or BF16")),
        }
    }

    /// Refuses the file when anything was not as expected. `wanted` says what it should be.
    pub(crate) fn finish(self, wanted: &str) -> Result<()> {
        if self.problems.is_empty() {
            return Ok(());
        }
        let mut problems = self.problems[..self.problems.len().min(LISTED)].join("; ");
        if self.problems.len() > LISTED {
            problems += &format!("; and {} more", self.problems.len() - LISTED);
        }
        Err(MetricsError::Content {
            origin: self.origin.to_owned(),
            wanted: wanted.to_owned(),
            problems,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    fn file() -> Vec<u8> {
        let one = half::f16::from_f32(1.5).to_le_bytes();
        let view = TensorView::new(Dtype::F16, vec![1, 1], &one).unwrap();
        safetensors::serialize([("a", view)], None).unwrap()
    }

    #[test]
    fn reads_half_precision() {
        let bytes = file();
        let mut weights = Weights::parse(&bytes, "f").unwrap();
        assert_eq!(weights.take("a", &[1, 1]), [1.5]);
        assert_eq!(weights.shape("a"), Some(vec![1, 1]));
        weights.finish("it").unwrap();
    }

    #[test]
    fn every_problem_is_in_one_message() {
        let bytes = file();
        let mut weights = Weights::parse(&bytes, "some.safetensors").unwrap();
        assert_eq!(weights.take("a", &[2]), [0.0; 2]);
        weights.take("b.weight", &[3, 4]);
        assert_eq!(
            weights.finish("a network").unwrap_err().to_string(),
            "some.safetensors does not hold a network: `a` is [1, 1], not [2]; \
             `b.weight` [3, 4] is missing"
        );
    }

    #[test]
    fn weights_that_are_no_numbers_are_refused() {
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let values: Vec<u8> = [1.0, broken].iter().flat_map(|v| v.to_le_bytes()).collect();
            let view = TensorView::new(Dtype::F32, vec![2], &values).unwrap();
            let bytes = safetensors::serialize([("a", view)], None).unwrap();
            let mut weights = Weights::parse(&bytes, "f").unwrap();
            weights.take("a", &[2]);
            assert_eq!(
                weights.finish("it").unwrap_err().to_string(),
                "f does not hold it: `a` has values that are infinite or not a number"
            );
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let bytes = file();
        let mut weights = Weights::parse(&bytes, "f").unwrap();
        (0..11).for_each(|i| drop(weights.take(&format!("t{i}"), &[1])));
        let message = weights.finish("it").unwrap_err().to_string();
        assert!(
            message.ends_with("`t7` [1] is missing; and 3 more"),
            "{message}"
        );
    }

    #[test]
    fn the_hash_is_sha_256() {
        let of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash(b"abc"), of_abc);
    }
}
