//! `class_embedder/`: a table with a state for each class, whose last row stands for "no class".

use crate::FormatError;
use crate::diffusers::part::Part;
use crate::diffusers::weights;
use crate::fields::Fields;
use crate::names::plain;
use crate::tokenizers::Tokens;
use burn::tensor::{Device, Tensor};
use fewstep_diffusion::limits::{FEATURES, ROWS, count};
use fewstep_nn::ClassEmbedder;
use serde_json::json;
use std::path::Path;

/// Classes as texts: each is known by its name, and the empty text is no class.
#[derive(Clone, Debug)]
pub struct Classes {
    table: ClassEmbedder,
    names: Vec<String>,
    width: usize,
}

/// What the folder says.
struct Config {
    names: Vec<String>,
    width: usize,
}

/// The names of the classes that a folder says.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, FormatError> {
    Ok(config(folder)?.names)
}

fn config(folder: &Path) -> Result<Config, FormatError> {
    let mut fields = Fields::read(&folder.join("config.json"))?;
    fields.only(&[("_class_name", json!("ClassEmbedder"))])?;
    let rows: usize = fields.needed("n_classes")?;
    let width = fields.needed("embed_dim")?;
    let counted = count("n_classes", rows, ROWS).and_then(|()| count("embed_dim", width, FEATURES));
    counted.map_err(|error| fields.bad(error.to_string()))?;
    let numbered = (1..rows).map(|row| (row - 1).to_string());
    let names: Vec<String> = fields.or("classes", numbered.collect())?;
    let names: Vec<String> = names.iter().map(|name| plain(name)).collect();
    if names.is_empty() || names.len() + 1 != rows {
        return Err(fields.bad(format!(
            "`n_classes` is {rows} and `classes` has {} names: there is one row for each class, and a last one for no class",
            names.len()
        )));
    }
    fields.finish()?;
    Ok(Config { names, width })
}

impl Classes {
    pub(super) fn load(folder: &Path, device: &Device) -> Result<Self, FormatError> {
        let Config { names, width } = config(folder)?;
        let mut table = ClassEmbedder::new(names.len() + 1, width, 0, device);
        weights::load(&mut table, folder, Part::ClassEmbedder)?;
        Ok(Self {
            table,
            names,
            width,
        })
    }

    /// The names, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn table(&self) -> &ClassEmbedder {
        &self.table
    }

    pub(super) fn forward(&self, numbers: &[Vec<u32>]) -> Tensor<3> {
        self.table.forward(&numbers.concat())
    }

    /// The row of a class; what is none is cut off whole.
    pub(super) fn encode(&self, text: &str) -> Tokens {
        let none = self.names.len();
        let row = self.names.iter().position(|name| name == text);
        Tokens {
            numbers: vec![row.unwrap_or(none) as u32],
            cut: (row.is_none() && !text.is_empty()).then(|| text.into()),
        }
    }
}
