//! What a file of weights is, from its header only: no weights are read.

mod gguf;
mod layout;
mod safetensors;

pub use layout::{Layout, UNetFacts};

use crate::FormatError;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
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
        let unread = |source| FormatError::Read {
            path: path.into(),
            source,
        };
        let file = File::open(path).map_err(unread)?;
        let size = file.metadata().map_err(unread)?.len();
        let mut file = BufReader::new(file);
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
            *types.entry(&tensor.number).or_default() += tensor.parameters();
        }
        let mut types: Vec<_> = types.into_iter().collect();
        types.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let types = types.into_iter().map(|(number, _)| number.to_string());
        Self {
            types: types.collect(),
            layout: layout::of(&header.tensors),
            parts: layout::parts(&header.tensors),
            parameters: header.tensors.iter().map(Tensor::parameters).sum(),
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
