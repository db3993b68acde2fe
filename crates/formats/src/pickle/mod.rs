//! Pickled weights, as PyTorch writes them: read without running anything.
//!
//! A pickle is a program for a small machine that can call any function of Python. This reader has
//! the machine's instructions for data only, and knows the handful of names that tensors are made
//! with. Any other name is a value that nobody looks at, and so is what it would make when it is
//! called; calls that could run anything are refused.
//!
//! Source: Python's `pickletools` for the instructions; PyTorch's `torch/serialization.py` and
//! `torch/_utils.py` for the layout of the file and the names.

mod archive;
mod calls;
mod legacy;
mod machine;
mod tensor;
#[cfg(test)]
mod tests;
mod value;

use crate::tensors::file::{self, Entries};
use crate::tensors::raw::RawTensor;
use crate::{FormatError, reading};
use archive::Archive;
use machine::Machine;
use safetensors::View;
use std::collections::BTreeMap;
use std::path::Path;
use value::{Container, Value};

/// Whether pickled weights may be read. They are read without running anything, and nevertheless
/// only on request: a user should know what such a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pickles {
    /// They are refused.
    Refused,
    /// They are read.
    Allowed,
}

/// Endings of files that are pickled.
pub(crate) const ENDINGS: [&str; 3] = ["bin", "ckpt", "pt"];

/// The bytes of a safetensors file, which a pickled one is made into where that is allowed.
pub(crate) fn read_weights(file: &Path, pickles: Pickles) -> Result<Vec<u8>, FormatError> {
    let bytes = reading::bytes(file)?;
    match (is_pickle(file, &bytes), pickles) {
        (false, _) => Ok(bytes),
        (true, Pickles::Allowed) => unpickle(&bytes, &file.display().to_string()),
        (true, Pickles::Refused) => Err(FormatError::PickleRefused {
            origin: file.display().to_string(),
        }),
    }
}

/// Whether a file is pickled, by how it begins and by its ending.
pub(crate) fn is_pickle(file: &Path, bytes: &[u8]) -> bool {
    let ending = file.extension().and_then(|ending| ending.to_str());
    let starts = [archive::MAGIC, legacy::MAGIC];
    let starts = starts.iter().any(|start| bytes.starts_with(start));
    starts || ending.is_some_and(|e| ENDINGS.contains(&e))
}

/// The tensors of a pickled textual inversion as the bytes of a safetensors file, and the name that it
/// says, as web interfaces write it.
///
/// # Errors
/// As [`unpickle`].
pub(crate) fn unpickle_embedding(
    bytes: &[u8],
    origin: &str,
) -> Result<(Vec<u8>, Option<String>), FormatError> {
    let read = |bytes| {
        let pickled = Pickled::read(bytes)?;
        let mut entries = pickled.machine.entries(&pickled.all);
        let name = entries.find_map(|(key, value)| match value {
            Value::Text(name) if key.as_ref() == "name" => Some(name.to_string()),
            _ => None,
        });
        Ok((pickled.to_safetensors("string_to_param")?, name))
    };
    read(bytes).map_err(|reason| FormatError::Pickle {
        origin: origin.into(),
        reason,
    })
}

/// How often the values in a file may be repeated: tied weights share them, a few times at most, and
/// a small file must not become a huge one.
const MOST_REPEATED: usize = 16;

/// The tensors of a pickle as the bytes of a safetensors file; `origin` names it in messages.
///
/// # Errors
/// When it is no pickle of tensors, or names anything that tensors are not made with.
pub fn unpickle(bytes: &[u8], origin: &str) -> Result<Vec<u8>, FormatError> {
    to_safetensors(bytes).map_err(|reason| FormatError::Pickle {
        origin: origin.into(),
        reason,
    })
}

/// The machine that has made what is in an archive, that value, and the archive.
fn of_archive(bytes: &[u8]) -> Result<(Machine<'_>, Value, Archive<'_>), String> {
    let archive = Archive::read(bytes)?;
    if archive
        .get("byteorder")
        .is_some_and(|order| order != b"little")
    {
        return Err("it was written on a big-endian machine".into());
    }
    let program = archive.get("data.pkl").ok_or("it has no `data.pkl`")?;
    let mut machine = Machine::new(program);
    let made = machine.run()?;
    Ok((machine, made, archive))
}

/// The tensors of a pickle by name: of a dictionary, or of the `state_dict` in it.
fn to_safetensors(bytes: &[u8]) -> Result<Vec<u8>, String> {
    Pickled::read(bytes)?.to_safetensors("state_dict")
}

/// What a pickle has made.
struct Pickled<'a> {
    machine: Machine<'a>,
    all: Value,
    archive: Archive<'a>,
    /// Bytes of the file.
    size: usize,
}

impl<'a> Pickled<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let (machine, all, archive) = match bytes.starts_with(legacy::MAGIC) {
            true => legacy::read(bytes)?,
            false => of_archive(bytes)?,
        };
        Ok(Self {
            machine,
            all,
            archive,
            size: bytes.len(),
        })
    }

    /// The tensors of its dictionary, or of the dictionary in it that has this name.
    fn to_safetensors(&self, inner: &str) -> Result<Vec<u8>, String> {
        let machine = &self.machine;
        let within = machine.entries(&self.all).find(|(name, value)| {
            name.as_ref() == inner && matches!(machine.container(value), Some(Container::Map(_)))
        });
        let all = within.map_or(&self.all, |(_, value)| value);
        let mut tensors: BTreeMap<String, RawTensor> = BTreeMap::new();
        let mut size = 0usize;
        for (name, value) in machine.entries(all) {
            if let Value::Tensor(tensor) = value {
                let stored = tensor.read(&self.archive);
                let stored = stored.map_err(|reason| format!("tensor `{name}`: {reason}"))?;
                size = size.saturating_add(stored.data_len());
                if size > MOST_REPEATED.saturating_mul(self.size) {
                    return Err("its tensors repeat the same values too often".into());
                }
                tensors.insert(name.to_string(), stored);
            }
        }
        if tensors.is_empty() {
            return Err("it holds no tensors by name".into());
        }
        let entries = Entries::from([("format".into(), "pt".into())]);
        file::to_bytes(tensors, &entries).map_err(|error| error.to_string())
    }
}
