//! What was found in a set.

use crate::image::dimensions;
use crate::{DataConfig, DataError, Dataset};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// An example that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Its name in the set, by which it can be left out.
    pub name: String,
    /// What is wrong.
    pub reason: String,
}

/// What was found in a set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// Examples that can be used.
    pub examples: usize,
    /// Those that cannot.
    pub problems: Vec<Problem>,
    /// The classes, with their numbers of usable examples.
    pub classes: Vec<(String, usize)>,
    /// Usable images that are the same file as an earlier one, and the first of them with that one.
    pub duplicates: Vec<[String; 2]>,
    /// Usable images with a side that is smaller than the wanted one.
    pub small: usize,
    /// Usable images that are not square.
    pub not_square: usize,
    /// The sizes of usable image files, as width and height: the first few that differ. Images of
    /// more than one can only be used with a wanted size.
    pub sizes: Vec<[u32; 2]>,
}

impl Survey {
    /// The survey of a set that is in memory, all of which can be used.
    pub fn of(dataset: &Dataset) -> Self {
        let labels = dataset.labels().unwrap_or_default();
        let count = |label| labels.iter().filter(|known| **known == label).count();
        let classes = (0..).zip(&dataset.classes);
        Self {
            examples: dataset.len(),
            classes: classes
                .map(|(label, name)| (name.clone(), count(label)))
                .collect(),
            ..Self::default()
        }
    }

    /// The list of what cannot be used, as `data.skip` takes it.
    pub fn skip_list(&self) -> String {
        let lines = self.problems.iter().map(|problem| {
            let reason = problem.reason.replace(['\n', '\r'], " ");
            format!("# {reason}\n{}\n", problem.name)
        });
        let head = std::iter::once(format!("{SKIP_LIST_HEAD}\n"));
        head.chain(lines).collect()
    }

    /// Gives numbered classes their names.
    pub(super) fn name_classes(&mut self, names: &[String]) {
        for (class, _) in &mut self.classes {
            let number = class.parse::<usize>().ok();
            if let Some(name) = number.and_then(|number| names.get(number)) {
                *class = name.clone();
            }
        }
    }
}

/// The first line of a list of what is left out, which nothing else begins with.
pub const SKIP_LIST_HEAD: &str = "# What `fewstep data` leaves out, with the reasons.";

/// Sizes that are named.
const SIZES: usize = 3;

/// Usable bytes of an image, or what is wrong.
pub(crate) type Checked = Result<Vec<u8>, DataError>;

/// Puts a survey together, example by example.
pub(super) struct Surveyor {
    survey: Survey,
    size: Option<u32>,
    seen: HashMap<[u8; 32], String>,
}

impl Surveyor {
    pub(super) fn new(config: &DataConfig) -> Self {
        Self {
            survey: Survey::default(),
            size: config.size.and_then(|size| u32::try_from(size).ok()),
            seen: HashMap::new(),
        }
    }

    /// Notes an example of this name and class: the file of its image, or what is wrong.
    pub(super) fn take(&mut self, name: String, class: Option<&str>, example: Checked) {
        let survey = &mut self.survey;
        let bytes = match example {
            Ok(bytes) => bytes,
            Err(error) => {
                let reason = error.to_string();
                return survey.problems.push(Problem { name, reason });
            }
        };
        survey.examples += 1;
        if let Some(class) = class {
            match survey.classes.iter_mut().find(|(known, _)| known == class) {
                Some((_, count)) => *count += 1,
                None => survey.classes.push((class.into(), 1)),
            }
        }
        if let Ok([width, height]) = dimensions(&bytes, &name) {
            if survey.sizes.len() < SIZES && !survey.sizes.contains(&[width, height]) {
                survey.sizes.push([width, height]);
            }
            survey.not_square += usize::from(width != height);
            let small = self.size.is_some_and(|size| width.min(height) < size);
            survey.small += usize::from(small);
        }
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        match self.seen.get(&digest) {
            Some(first) => survey.duplicates.push([name, first.clone()]),
            None => drop(self.seen.insert(digest, name)),
        }
    }

    /// Notes a problem of no single example.
    pub(super) fn problem(&mut self, name: String, reason: String) {
        self.survey.problems.push(Problem { name, reason });
    }

    /// The whole; an error where there was nothing at all.
    pub(super) fn finish(self, name: &str) -> Result<Survey, DataError> {
        match self.survey.examples + self.survey.problems.len() {
            0 => Err(DataError::Empty {
                origin: name.into(),
                hint: "its files have no images".into(),
            }),
            _ => Ok(self.survey),
        }
    }
}
