//! The models of one name: the same student for different numbers of steps.

use super::choice::suited;
use super::{Candidate, Choice, ModelSource, RegistryError, builtin, hub, paths, runs};
use fewstep_data::expand_home;
use fewstep_formats::{RepositoryKind, check_pipeline};
use std::path::Path;

/// The models that one name stands for, each with the number of steps that it was distilled for:
/// those of a run, or builtin models of one name; any other name stands for one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    models: Vec<(Candidate, ModelSource)>,
}

impl Family {
    /// Finds the models of a name, which [`ModelSource::find`] explains.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(reference: &str) -> Result<Self, RegistryError> {
        if let Some(name) = reference.strip_prefix("builtin:") {
            let builtin = |model: Candidate| {
                let (name, steps) = (name.into(), model.steps);
                (model, ModelSource::Builtin { name, steps })
            };
            let models = builtin::models(name)?.into_iter().map(builtin);
            return Ok(Self {
                models: models.collect(),
            });
        }
        let (folder, found) = match hub::Name::parse(reference) {
            Some(name) => (hub::fetch(&name, RepositoryKind::Model)?, None),
            None => {
                let path = expand_home(Path::new(reference));
                paths::check(&path)?;
                paths::check_file(&path)?;
                let found = runs::models(&path)?;
                (path, found)
            }
        };
        check_pipeline(&folder)?;
        let alone = || {
            let model = Candidate {
                name: reference.into(),
                steps: None,
            };
            vec![(model, folder)]
        };
        let models = found.unwrap_or_else(alone).into_iter();
        let models = models.map(|(model, folder)| (model, ModelSource::in_folder(folder)));
        Ok(Self {
            models: models.collect(),
        })
    }

    /// The numbers of steps for which there is a model of its own, the most first.
    pub fn steps(&self) -> Vec<usize> {
        let mut steps: Vec<usize> = self.trained().flatten().collect();
        steps.sort_unstable_by(|a, b| b.cmp(a));
        steps.dedup();
        steps
    }

    /// The model for the number of steps, or the nearest; without a number, the one for the fewest.
    pub fn suited(&self, steps: Option<usize>) -> &ModelSource {
        &self.models[self.index(steps)].1
    }

    /// The same, and which it is of them.
    pub fn choose(mut self, steps: Option<usize>) -> (ModelSource, Choice) {
        let (taken, source) = self.models.remove(self.index(steps));
        let others = self.models.into_iter().map(|(model, _)| model).collect();
        (source, Choice { taken, others })
    }

    fn index(&self, steps: Option<usize>) -> usize {
        // There is at least one.
        suited(self.trained(), steps).unwrap_or(0)
    }

    fn trained(&self) -> impl Iterator<Item = Option<usize>> + Clone + '_ {
        self.models.iter().map(|(model, _)| model.steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_a_model_per_number_of_steps() {
        let family = Family::find("builtin:fashion-mnist").expect("embedded");
        assert_eq!(family.steps(), [8, 4, 2, 1]);
        // The same model for all numbers of steps that are nearest to its own.
        assert_eq!(family.suited(Some(3)), family.suited(Some(4)));
        assert_ne!(family.suited(Some(1)), family.suited(Some(4)));
        assert_eq!(family.suited(None), family.suited(Some(1)));
        let teacher = Family::find("builtin:fashion-mnist-teacher").expect("embedded");
        assert!(teacher.steps().is_empty());
    }
}
