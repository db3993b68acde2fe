//! From PyTorch's names and layouts to the framework's.

use burn::store::burn_pack::Tensor as PackTensor;
use burn::store::{ModuleAdapter, ModuleContext, PyTorchToBurnAdapter};
use burn::tensor::Bytes;
use bytemuck::Pod;
use rayon::prelude::*;

/// The framework's adapter, with the weights of linear layers transposed in cache lines on all
/// threads: element by element it takes a fifth of the time that reading Stable Diffusion takes.
#[derive(Clone, Copy)]
pub(super) struct FromPyTorch;

impl ModuleAdapter for FromPyTorch {
    fn adapt(&self, tensor: PackTensor, context: ModuleContext<'_>) -> PackTensor {
        let is_linear = context.module_type() == Some("Struct:Linear");
        let shape = tensor.shape.clone();
        match *shape.as_slice() {
            [rows, columns] if is_linear && tensor.dtype.is_float() => {
                let transposed: fn(&[u8], usize) -> Bytes = match tensor.dtype.size() {
                    2 => |bytes, rows| Bytes::from_elems(transposed::<u16, 2>(bytes, rows)),
                    4 => |bytes, rows| Bytes::from_elems(transposed::<u32, 4>(bytes, rows)),
                    _ => return PyTorchToBurnAdapter.adapt(tensor, context),
                };
                let (name, dtype) = (tensor.name.clone(), tensor.dtype);
                let (id, shape, length) = (tensor.param_id, [columns, rows], tensor.byte_len());
                PackTensor::deferred(name, dtype, shape, id, length, move || {
                    let bytes = tensor.to_bytes()?;
                    Ok(transposed(&bytes, rows))
                })
            }
            _ => PyTorchToBurnAdapter.adapt(tensor, context),
        }
    }

    fn get_alternative_param_name(&self, name: &str, container: &str) -> Option<String> {
        PyTorchToBurnAdapter.get_alternative_param_name(name, container)
    }

    fn clone_box(&self) -> Box<dyn ModuleAdapter> {
        Box::new(*self)
    }
}

/// Columns that a task turns into rows.
const COLUMNS: usize = 64;
/// Rows of which the values of these columns are in the first-level cache: a cache line of a column.
const ROWS: usize = 16;

/// The values of so many rows, column by column; each has `N` bytes. They come as `T`, which only
/// says how they lie: the framework copies bytes that do not lie as its numbers do.
fn transposed<T: Pod, const N: usize>(bytes: &[u8], rows: usize) -> Vec<T>
where
    [u8; N]: Pod,
{
    let values = bytes.as_chunks::<N>().0;
    let mut transposed = vec![T::zeroed(); values.len()];
    let columns = values.len() / rows.max(1);
    let out: &mut [[u8; N]] = bytemuck::cast_slice_mut(&mut transposed);
    let strips = out.par_chunks_mut((COLUMNS * rows).max(1));
    strips.enumerate().for_each(|(strip, out)| {
        for first in (0..rows).step_by(ROWS) {
            let last = rows.min(first + ROWS);
            for (column, line) in out.chunks_exact_mut(rows).enumerate() {
                let column = strip * COLUMNS + column;
                let values = values[column..].iter().step_by(columns);
                for (out, value) in line[first..last].iter_mut().zip(values.skip(first)) {
                    *out = *value;
                }
            }
        }
    });
    transposed
}

#[cfg(test)]
mod tests {
    use super::transposed;

    #[test]
    fn every_value_changes_its_row_for_its_column() {
        for (rows, columns) in [
            (1, 1),
            (1, 40),
            (40, 1),
            (7, 33),
            (64, 48),
            (50, 130),
            (0, 5),
            (5, 0),
        ] {
            let value = |row: usize, column: usize| (row * columns + column) as f32;
            let all = (0..rows * columns).map(|at| at as f32);
            let bytes: Vec<u8> = all.flat_map(f32::to_le_bytes).collect();
            let expected = (0..columns).flat_map(|c| (0..rows).map(move |r| value(r, c)));
            let expected: Vec<f32> = expected.collect();
            let halves = |v: &f32| *v as u16;
            let narrow = (0..rows * columns).flat_map(|at| (at as u16).to_le_bytes());
            assert_eq!(
                transposed::<u16, 2>(&narrow.collect::<Vec<u8>>(), rows),
                expected.iter().map(halves).collect::<Vec<u16>>(),
                "{rows} x {columns}"
            );
            assert_eq!(
                transposed::<f32, 4>(&bytes, rows),
                expected,
                "{rows} x {columns}"
            );
        }
    }
}
