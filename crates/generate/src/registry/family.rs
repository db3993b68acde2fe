//! The models of one name: the same student for different numbers of steps.

use super::{ModelSource, RegistryError, builtin, hub, runs, suited};
use fewstep_data::expand_home;
use fewstep_formats::RepositoryKind;
use std::path::Path;

/// The models that one name stands for, each with the number of steps that it was distilled for:
/// those of a run, or builtin models of one name; any other name stands for one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    models: Vec<(Option<usize>, ModelSource)>,
}

impl Family {
    /// Finds the models of a name, which [`ModelSource::find`] explains.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(reference: &str) -> Result<Self, RegistryError> {
        if let Some(name) = reference.strip_prefix("builtin:") {
            let builtin = |steps| {
                let name = name.into();
                (steps, ModelSource::Builtin { name, steps })
            };
            let models = builtin::trained_steps(name)?.into_iter().map(builtin);
            return Ok(Self {
                models: models.collect(),
            });
        }
        let folders = match hub::Name::parse(reference) {
            Some(name) => vec![(None, hub::fetch(&name, RepositoryKind::Model)?)],
            None => runs::models(&expand_home(Path::new(reference)))?,
        };
        let models = folders.into_iter();
        let models = models.map(|(steps, folder)| (steps, ModelSource::in_folder(folder)));
        Ok(Self {
            models: models.collect(),
        })
    }

    /// The numbers of steps for which there is a model of its own, the most first.
    pub fn steps(&self) -> Vec<usize> {
        let mut steps: Vec<usize> = self.models.iter().filter_map(|model| model.0).collect();
        steps.sort_unstable_by(|a, b| b.cmp(a));
        steps.dedup();
        steps
    }

    /// The model for the number of steps, or the nearest; without a number, the one for the fewest.
    pub fn suited(&self, steps: Option<usize>) -> &ModelSource {
        let trained = self.models.iter().map(|model| model.0);
        &self.models[suited(trained, steps).unwrap_or(0)].1
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
