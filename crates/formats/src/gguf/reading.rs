//! The tensors of a GGUF file, for import.

use super::{ALIGNMENT, BLOCK};
use crate::FormatError;
use crate::inspect::gguf::{MAGIC, Place, broken, head, type_name};
use crate::tensors::file::{self, Entries};
use crate::tensors::raw::RawTensor;
use half::f16;
use safetensors::Dtype;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// The bytes of a safetensors file with the tensors and the texts of a GGUF file, and any other file
/// as it is.
/// Whole numbers with scales become the floats that they stand for, which have the same numbers and
/// scales again if they are quantised.
///
/// # Errors
/// When the file is not whole, or has tensors of other types than F32, F16, BF16 and Q8_0.
pub(crate) fn in_safetensors(bytes: Vec<u8>, path: &Path) -> Result<Vec<u8>, FormatError> {
    match bytes.starts_with(MAGIC) {
        false => Ok(bytes),
        true => {
            let (tensors, entries) = tensors(&bytes).map_err(|error| broken(&error, path))?;
            file::to_bytes(tensors, &entries)
        }
    }
}

type Tensors<'a> = BTreeMap<String, RawTensor<'a>>;

fn tensors(bytes: &[u8]) -> io::Result<(Tensors<'_>, Entries)> {
    let mut rest = bytes;
    let head = head(&mut rest)?;
    let alignment = match head.entries.get("general.alignment") {
        None => ALIGNMENT,
        Some(text) => text
            .parse()
            .map_err(|_| wrong("its alignment is no number"))?,
    };
    if alignment == 0 {
        return Err(wrong("its alignment is 0"));
    }
    let start = (bytes.len() - rest.len()).checked_next_multiple_of(alignment);
    let values = start
        .and_then(|start| bytes.get(start..))
        .unwrap_or_default();
    let tensors = head.tensors.into_iter();
    let tensors = tensors.map(|place| Ok((place.name.clone(), tensor(&place, values)?)));
    Ok((tensors.collect::<io::Result<_>>()?, head.entries))
}

fn wrong(reason: &str) -> io::Error {
    io::Error::other(reason)
}

fn tensor<'a>(place: &Place, values: &'a [u8]) -> io::Result<RawTensor<'a>> {
    let Place { name, shape, .. } = place;
    let sides = shape.iter().map(|side| usize::try_from(*side).ok());
    let shape: Option<Vec<usize>> = sides.collect();
    let count = |shape: &Vec<usize>| {
        shape
            .iter()
            .try_fold(1usize, |n, side| n.checked_mul(*side))
    };
    let sized = shape.and_then(|shape| Some((count(&shape)?, shape)));
    let too_large = || wrong(&format!("`{name}` is too large"));
    let (count, shape) = sized.ok_or_else(too_large)?;
    let row = shape.last().copied().unwrap_or(1);
    let (dtype, length) = match place.kind {
        0 => (Dtype::F32, count.checked_mul(4)),
        1 => (Dtype::F16, count.checked_mul(2)),
        30 => (Dtype::BF16, count.checked_mul(2)),
        8 if row.is_multiple_of(BLOCK) => (Dtype::F32, (count / BLOCK).checked_mul(2 + BLOCK)),
        8 => return Err(wrong(&format!("`{name}` has no whole blocks of {BLOCK}"))),
        kind => {
            return Err(wrong(&format!(
                "`{name}` is in {}, and only F32, F16, BF16 and Q8_0 are read",
                type_name(kind)
            )));
        }
    };
    let length = length.ok_or_else(too_large)?;
    let begin = usize::try_from(place.offset).map_err(|_| too_large())?;
    let end = begin.checked_add(length).ok_or_else(too_large)?;
    let stored = values.get(begin..end).ok_or(io::ErrorKind::UnexpectedEof)?;
    let data = match place.kind {
        8 => Cow::Owned(widened(stored)),
        _ => Cow::Borrowed(stored),
    };
    Ok(match data {
        Cow::Borrowed(data) => RawTensor::borrowed(dtype, shape, data),
        Cow::Owned(data) => RawTensor::owned(dtype, shape, data),
    })
}

/// Blocks of a scale and 32 whole numbers as floats of 32 bits.
fn widened(blocks: &[u8]) -> Vec<u8> {
    let blocks = blocks.as_chunks::<{ 2 + BLOCK }>().0.iter();
    let values = blocks.flat_map(|[low, high, numbers @ ..]| {
        let scale = f16::from_le_bytes([*low, *high]).to_f32();
        numbers
            .iter()
            .map(move |number| scale * f32::from(*number as i8))
    });
    values.flat_map(f32::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, GgufPrecision, to_bytes};
    use super::*;
    use safetensors::tensor::SafeTensors;

    fn tensors_of(precision: GgufPrecision) -> (Vec<f32>, Vec<u8>) {
        let values: Vec<f32> = (0..128)
            .map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.013)
            .collect();
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let tensors = BTreeMap::from([
            (
                "w".to_string(),
                RawTensor::owned(Dtype::F32, vec![2, 64], bytes),
            ),
            (
                "b".into(),
                RawTensor::owned(Dtype::F32, vec![1], vec![0, 0, 128, 63]),
            ),
        ]);
        let entries = BTreeMap::from([("general.name".to_string(), Entry::Text("x".into()))]);
        (values, to_bytes(&entries, &tensors, |_| precision).0)
    }

    /// What was written comes back: floats but for their rounding, blocks to half a step, and the
    /// same bytes when they are written again.
    #[test]
    fn what_is_written_is_read() {
        for (precision, most) in [
            (GgufPrecision::F32, 0.0),
            (GgufPrecision::F16, 4e-4),
            (GgufPrecision::Bf16, 3e-3),
            (GgufPrecision::Q8, 0.51 * 0.65 / 127.0),
        ] {
            let (values, file) = tensors_of(precision);
            let bytes = in_safetensors(file.clone(), Path::new("x.gguf")).expect("readable");
            let read = SafeTensors::deserialize(&bytes).expect("safetensors");
            let [w, b] = ["w", "b"].map(|name| RawTensor::from(read.tensor(name).expect("there")));
            assert_eq!((w.shape(), b.values()), (&[2, 64][..], vec![1.0]));
            for (read, value) in w.values().iter().zip(&values) {
                assert!(
                    (read - value).abs() <= most,
                    "{precision:?}: {read} for {value}"
                );
            }
            let again = BTreeMap::from([("w".to_string(), w), ("b".into(), b)]);
            let entries = BTreeMap::from([("general.name".to_string(), Entry::Text("x".into()))]);
            assert!(
                to_bytes(&entries, &again, |_| precision).0 == file,
                "{precision:?}"
            );
        }
    }

    #[test]
    fn damaged_files_are_refused() {
        let (_, file) = tensors_of(GgufPrecision::Q8);
        for length in [4, 20, 80, file.len() - 40] {
            let cut = file[..length].to_vec();
            assert!(
                in_safetensors(cut, Path::new("x.gguf")).is_err(),
                "{length}"
            );
        }
        // Any single byte may be another: an error or other values, and never a panic.
        for at in 0..file.len() {
            for value in [0, 255] {
                let mut other = file.clone();
                other[at] = value;
                let _ = in_safetensors(other, Path::new("x.gguf"));
            }
        }
    }
}
