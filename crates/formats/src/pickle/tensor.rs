//! Tensors as a pickle has them: a view into a storage, which is a file of the archive.

use super::archive::Archive;
use crate::tensors::raw::RawTensor;
use safetensors::Dtype;
use std::rc::Rc;

/// Numbers of one kind in a file of the archive.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    pub(super) dtype: Dtype,
    /// The name of its file.
    pub(super) key: Rc<str>,
    /// How many numbers.
    pub(super) length: usize,
}

/// A view into a storage. Steps and offset count numbers.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub(super) storage: Storage,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// The kind of numbers in PyTorch's storage of this name.
pub(super) fn storage_dtype(name: &str) -> Option<Dtype> {
    Some(match name {
        "DoubleStorage" => Dtype::F64,
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        _ => return None,
    })
}

impl Tensor {
    /// The values, row after row.
    pub(super) fn read<'a>(&self, archive: &Archive<'a>) -> Result<RawTensor<'a>, String> {
        let Storage { dtype, key, length } = &self.storage;
        let size = dtype.bitsize() / 8;
        let data = archive.get(&format!("data/{key}"));
        let data = data.ok_or_else(|| format!("its values, `data/{key}`, are missing"))?;
        if length.checked_mul(size) != Some(data.len()) {
            return Err(format!(
                "it has {length} values of {size} bytes, and `data/{key}` has {} bytes",
                data.len()
            ));
        }
        let (values, contiguous) = self.extent().ok_or_else(|| {
            format!(
                "shape {:?} with strides {:?} from {} on does not fit its {length} values",
                self.shape, self.strides, self.offset
            )
        })?;
        let bytes = |at: usize, count: usize| &data[at * size..(at + count) * size];
        if contiguous {
            let bytes = bytes(self.offset, values);
            return Ok(RawTensor::borrowed(*dtype, self.shape.clone(), bytes));
        }
        let mut gathered = Vec::with_capacity(values * size);
        let mut index = vec![0; self.shape.len()];
        for _ in 0..values {
            let steps = index.iter().zip(&self.strides);
            let at = self.offset + steps.map(|(i, stride)| i * stride).sum::<usize>();
            gathered.extend_from_slice(bytes(at, 1));
            for (i, side) in index.iter_mut().zip(&self.shape).rev() {
                *i += 1;
                if *i < *side {
                    break;
                }
                *i = 0;
            }
        }
        Ok(RawTensor::owned(*dtype, self.shape.clone(), gathered))
    }

    /// How many values there are, and whether they follow one another. `None` when they do not fit
    /// the storage, as when values are repeated to more than it has.
    fn extent(&self) -> Option<(usize, bool)> {
        if self.shape.len() != self.strides.len() {
            return None;
        }
        let (mut values, mut last, mut contiguous) = (1usize, self.offset, true);
        for (side, stride) in self.shape.iter().zip(&self.strides).rev() {
            contiguous &= *side == 1 || *stride == values;
            values = values.checked_mul(*side)?;
            last = last.checked_add(stride.checked_mul(side.saturating_sub(1))?)?;
        }
        let fits = match values {
            0 => self.offset <= self.storage.length,
            _ => last < self.storage.length && values <= self.storage.length,
        };
        fits.then_some((values, contiguous || values == 0))
    }
}
