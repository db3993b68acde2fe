//! What a file of weights is, from its header only: no weights are read.

pub(crate) mod gguf;
mod layout;
mod safetensors;

pub use layout::{Layout, UNetFacts};

use crate::FormatError;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// A file of weights, as its header describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WeightsFile {
    /// Its format: `safetensors`, or `GGUF` with its version.
    pub format: String,
    /// What kind of model its tensors belong to.
    pub layout: Layout,
    /// The parts of the model in it, each with the number of its parameters.
    pub parts: Vec<(String, u64)>,
    /// The number of all parameters.
    pub parameters: u64,
    /// Types of the numbers, the one of most parameters first.
    pub types: Vec<String>,
    /// What the shapes say of the U-Net, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unet: Option<UNetFacts>,
    /// The texts in its metadata.
    pub entries: BTreeMap<String, String>,
}

/// A tensor in a header.
struct Tensor {
    name: String,
    /// As PyTorch has it: the fastest dimension last.
    shape: Vec<u64>,
    number: String,
}

impl Tensor {
    fn parameters(&self) -> u64 {
        let sides = self.shape.iter().copied();
        sides.fold(1, u64::saturating_mul)
    }
}

/// Adds the parameters of a tensor. A header can name more than any file has.
fn add(sum: &mut u64, tensor: &Tensor) {
    *sum = sum.saturating_add(tensor.parameters());
}

fn parameters(tensors: &[Tensor]) -> u64 {
    let mut sum = 0;
    tensors.iter().for_each(|tensor| add(&mut sum, tensor));
    sum
}

/// Format, metadata and tensors of a file.
struct Header {
    format: String,
    entries: BTreeMap<String, String>,
    tensors: Vec<Tensor>,
}

impl WeightsFile {
    /// Reads the header of a safetensors or GGUF file; the contents decide, not the name.
    ///
    /// # Errors
    /// When the file cannot be read, is not whole, or is of another format.
    pub fn inspect(path: &Path) -> Result<Self, FormatError> {
        let file = File::open(path).map_err(|source| FormatError::Read {
            path: path.into(),
            source,
        })?;
        Self::read(BufReader::new(file), path)
    }

    /// The same of what is open already; `path` names it in messages.
    ///
    /// # Errors
    /// As [`WeightsFile::inspect`].
    pub fn read(mut file: impl Read + Seek, path: &Path) -> Result<Self, FormatError> {
        let unread = |source| FormatError::Read {
            path: path.into(),
            source,
        };
        let size = file.seek(SeekFrom::End(0)).map_err(unread)?;
        file.rewind().map_err(unread)?;
        let mut magic = vec![];
        file.by_ref()
            .take(4)
            .read_to_end(&mut magic)
            .map_err(unread)?;
        file.rewind().map_err(unread)?;
        let header = match &magic[..] {
            gguf::MAGIC => gguf::header(file, path)?,
            // A zip archive, or the protocol of older files.
            b"PK\x03\x04" | [0x80, ..] if !is_safetensors(path) => return Ok(Self::pickle()),
            _ => safetensors::header(file, size, path)?,
        };
        Ok(Self::of(header))
    }

    /// Pickled weights, of which nothing is read.
    fn pickle() -> Self {
        let header = Header {
            format: "pickle".into(),
            entries: BTreeMap::new(),
            tensors: vec![],
        };
        Self {
            layout: Layout::Pickle,
            ..Self::of(header)
        }
    }

    fn of(header: Header) -> Self {
        let mut types: BTreeMap<&str, u64> = BTreeMap::new();
        for tensor in &header.tensors {
            add(types.entry(&tensor.number).or_default(), tensor);
        }
        let mut types: Vec<_> = types.into_iter().collect();
        types.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let types = types.into_iter().map(|(number, _)| number.to_string());
        Self {
            types: types.collect(),
            layout: layout::of(&header.tensors),
            parts: layout::parts(&header.tensors),
            parameters: parameters(&header.tensors),
            unet: layout::unet(&header.tensors),
            format: header.format,
            entries: header.entries,
        }
    }
}

/// Whether a file says by its name that it is one. Their first byte may be any.
fn is_safetensors(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default();
    ending.eq_ignore_ascii_case("safetensors")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// Two tensors of 2^63 parameters are not none.
    #[test]
    fn parameters_do_not_overflow() {
        let tensor = r#"{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,0]}"#;
        let header = format!(r#"{{"conv_in.weight":{tensor},"conv_out.weight":{tensor}}}"#);
        let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
        let found = WeightsFile::read(Cursor::new(file), Path::new("file")).expect("a header");
        assert_eq!(found.parameters, u64::MAX);
        assert_eq!(found.parts, [("other".to_string(), u64::MAX)]);
    }
}
