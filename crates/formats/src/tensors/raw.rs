//! A tensor as a file has it.

use super::finite;
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{TensorView, View};
use std::borrow::Cow;

/// A tensor in the bytes of its file, or put together from several.
#[derive(Clone)]
pub(crate) struct RawTensor<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Cow<'a, [u8]>,
}

impl<'a> From<TensorView<'a>> for RawTensor<'a> {
    fn from(view: TensorView<'a>) -> Self {
        Self::borrowed(view.dtype(), view.shape().to_vec(), view.data())
    }
}

impl<'a> RawTensor<'a> {
    /// Its first rows, where it has more.
    pub(crate) fn first_rows(self, rows: usize) -> Self {
        let mut shape = self.shape;
        let size = self.data.len() / shape[0].max(1);
        shape[0] = shape[0].min(rows);
        let data = match self.data {
            Cow::Borrowed(data) => Cow::Borrowed(&data[..shape[0] * size]),
            Cow::Owned(mut data) => {
                data.truncate(shape[0] * size);
                Cow::Owned(data)
            }
        };
        Self {
            shape,
            data,
            ..self
        }
    }

    /// Bytes of a file, as many as the shape needs.
    pub(crate) fn borrowed(dtype: Dtype, shape: Vec<usize>, data: &'a [u8]) -> Self {
        let data = Cow::Borrowed(data);
        Self { dtype, shape, data }
    }

    /// Bytes that were put together, as many as the shape needs.
    pub(crate) fn owned(dtype: Dtype, shape: Vec<usize>, data: Vec<u8>) -> Self {
        let data = Cow::Owned(data);
        Self { dtype, shape, data }
    }

    /// The same with zeros as values.
    pub(crate) fn zeros(&self) -> RawTensor<'static> {
        RawTensor::owned(self.dtype, self.shape.clone(), vec![0; self.data.len()])
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Whether all values are, where they are floats.
    pub(crate) fn is_finite(&self) -> bool {
        let halves = || self.data.as_chunks().0.iter();
        match self.dtype {
            Dtype::F32 => {
                let singles = self.data.as_chunks().0.iter();
                finite::all(singles.map(|b| f32::from_le_bytes(*b)))
            }
            Dtype::F16 => finite::all(halves().map(|b| f16::from_le_bytes(*b).to_f32())),
            Dtype::BF16 => finite::all(halves().map(|b| bf16::from_le_bytes(*b).to_f32())),
            _ => true,
        }
    }

    /// The values as 32-bit floats; none of what holds no floats.
    pub(crate) fn values(&self) -> Vec<f32> {
        let halves = || self.data.as_chunks().0.iter();
        match self.dtype {
            Dtype::F64 => {
                let values = self.data.as_chunks().0.iter();
                values.map(|b| f64::from_le_bytes(*b) as f32).collect()
            }
            Dtype::F32 => {
                let values = self.data.as_chunks().0.iter();
                values.map(|b| f32::from_le_bytes(*b)).collect()
            }
            Dtype::F16 => halves().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Dtype::BF16 => halves().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            _ => vec![],
        }
    }

    /// Whether it holds floats.
    pub(crate) fn is_float(&self) -> bool {
        [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16].contains(&self.dtype)
    }

    /// The bytes of the values.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// The same floats in f32, f16 or bf16; what holds no floats as it is. `None` where a value is
    /// too large.
    pub(crate) fn in_dtype(&self, dtype: Dtype) -> Option<Self> {
        if dtype == self.dtype || !self.is_float() {
            return Some(self.clone());
        }
        let values = self.values();
        let (data, most): (Vec<u8>, f32) = match dtype {
            Dtype::F16 => {
                let halves = values.iter().map(|value| f16::from_f32(*value));
                (
                    halves.flat_map(f16::to_le_bytes).collect(),
                    f16::MAX.to_f32(),
                )
            }
            Dtype::BF16 => {
                let halves = values.iter().map(|value| bf16::from_f32(*value));
                (
                    halves.flat_map(bf16::to_le_bytes).collect(),
                    bf16::MAX.to_f32(),
                )
            }
            _ => {
                let values = values.iter();
                (
                    values.flat_map(|value| value.to_le_bytes()).collect(),
                    f32::MAX,
                )
            }
        };
        let fits = values.iter().all(|value| value.abs() <= most);
        let shape = self.shape.clone();
        fits.then(|| RawTensor::owned(dtype, shape, data))
    }

    /// The same linear layer as a 1x1 convolution, which it may be already.
    pub(crate) fn into_convolution(self) -> Self {
        let sides = self.shape.iter().copied().take(2);
        let shape = sides.chain([1, 1]).collect();
        Self { shape, ..self }
    }

    /// The same 1x1 convolution as a linear layer.
    pub(crate) fn into_linear(self) -> Self {
        let shape = self.shape.iter().copied().take(2).collect();
        Self { shape, ..self }
    }

    /// The same matrix with rows as columns.
    pub(crate) fn transposed(self) -> Self {
        let [rows, columns] = self.shape[..] else {
            return self;
        };
        let size = self.data.len() / (rows * columns).max(1);
        let mut data = Vec::with_capacity(self.data.len());
        for column in 0..columns {
            for row in 0..rows {
                let start = (row * columns + column) * size;
                data.extend_from_slice(&self.data[start..start + size]);
            }
        }
        Self::owned(self.dtype, vec![columns, rows], data)
    }

    /// The rows of several tensors of one kind, one after another; `None` when they are not of one
    /// kind.
    pub(crate) fn stacked(parts: Vec<Self>) -> Option<Self> {
        let mut parts = parts.into_iter();
        let mut all = parts.next()?;
        for part in parts {
            if part.dtype != all.dtype || part.shape[1..] != all.shape[1..] {
                return None;
            }
            all.shape[0] += part.shape[0];
            all.data.to_mut().extend_from_slice(&part.data);
        }
        Some(all)
    }

    /// One of several equal parts of the rows; `None` when they cannot be divided so.
    pub(crate) fn chunk(&self, which: usize, chunks: usize) -> Option<RawTensor<'a>> {
        let rows = self.shape.first().filter(|rows| *rows % chunks == 0)? / chunks;
        let bytes = self.data.len() / chunks;
        let range = which * bytes..(which + 1) * bytes;
        let data = match &self.data {
            Cow::Borrowed(data) => Cow::Borrowed(&data[range]),
            Cow::Owned(data) => Cow::Owned(data[range].to_vec()),
        };
        Some(Self {
            dtype: self.dtype,
            shape: [&[rows], &self.shape[1..]].concat(),
            data,
        })
    }
}

impl View for RawTensor<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}
