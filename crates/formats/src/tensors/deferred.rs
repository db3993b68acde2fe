//! The tensors of a safetensors file, each read when it is used.
//!
//! The file is not mapped: a mapped file counts to the memory of the process until the system wants
//! it back, on top of what is made of it.

use super::file::Entries;
use super::stored::Stored;
use super::{eight_bits, pieces};
use crate::{FormatError, WeightsFile};
use burn::store::burn_pack::{Error as PackError, Tensor as PackTensor};
use burn::tensor::{BoolStore, Bytes, DType};
use fewstep_nn::WeightFormat;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// Bytes before the header: its length.
const LENGTH: usize = 8;

/// The texts in the metadata of a file, and its tensors: floats in 32 bits, but for weights that are
/// `stored` as they are.
pub(crate) fn open(
    path: &Path,
    stored: WeightFormat,
) -> Result<(Entries, Vec<PackTensor>), FormatError> {
    // Says in plain words what is wrong with a header.
    let types = WeightsFile::inspect(path)?.types.into_iter();
    eight_bits::refuse_types(types, || path.display().to_string())?;
    let broken = |reason: String| FormatError::NotSafetensors {
        origin: path.display().to_string(),
        reason,
    };
    let (file, metadata, start) = header(path).map_err(|error| broken(error.to_string()))?;
    let entries = metadata.metadata().clone().into_iter().flatten();
    let file = Arc::new(file);
    let tensors = metadata.tensors().into_iter().map(|(name, info)| {
        let dtype = dtype(info.dtype).ok_or_else(|| {
            broken(format!(
                "`{name}` is of the type {}, which is not read",
                info.dtype
            ))
        })?;
        let wide = dtype.is_float() && !Stored(stored).keeps(&name, &info.shape, dtype);
        Ok(tensor((name, dtype, wide), info, start, file.clone()))
    });
    Ok((entries.collect(), tensors.collect::<Result<_, _>>()?))
}

/// The file, what is in it, and where the values begin.
fn header(path: &Path) -> io::Result<(File, Metadata, u64)> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut length = [0; LENGTH];
    file.read_exact(&mut length)?;
    let mut header = vec![];
    let length = u64::from_le_bytes(length);
    file.by_ref().take(length).read_to_end(&mut header)?;
    let metadata: Metadata = serde_json::from_slice(&header)?;
    let start = LENGTH as u64 + length;
    match start + metadata.data_len() as u64 == size {
        true => Ok((file, metadata, start)),
        false => Err(io::Error::other("its tensors do not fill it")),
    }
}

fn tensor(
    (name, dtype, wide): (String, DType, bool),
    info: &TensorInfo,
    start: u64,
    file: Arc<File>,
) -> PackTensor {
    let (begin, end) = info.data_offsets;
    let (at, count) = (start + begin as u64, end - begin);
    let shape = info.shape.clone();
    let unread = |error: io::Error| PackError::IoError(error.to_string());
    if !wide {
        let values = move || {
            // The framework copies bytes that do not lie as its numbers do. Of what is not widened,
            // only weights in 16 bits are large.
            let bytes = match dtype.size() {
                2 => pieces::values::<u16>(&file, at, count / 2).map(Bytes::from_elems),
                _ => pieces::values(&file, at, count).map(Bytes::from_bytes_vec),
            };
            bytes.map_err(unread)
        };
        return PackTensor::deferred(name, dtype, shape, None, count, values);
    }
    let count = count / dtype.size();
    let values = move || {
        let floats = pieces::floats(&file, at, count, dtype).map_err(unread)?;
        Ok(Bytes::from_elems(floats))
    };
    PackTensor::deferred(name, DType::F32, shape, None, 4 * count, values)
}

/// The framework's name of a type that it has.
fn dtype(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U64 => DType::U64,
        Dtype::U32 => DType::U32,
        Dtype::U16 => DType::U16,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool(BoolStore::Native),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::raw::RawTensor;
    use fewstep_nn::Precision;
    use std::collections::BTreeMap;

    fn written(
        folder: &Path,
        tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)],
    ) -> std::path::PathBuf {
        let tensors: BTreeMap<&str, RawTensor> = tensors
            .iter()
            .map(|(name, dtype, shape, data)| {
                (*name, RawTensor::owned(*dtype, shape.clone(), data.clone()))
            })
            .collect();
        let bytes = safetensors::serialize(tensors, None).expect("bytes");
        let path = folder.join("weights.safetensors");
        std::fs::write(&path, bytes).expect("written");
        path
    }

    #[test]
    fn each_tensor_has_its_own_values() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = written(
            folder.path(),
            &[
                ("a", Dtype::F16, vec![2, 1], vec![0, 0x3c, 0, 0xc0]),
                ("b", Dtype::I64, vec![1], vec![5, 0, 0, 0, 0, 0, 0, 0]),
                ("c", Dtype::F32, vec![0], vec![]),
                ("d", Dtype::BOOL, vec![1], vec![1]),
            ],
        );
        let mut read = open(&path, WeightFormat::default()).expect("readable").1;
        read.sort_by(|a, b| a.name.cmp(&b.name));
        let facts = read.iter().map(|t| (t.dtype, t.shape.to_vec()));
        let expected = [
            (DType::F32, vec![2, 1]),
            (DType::I64, vec![1]),
            (DType::F32, vec![0]),
            (DType::Bool(BoolStore::Native), vec![1]),
        ];
        assert!(facts.eq(expected));
        let bytes = |at: usize| read[at].to_bytes().expect("bytes").to_vec();
        assert_eq!(bytes(0), [1f32, -2.0].map(f32::to_le_bytes).concat());
        assert_eq!(bytes(1), [5, 0, 0, 0, 0, 0, 0, 0]);
        assert!(bytes(2).is_empty());
    }

    #[test]
    fn weights_that_are_stored_as_they_are_stay_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let halves = vec![0, 0x3c, 0, 0xc0];
        let (weight, bias) = ("mid_block.conv.weight", "mid_block.conv.bias");
        let path = written(
            folder.path(),
            &[
                (weight, Dtype::F16, vec![2, 1], halves.clone()),
                (bias, Dtype::F16, vec![2], halves.clone()),
                ("conv_in.weight", Dtype::F16, vec![2, 1], halves.clone()),
            ],
        );
        for (precision, kept) in [(Precision::F16, true), (Precision::Bf16, false)] {
            let (_, read) = open(&path, precision.into()).expect("readable");
            for tensor in read {
                let as_it_is = kept && tensor.name == weight;
                let dtype = if as_it_is { DType::F16 } else { DType::F32 };
                assert_eq!(tensor.dtype, dtype, "{}", tensor.name);
                let bytes = tensor.to_bytes().expect("bytes");
                assert_eq!(bytes[..] == halves, as_it_is, "{}", tensor.name);
                // They lie as the numbers they are, or the framework would copy them.
                let lie_right = match as_it_is {
                    true => bytes.try_into_vec::<u16>().is_ok(),
                    false => bytes.try_into_vec::<f32>().is_ok(),
                };
                assert!(lie_right, "{}", tensor.name);
            }
        }
    }

    #[test]
    fn files_that_are_not_whole_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = written(folder.path(), &[("a", Dtype::F32, vec![4], vec![7; 16])]);
        let bytes = std::fs::read(&path).expect("a file");
        for bytes in [&bytes[..bytes.len() - 1], &[&bytes[..], &[0]].concat()] {
            std::fs::write(&path, bytes).expect("written");
            assert!(
                open(&path, WeightFormat::default()).is_err(),
                "{} bytes",
                bytes.len()
            );
        }
    }
}
