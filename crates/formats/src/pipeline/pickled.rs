//! Folders whose weights are pickled.

use super::{Pipeline, PipelineComponents};
use crate::diffusers::weights;
use crate::pickle::{self, Pickles};
use crate::{FormatError, write_atomically};
use std::path::Path;

impl Pipeline {
    /// Writes a copy of a folder in which pickled weights are safetensors. Nothing is written
    /// before all of them are read.
    ///
    /// # Errors
    /// When a file is no pickle of tensors, names anything that tensors are not made with, or
    /// cannot be read or written.
    pub fn import_pickled(from: &Path, to: &Path) -> Result<(), FormatError> {
        let components = PipelineComponents::open(from)?;
        let mut converted = vec![];
        let mut whole = vec![];
        for &part in components.weights() {
            let folder = from.join(part.folder());
            let exists = |name: &str| folder.join(name).is_file();
            match (
                weights::locate(part, exists),
                weights::pickled(part, exists),
            ) {
                (Err(_), Some(file)) => {
                    let bytes = pickle::read_weights(&folder.join(file), Pickles::Allowed)?;
                    converted.push((part.weights_file(), bytes));
                }
                (Ok(_), _) => whole.push(part.folder()),
                (Err(missing), None) => return Err(missing.error(&folder)),
            }
        }
        components.copy_all_but_weights(to)?;
        for part in whole {
            components.copy_weights(part, to)?;
        }
        for (file, bytes) in converted {
            write_atomically(&to.join(file), &bytes)?;
        }
        Ok(())
    }
}
