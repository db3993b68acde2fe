//! Images that are encoded to latents, each with its caption or class.

use crate::image::Image;
use crate::{
    Captioned, Check, Contents, DataConfig, DataError, DataKind, Dataset, ImageShape, load,
};

/// Images with captions, or with classes whose names are their captions.
#[derive(Debug)]
pub enum Source {
    /// On disk, and read one after another.
    Captioned(Box<Captioned>),
    /// In memory.
    Labelled(Labelled),
}

/// Images in memory, each of a class of a model.
#[derive(Debug)]
pub struct Labelled {
    dataset: Dataset,
}

impl Labelled {
    /// Takes a set for a model with these classes.
    ///
    /// # Errors
    /// A set without labels, or with other classes.
    pub fn new(dataset: Dataset, model: &[String]) -> Result<Self, DataError> {
        let dataset = dataset.with_classes_of(model)?;
        Ok(Self { dataset })
    }

    fn contents(&self) -> Contents {
        let labels = self.dataset.labels().unwrap_or_default();
        let names = &self.dataset.classes;
        let captions = labels.iter().map(|&label| &names[label as usize]);
        Contents {
            captions: captions.cloned().collect(),
            fingerprint: self.dataset.fingerprint(),
            // Such sets have no control images.
            sources: String::new(),
        }
    }
}

impl Source {
    /// For a model with these classes. Folders and parquet files stay on disk.
    ///
    /// # Errors
    /// As [`load`] and [`Captioned::labelled`].
    pub fn labelled(config: &DataConfig, model: &[String]) -> Result<Self, DataError> {
        check_labels_count(config)?;
        match config.kind {
            DataKind::Folder | DataKind::Parquet => {
                Captioned::labelled(config, model).map(|set| Self::Captioned(Box::new(set)))
            }
            _ => Labelled::new(load(config)?, model).map(Self::Labelled),
        }
    }

    /// What to call the set in messages and reports.
    pub fn name(&self) -> &str {
        match self {
            Self::Captioned(captioned) => captioned.name(),
            Self::Labelled(labelled) => &labelled.dataset.name,
        }
    }

    /// The shape of its images.
    pub fn shape(&self) -> ImageShape {
        match self {
            Self::Captioned(captioned) => ImageShape {
                channels: captioned.channels(),
                height: captioned.size(),
                width: captioned.size(),
            },
            Self::Labelled(labelled) => labelled.dataset.shape,
        }
    }

    /// The names of all classes; empty if the set has captions.
    pub fn classes(&self) -> &[String] {
        match self {
            Self::Captioned(captioned) => captioned.classes(),
            Self::Labelled(labelled) => &labelled.dataset.classes,
        }
    }

    /// Reads the whole set and returns what is in it.
    ///
    /// # Errors
    /// As [`Captioned::check`].
    pub fn check(&self, check: Check) -> Result<Contents, DataError> {
        match self {
            Self::Captioned(captioned) => captioned.check(check),
            Self::Labelled(labelled) => Ok(labelled.contents()),
        }
    }

    /// All images in order, `chunk` of them at a time.
    pub fn images(
        &self,
        chunk: usize,
    ) -> Box<dyn Iterator<Item = Result<Vec<Image>, DataError>> + '_> {
        match self {
            Self::Captioned(captioned) => Box::new(captioned.images(chunk)),
            Self::Labelled(Labelled { dataset }) => {
                let starts = (0..dataset.len()).step_by(chunk.max(1));
                Box::new(starts.map(move |start| {
                    let end = dataset.len().min(start + chunk.max(1));
                    Ok((start..end).map(|i| dataset.image(i)).collect())
                }))
            }
        }
    }

    /// The images given in pairs with these, in order, `chunk` of them at a time; none where the set
    /// was opened without such images.
    pub fn given(
        &self,
        chunk: usize,
    ) -> Option<Box<dyn Iterator<Item = Result<Vec<Image>, DataError>> + '_>> {
        match self {
            Self::Captioned(captioned) if captioned.has_given() => {
                Some(Box::new(captioned.sources(chunk)))
            }
            Self::Captioned(_) | Self::Labelled(_) => None,
        }
    }
}

/// Refuses a set whose labels do not count, for a model of classes.
pub(crate) fn check_labels_count(config: &DataConfig) -> Result<(), DataError> {
    match config.labels {
        true => Ok(()),
        false => Err(DataError::Config {
            key: "labels",
            got: "false".into(),
            origin: config.path.display().to_string(),
            expected: "true: the model generates from classes".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(names: &[&str]) -> Result<Labelled, DataError> {
        let shape = ImageShape {
            channels: 1,
            height: 1,
            width: 2,
        };
        let labels = Some(vec![1, 0, 1]);
        let dataset = Dataset::from_parts("three", shape, (0..6).collect(), labels, vec![])?;
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        Labelled::new(dataset, &names)
    }

    #[test]
    fn classes_are_captions_by_the_names_of_the_model() {
        let source = Source::Labelled(labelled(&["cat", "dog"]).unwrap());
        let contents = source.check(Check::Decoded).unwrap();
        assert_eq!(contents.captions, ["dog", "cat", "dog"]);
        let images: Vec<_> = source.images(2).map(Result::unwrap).collect();
        assert_eq!(images.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(images[1][0].pixels, [4, 5]);
        let message = labelled(&["cat"]).unwrap_err().to_string();
        assert!(
            message.contains("2 classes") && message.contains("of 1 classes"),
            "{message}"
        );
    }
}
