//! What a run depends on besides its recipe: stored next to it, so that it resumes on nothing else.

use super::{Run, RunError};
use crate::method::MethodError;
use fewstep_data::{Examples, expand_home};
use fewstep_diffusion::{Provenance, SamplerRecipe};
use fewstep_formats::{Model, write_atomically};
use fewstep_metrics::weights_hash;
use serde::{Deserialize, Serialize};
use std::path::Path;

const NAME: &str = "inputs.toml";

/// What a run depends on besides its recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInputs {
    /// Digest of the examples.
    data: String,
    /// Hash of the teacher's weights; none for a network without training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    teacher: Option<String>,
    /// Hashes of the other weights that the recipe names, such as those of LPIPS, or of the model
    /// that a student starts from; none of a run of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weights: Option<Vec<String>>,
    /// Classes, resolution and schedule of the model that it starts from.
    model: SamplerRecipe,
}

impl Run {
    /// What this run depends on, with the model that it starts from.
    ///
    /// # Errors
    /// When a file of weights that the recipe names cannot be read.
    pub fn inputs(&self, initial: &Model) -> Result<RunInputs, RunError> {
        let has_teacher = |phase: &super::Phase| phase.method.has_teacher();
        let phases = self.phases.iter();
        let files = phases.clone().flat_map(|phase| phase.method.weight_files());
        let weights = files.map(|file| weights_hash(&expand_home(file)));
        let mut weights = weights
            .collect::<Result<Vec<_>, _>>()
            .map_err(MethodError::from)?;
        let starts = phases.filter_map(|phase| phase.method.starts_from());
        weights.extend(starts.map(Model::weights_hash));
        Ok(RunInputs {
            data: self.examples.digest(),
            teacher: self
                .phases
                .first()
                .filter(|phase| has_teacher(phase))
                .map(|_| initial.weights_hash()),
            weights: Some(weights),
            model: SamplerRecipe {
                provenance: Provenance::default(),
                ..initial.recipe.clone()
            },
        })
    }
}

impl RunInputs {
    /// Whether a run has stored what it depends on. Runs of the first version have not.
    pub fn are_stored(folder: &Path) -> bool {
        folder.join(NAME).is_file()
    }

    /// Refuses to go on with a run that was started on something else.
    ///
    /// # Errors
    /// Names what is different.
    pub fn check(&self, folder: &Path) -> Result<(), RunError> {
        let stored = Self::stored(folder)?;
        refuse(folder, stored.and_then(|stored| self.difference(&stored)))
    }

    /// The same for the examples only, before they are made.
    ///
    /// # Errors
    /// As [`RunInputs::check`].
    pub fn check_examples(folder: &Path, examples: &Examples) -> Result<(), RunError> {
        let stored = Self::stored(folder)?;
        refuse(
            folder,
            stored.and_then(|stored| other_data(&stored.data, &examples.digest())),
        )
    }

    fn stored(folder: &Path) -> Result<Option<Self>, RunError> {
        let file = folder.join(NAME);
        if !file.is_file() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&file).map_err(RunError::reading(&file))?;
        let stored = toml::from_str(&text).map_err(|error| {
            RunError::NotResumable(format!("{} is damaged: {error}", file.display()))
        })?;
        Ok(Some(stored))
    }

    pub(super) fn store(&self, folder: &Path) -> Result<(), RunError> {
        let file = folder.join(NAME);
        let text = toml::to_string(self).map_err(std::io::Error::other);
        let text = text.map_err(RunError::writing(&file))?;
        Ok(write_atomically(&file, text.as_bytes())?)
    }

    /// Digest of the examples.
    pub(super) fn data(&self) -> &str {
        &self.data
    }

    /// Hash of the teacher's weights; empty for a network without training.
    pub(super) fn teacher(&self) -> &str {
        self.teacher.as_deref().unwrap_or_default()
    }

    fn difference(&self, stored: &Self) -> Option<String> {
        let (was, is) = (&stored.model.classes, &self.model.classes);
        if was != is {
            return Some(other_classes(was, is));
        }
        let (was, is) = (stored.teacher(), self.teacher());
        if was != is {
            return Some(format!(
                "the teacher's weights are others (their hash was {was} and is {is} now)"
            ));
        }
        if let (Some(was), Some(is)) = (&stored.weights, &self.weights)
            && was != is
        {
            return Some(
                "the weights of another model or file that its recipe names have changed: those that its loss reads, such as those of LPIPS, or those that its student starts from".into(),
            );
        }
        if stored.model != self.model {
            let what = match self.teacher {
                Some(_) => "the teacher's prediction, schedule or resolution",
                None => "the shape of the images",
            };
            return Some(format!("{what} is another"));
        }
        other_data(&stored.data, &self.data)
    }
}

fn refuse(folder: &Path, difference: Option<String>) -> Result<(), RunError> {
    match difference {
        None => Ok(()),
        Some(difference) => Err(RunError::NotResumable(format!(
            "{} was started on something else: {difference}. Resume a run on what it was started on, or start a new one in another folder",
            folder.display()
        ))),
    }
}

fn other_data(was: &str, is: &str) -> Option<String> {
    (was != is).then(|| {
        format!("the data has changed: its images, labels or captions, or what its latents or control images are made from (its digest was {was} and is {is} now; a set in a folder and the same one in object storage have two)")
    })
}

fn other_classes(was: &[String], is: &[String]) -> String {
    let new = is.iter().find(|name| !was.contains(name));
    let gone = was.iter().find(|name| !is.contains(name));
    let counts = format!("{} classes then, {} now", was.len(), is.len());
    match (new, gone) {
        (Some(name), _) => format!("the class `{name}` is new ({counts})"),
        (None, Some(name)) => format!("the class `{name}` is gone ({counts})"),
        (None, None) => format!("the classes have another order ({counts})"),
    }
}
