//! The header of a GGUF file.
//!
//! Source: `docs/gguf.md` of ggml, versions 2 and 3. All numbers are little-endian.

use super::{Header, Tensor};
use crate::FormatError;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

/// The first bytes of a file.
pub(crate) const MAGIC: &[u8] = b"GGUF";

/// More than any real file has: of entries, of tensors, of bytes in a text.
const MAX_COUNT: u64 = 1 << 20;
const MAX_TEXT: u64 = 1 << 26;
const MAX_DIMENSIONS: u32 = 8;

/// What stands before the values of a file.
pub(crate) struct Head {
    version: u32,
    pub(crate) entries: BTreeMap<String, String>,
    pub(crate) tensors: Vec<Place>,
}

/// Where a tensor is.
pub(crate) struct Place {
    pub(crate) name: String,
    /// As PyTorch has it: the fastest dimension last.
    pub(crate) shape: Vec<u64>,
    /// ggml's number of its type.
    pub(crate) kind: u32,
    /// Bytes from where the values begin.
    pub(crate) offset: u64,
}

pub(super) fn header(file: impl Read, path: &Path) -> Result<Header, FormatError> {
    let head = head(file).map_err(|error| broken(&error, path))?;
    let tensors = head.tensors.into_iter().map(|place| Tensor {
        number: type_name(place.kind),
        name: place.name,
        shape: place.shape,
    });
    Ok(Header {
        tensors: tensors.collect(),
        format: format!("GGUF version {}", head.version),
        entries: head.entries,
    })
}

/// The error about a file that cannot be read.
pub(crate) fn broken(error: &io::Error, path: &Path) -> FormatError {
    FormatError::NotGguf {
        origin: path.display().to_string(),
        reason: match error.kind() {
            io::ErrorKind::UnexpectedEof => "its end is missing".into(),
            _ => error.to_string(),
        },
    }
}

/// Reads up to the end of the head, which values follow after the alignment.
pub(crate) fn head(mut file: impl Read) -> io::Result<Head> {
    let file = &mut file;
    let [_magic, version] = [number(file)?, number(file)?];
    if !(2..=3).contains(&version) {
        return Err(io::Error::other(format!("it is of version {version}")));
    }
    let [tensors, entries] = [count(file)?, count(file)?];
    let mut texts = BTreeMap::new();
    for _ in 0..entries {
        let key = text(file)?;
        let kind = number(file)?;
        if let Some(value) = value(file, kind)? {
            texts.insert(key, value);
        }
    }
    let tensors = (0..tensors).map(|_| place(file));
    Ok(Head {
        version,
        tensors: tensors.collect::<io::Result<_>>()?,
        entries: texts,
    })
}

fn place(file: &mut impl Read) -> io::Result<Place> {
    let name = text(file)?;
    let dimensions = number(file)?;
    if dimensions > MAX_DIMENSIONS {
        return Err(io::Error::other(format!(
            "`{name}` has {dimensions} dimensions"
        )));
    }
    let shape = (0..dimensions).map(|_| long(file));
    let mut shape = shape.collect::<io::Result<Vec<u64>>>()?;
    shape.reverse();
    Ok(Place {
        name,
        shape,
        kind: number(file)?,
        offset: long(file)?,
    })
}

/// The value of an entry, unless it is a list.
fn value(file: &mut impl Read, kind: u32) -> io::Result<Option<String>> {
    Ok(Some(match kind {
        0 => u8::from_le_bytes(bytes(file)?).to_string(),
        1 => i8::from_le_bytes(bytes(file)?).to_string(),
        2 => u16::from_le_bytes(bytes(file)?).to_string(),
        3 => i16::from_le_bytes(bytes(file)?).to_string(),
        4 => number(file)?.to_string(),
        5 => i32::from_le_bytes(bytes(file)?).to_string(),
        6 => f32::from_le_bytes(bytes(file)?).to_string(),
        7 => (bytes(file)? != [0]).to_string(),
        8 => text(file)?,
        9 => {
            let kind = number(file)?;
            let count = long(file)?;
            if kind == 9 || count > MAX_TEXT {
                return Err(io::Error::other("a list in it is too long"));
            }
            for _ in 0..count {
                value(file, kind)?;
            }
            return Ok(None);
        }
        10 => long(file)?.to_string(),
        11 => i64::from_le_bytes(bytes(file)?).to_string(),
        12 => f64::from_le_bytes(bytes(file)?).to_string(),
        _ => {
            return Err(io::Error::other(format!(
                "it has an entry of the unknown type {kind}"
            )));
        }
    }))
}

fn bytes<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn number(file: &mut impl Read) -> io::Result<u32> {
    bytes(file).map(u32::from_le_bytes)
}

fn long(file: &mut impl Read) -> io::Result<u64> {
    bytes(file).map(u64::from_le_bytes)
}

fn count(file: &mut impl Read) -> io::Result<u64> {
    match long(file)? {
        count if count <= MAX_COUNT => Ok(count),
        count => Err(io::Error::other(format!(
            "it says that it has {count} parts"
        ))),
    }
}

fn text(file: &mut impl Read) -> io::Result<String> {
    let length = long(file)?;
    if length > MAX_TEXT {
        return Err(io::Error::other("a text in it is too long"));
    }
    let mut bytes = vec![];
    if file.take(length).read_to_end(&mut bytes)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// ggml's name of a type.
pub(crate) fn type_name(number: u32) -> String {
    const NAMES: [&str; 16] = [
        "F32", "F16", "Q4_0", "Q4_1", "Q4_2", "Q4_3", "Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q2_K",
        "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_K",
    ];
    match NAMES.get(number as usize) {
        Some(name) => (*name).into(),
        None if number == 30 => "BF16".into(),
        None => format!("type {number}"),
    }
}
