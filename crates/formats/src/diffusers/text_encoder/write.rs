//! The weights of text encoders as files, under the names that all versions of transformers read.

use super::TextEncoder;
use crate::diffusers::part::Part;
use crate::tensors::module;
use crate::{FormatError, write_atomically_with};
use burn::module::Module;
use std::path::Path;

impl TextEncoder {
    /// Writes the weights into the folders that encoders have inside that of a model.
    pub(crate) fn save_weights(&self, folder: &Path) -> Result<(), FormatError> {
        let (first, second) = (Part::TextEncoder, Part::TextEncoder2);
        match self {
            Self::Clip(_, network) => save(network, first, folder, &name_of_clip),
            Self::Two(two) => {
                let mut parts = [first, second].into_iter().zip(two.networks());
                parts.try_for_each(|(part, network)| save(network, part, folder, &name_of_clip))
            }
            Self::Bert(_, network) => save(network, first, folder, &name_of_bert),
            Self::Classes(classes) => {
                let name = &str::to_owned;
                save(classes.table(), Part::ClassEmbedder, folder, name)
            }
        }
    }
}

fn save(
    network: &impl Module,
    part: Part,
    folder: &Path,
    name: &dyn Fn(&str) -> String,
) -> Result<(), FormatError> {
    write_atomically_with(&folder.join(part.weights_file()), |out| {
        module::write_plain(network, name, out)
    })
}

/// transformers before 5 has all but the projection inside `text_model`, and later ones read that.
fn name_of_clip(name: &str) -> String {
    match name.starts_with("text_projection.") {
        true => name.into(),
        false => format!("text_model.{name}"),
    }
}

fn name_of_bert(name: &str) -> String {
    name.replace(".attention.own.", ".attention.self.")
        .replace(".layer_norm.", ".LayerNorm.")
}
