//! The parameters of a module as a safetensors file that describes itself.

use super::file::{self, Entries};
use super::{apply, deferred};
use crate::{FormatError, reading};
use burn::module::Module;
use burn::store::{
    BurnToPyTorchAdapter, ChainAdapter, FloatCastAdapter, ModuleSnapshot, ModuleStore,
    SafetensorsStore, burn_pack,
};
use burn::tensor::DType;
use fewstep_nn::WeightFormat;
use safetensors::View;
use safetensors::tensor::Dtype;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

/// The key of our description in the metadata of a safetensors file.
const METADATA_KEY: &str = "fewstep";

/// How weights are stored. Computation is in f32 either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FilePrecision {
    /// 32 bits.
    #[default]
    Full,
    /// Rounded to 16-bit floats: half the size, for sampling only.
    Half,
}

/// Writes a module as a safetensors file, with its description in the metadata; parameter by
/// parameter, so that it takes no second copy of the module.
///
/// # Errors
/// When the description is none of JSON's, or nothing can be written.
pub(crate) fn write<M: Module>(
    module: &M,
    description: &impl Serialize,
    precision: FilePrecision,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let dtype = match precision {
        FilePrecision::Full => DType::F32,
        FilePrecision::Half => DType::F16,
    };
    let adapter = ChainAdapter::new(BurnToPyTorchAdapter, FloatCastAdapter::to(dtype));
    let tensors = module
        .collect(None, Some(Box::new(adapter)), true)
        .into_iter();
    let tensors = tensors.map(|tensor| (tensor.name.clone(), Parameter(tensor)));
    let description = serde_json::to_string(description)?;
    let entries = [("format", "pt".to_string()), (METADATA_KEY, description)];
    let entries = entries.map(|(key, value)| (key.to_string(), value)).into();
    file::write(tensors.collect(), &entries, out)
}

/// Writes a module as other programs do: without a description, under the names that `name` makes
/// of ours.
pub(crate) fn write_plain(
    module: &impl Module,
    name: &dyn Fn(&str) -> String,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let tensors = module.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
    let named = |tensor: burn_pack::Tensor| (name(&tensor.name), Parameter(tensor));
    let entries = [("format".to_string(), "pt".to_string())].into();
    file::write(tensors.into_iter().map(named).collect(), &entries, out)
}

/// The same in memory.
pub(crate) fn to_bytes<M: Module>(
    module: &M,
    description: &impl Serialize,
    precision: FilePrecision,
) -> Result<Vec<u8>, FormatError> {
    let mut bytes = vec![];
    let written = write(module, description, precision, &mut bytes);
    written.map_err(|error| FormatError::NotSafetensors {
        origin: "the model in memory".into(),
        reason: error.to_string(),
    })?;
    Ok(bytes)
}

/// A parameter that is read back when it is written.
struct Parameter(burn_pack::Tensor);

impl View for Parameter {
    fn dtype(&self) -> Dtype {
        match self.0.dtype {
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            _ => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        self.0.shape.as_slice()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let bytes = self.0.to_bytes();
        Cow::Owned(
            bytes
                .expect("a parameter in memory can be read back")
                .to_vec(),
        )
    }

    fn data_len(&self) -> usize {
        self.0.byte_len()
    }
}

/// The parameters of a module and its description, from a safetensors file.
pub(crate) struct ModuleFile {
    /// What messages call it.
    pub(crate) origin: String,
    entries: Entries,
    tensors: Vec<burn_pack::Tensor>,
}

impl ModuleFile {
    /// Those in a file, or in the weights inside a folder. Each parameter is read when it is put into
    /// a module, except from a pipe, which can be read once only.
    ///
    /// # Errors
    /// When there is no such file, which is where the model was `expected`, or it is damaged.
    pub(crate) fn open(
        path: &Path,
        inside: &str,
        expected: &'static str,
    ) -> Result<Self, FormatError> {
        let file = match path.is_dir() {
            true => path.join(inside),
            false => PathBuf::from(path),
        };
        if path.is_dir() && !file.is_file() {
            return Err(FormatError::NoModel {
                path: path.into(),
                expected,
            });
        }
        let origin = file.display().to_string();
        if !file.is_file() {
            return Self::from_bytes(reading::bytes(&file)?, &origin);
        }
        let (entries, tensors) = deferred::open(&file, WeightFormat::default())?;
        Ok(Self {
            origin,
            entries,
            tensors,
        })
    }

    /// Those in the bytes of a file.
    ///
    /// # Errors
    /// When they are no such file.
    pub(crate) fn from_bytes(bytes: Vec<u8>, origin: &str) -> Result<Self, FormatError> {
        let entries = entries(&bytes, origin)?;
        let mut store = SafetensorsStore::from_bytes(Some(bytes));
        let tensors = store
            .get_all_tensors()
            .map_err(|e| FormatError::NotSafetensors {
                origin: origin.into(),
                reason: e.to_string(),
            })?;
        Ok(Self {
            origin: origin.into(),
            entries,
            tensors: tensors.values().cloned().collect(),
        })
    }

    /// The description beside them.
    ///
    /// # Errors
    /// When there is none, or it is not of this kind.
    pub(crate) fn description<D: DeserializeOwned>(&self) -> Result<D, FormatError> {
        described(&self.entries, &self.origin)
    }

    /// Fills a module, whose parameters they must be, and no more.
    ///
    /// # Errors
    /// When they are not, cannot be read, or have values that are not finite.
    pub(crate) fn fill(self, module: &mut impl Module) -> Result<(), FormatError> {
        let tensors = self.tensors.into_iter().map(|mut tensor| {
            // What earlier versions called a ControlNet inside a network.
            if let Some(name) = tensor.name.strip_prefix("adapter.") {
                tensor.name = format!("controlnet.{name}");
            }
            tensor
        });
        apply::apply(module, tensors.collect(), &self.origin)
    }
}

/// The texts in the metadata of a safetensors file.
fn entries(bytes: &[u8], origin: &str) -> Result<Entries, FormatError> {
    let (_, header) = safetensors::SafeTensors::read_metadata(bytes).map_err(|e| {
        FormatError::NotSafetensors {
            origin: origin.into(),
            reason: e.to_string(),
        }
    })?;
    Ok(header.metadata().clone().into_iter().flatten().collect())
}

/// The description in the metadata of a safetensors file.
pub(crate) fn read_description<D: DeserializeOwned>(
    bytes: &[u8],
    origin: &str,
) -> Result<D, FormatError> {
    described(&entries(bytes, origin)?, origin)
}

fn described<D: DeserializeOwned>(entries: &Entries, origin: &str) -> Result<D, FormatError> {
    let description = entries
        .get(METADATA_KEY)
        .ok_or_else(|| FormatError::NoDescription {
            origin: origin.into(),
        })?;
    serde_json::from_str(description).map_err(|e| FormatError::BadDescription {
        origin: origin.into(),
        reason: e.to_string(),
    })
}
