//! Weights in another type: half the size, for those who only generate.

use super::file;
use super::named_precision::name_precision;
use super::raw::RawTensor;
use crate::{FormatError, reading, write_atomically_with};
use safetensors::Dtype;
use safetensors::tensor::SafeTensors;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The type of the weights in the files of an exported model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightPrecision {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// The upper half of 32-bit floats.
    Bf16,
}

impl WeightPrecision {
    pub(crate) fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }

    /// Its name in PyTorch, which configurations of transformers have.
    pub(crate) fn in_pytorch(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }
}

/// Tensors in this type, and the names of those that are in f32 because a value of theirs is too
/// large for it. What is no float stays as it is.
pub(crate) fn in_precision<'a>(
    tensors: BTreeMap<String, RawTensor<'a>>,
    precision: WeightPrecision,
) -> (BTreeMap<String, RawTensor<'a>>, Vec<String>) {
    let mut too_large = vec![];
    let converted = tensors.into_iter().map(|(name, tensor)| {
        let tensor = match tensor.in_dtype(precision.dtype()) {
            Some(tensor) => tensor,
            None => {
                too_large.push(name.clone());
                tensor.in_dtype(Dtype::F32).unwrap_or(tensor)
            }
        };
        (name, tensor)
    });
    let converted = converted.collect();
    (converted, too_large)
}

/// Writes all safetensors files in a folder, and in those inside of it, again in this type, and
/// names it in configurations of transformers. Gives the names of tensors that are in f32 because a
/// value of theirs is too large for it.
///
/// # Errors
/// When a file cannot be read or written.
pub fn convert_weights(
    folder: &Path,
    precision: WeightPrecision,
) -> Result<Vec<String>, FormatError> {
    let mut too_large = vec![];
    for path in files(folder, |path| {
        path.extension().is_some_and(|e| e == "safetensors")
    })? {
        let bytes = reading::bytes(&path)?;
        let damaged = |error: safetensors::SafeTensorError| FormatError::NotSafetensors {
            origin: path.display().to_string(),
            reason: error.to_string(),
        };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let entries = header.metadata().iter().flatten();
        let entries = entries.map(|(key, value)| (key.clone(), value.clone()));
        let entries = entries.collect();
        let tensors = SafeTensors::deserialize(&bytes).map_err(damaged)?.tensors();
        let tensors = tensors.into_iter();
        let tensors = tensors.map(|(name, view)| (name, RawTensor::from(view)));
        let (tensors, names) = in_precision(tensors.collect(), precision);
        write_atomically_with(&path, |out| file::write(tensors, &entries, out))?;
        too_large.extend(names);
    }
    name_precision(folder, precision)?;
    Ok(too_large)
}

/// The files of a kind in a folder and below.
pub(crate) fn files(folder: &Path, wanted: fn(&Path) -> bool) -> Result<Vec<PathBuf>, FormatError> {
    let unread = |source| FormatError::Read {
        path: folder.into(),
        source,
    };
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        match path.is_dir() {
            true => found.extend(files(&path, wanted)?),
            false if wanted(&path) => found.push(path),
            false => {}
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dtype: Dtype, data: Vec<u8>, count: usize) -> RawTensor<'static> {
        RawTensor::owned(dtype, vec![count], data)
    }

    #[test]
    fn floats_are_rounded_and_large_ones_are_named() {
        let floats = |values: &[f32]| {
            let bytes = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            tensor(Dtype::F32, bytes, values.len())
        };
        let tensors = || {
            BTreeMap::from([
                ("fits".to_string(), floats(&[1.0, -0.1])),
                ("large".into(), floats(&[1.0, 7e4])),
                ("numbers".into(), tensor(Dtype::I64, vec![1; 16], 2)),
            ])
        };
        let (half, too_large) = in_precision(tensors(), WeightPrecision::F16);
        assert_eq!(too_large, ["large"]);
        // The f16 and the bf16 nearest to -0.1.
        assert_eq!(half["fits"].values(), [1.0, -0.099_975_586]);
        assert_eq!(half["large"].values(), [1.0, 7e4]);
        assert_eq!(half["numbers"].bytes(), [1; 16]);
        let (half, too_large) = in_precision(tensors(), WeightPrecision::Bf16);
        assert!(too_large.is_empty());
        assert_eq!(half["fits"].values(), [1.0, -0.100_097_656]);
        let (again, _) = in_precision(half, WeightPrecision::F32);
        assert_eq!(again["fits"].values(), [1.0, -0.100_097_656]);
    }
}
