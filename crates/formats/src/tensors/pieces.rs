//! Parts of a file, read piece by piece on all threads.

use burn::tensor::DType;
use bytemuck::Pod;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};
use rayon::prelude::*;
use std::fs::File;
use std::io;

/// Values that are read at a time: they stay in a second-level cache until they are widened.
const PIECE: usize = 32 * 1024;

/// So many values from `start` on, as they are stored.
pub(super) fn values<T: Pod + Send>(file: &File, start: u64, count: usize) -> io::Result<Vec<T>> {
    let mut values = vec![T::zeroed(); count];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut values);
    let pieces = bytes.par_chunks_mut(4 * PIECE).enumerate();
    pieces.try_for_each(|(piece, bytes)| {
        let at = start + (piece * 4 * PIECE) as u64;
        read_at(file, bytes, at)
    })?;
    Ok(values)
}

/// The floats of this type from `start` on, in 32 bits.
pub(super) fn floats(file: &File, start: u64, count: usize, dtype: DType) -> io::Result<Vec<f32>> {
    let size = dtype.size();
    let mut floats = vec![0.0; count];
    let pieces = floats.par_chunks_mut(PIECE).enumerate();
    pieces.try_for_each_init(
        || vec![0; PIECE * size],
        |bytes, (piece, floats)| {
            let bytes = &mut bytes[..floats.len() * size];
            read_at(file, bytes, start + (piece * PIECE * size) as u64)?;
            widen(dtype, bytes, floats)
        },
    )?;
    Ok(floats)
}

fn widen(dtype: DType, bytes: &[u8], floats: &mut [f32]) -> io::Result<()> {
    match dtype {
        DType::F64 => {
            for (float, bytes) in floats.iter_mut().zip(bytes.as_chunks().0) {
                *float = f64::from_le_bytes(*bytes) as f32;
            }
        }
        DType::F32 => {
            for (float, bytes) in floats.iter_mut().zip(bytes.as_chunks().0) {
                *float = f32::from_le_bytes(*bytes);
            }
        }
        DType::F16 => halves(bytes)
            .reinterpret_cast::<f16>()
            .convert_to_f32_slice(floats),
        DType::BF16 => halves(bytes)
            .reinterpret_cast::<bf16>()
            .convert_to_f32_slice(floats),
        other => return Err(io::Error::other(format!("{other:?} is no float"))),
    }
    Ok(())
}

fn halves(bytes: &[u8]) -> Vec<u16> {
    let halves = bytes.as_chunks().0.iter().copied();
    halves.map(u16::from_le_bytes).collect()
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                bytes = &mut bytes[read..];
                at += read as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom, Write};

    /// More than two pieces, of which the last is not full, behind a header.
    const COUNT: usize = 2 * PIECE + 77;
    const START: u64 = 13;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.seek(SeekFrom::Start(START)).expect("sought");
        file.write_all(bytes).expect("written");
        file
    }

    #[test]
    fn floats_of_every_type_are_widened_in_their_places() {
        let numbers: Vec<f32> = (0..COUNT).map(|i| (i % 2000) as f32 / 8.0 - 90.0).collect();
        let of = |bytes: fn(f32) -> Vec<u8>| numbers.iter().copied().flat_map(bytes).collect();
        let types: [(DType, Vec<u8>); 4] = [
            (DType::F64, of(|v| f64::from(v).to_le_bytes().to_vec())),
            (DType::F32, of(|v| v.to_le_bytes().to_vec())),
            (DType::F16, of(|v| f16::from_f32(v).to_le_bytes().to_vec())),
            (
                DType::BF16,
                of(|v| bf16::from_f32(v).to_le_bytes().to_vec()),
            ),
        ];
        for (dtype, stored) in types {
            let file = file(&stored);
            let read = floats(&file, START, COUNT, dtype).expect("read");
            let round = |v: f32| match dtype {
                DType::BF16 => bf16::from_f32(v).to_f32(),
                _ => v,
            };
            assert!(
                read.iter().zip(&numbers).all(|(r, v)| *r == round(*v)),
                "{dtype:?}"
            );
            let whole: Vec<u8> = values(&file, START, stored.len()).expect("read");
            assert_eq!(whole, stored);
            let halves: Vec<u16> = values(&file, START, stored.len() / 2).expect("read");
            assert_eq!(bytemuck::cast_slice::<u16, u8>(&halves), stored);
            assert!(floats(&file, START, COUNT + 1, dtype).is_err(), "{dtype:?}");
            let beyond = values::<u8>(&file, START + 1, stored.len());
            assert!(beyond.is_err(), "{dtype:?}");
        }
        assert!(floats(&file(&[0; 8]), START, 1, DType::I64).is_err());
    }
}
