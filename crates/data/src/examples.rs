//! What a run learns from.

use std::sync::Arc;

use crate::loader::batch;
use crate::{
    Conditions, DataError, Dataset, ExampleOrder, HostBatch, ImageShape, Latents, LatentsHeader,
};

/// Training examples.
#[derive(Clone, Debug)]
pub enum Examples {
    /// Images, with their control images where the run has such.
    Images {
        /// The images.
        dataset: Arc<Dataset>,
        /// What makes their control images.
        conditions: Option<Arc<Conditions>>,
    },
    /// Latents of images, and the states of their captions, with control images where the run has such.
    Latents {
        /// Latents and states.
        latents: Arc<Latents>,
        /// What makes the control images.
        conditions: Option<Arc<Conditions>>,
    },
    /// Latents that are yet to be made, for those who ask what a run would take.
    Planned {
        /// What they will be.
        header: LatentsHeader,
        /// What makes the control images.
        conditions: Option<Arc<Conditions>>,
        /// Predicted peak memory of making them.
        bytes: u64,
    },
}

/// What is known of examples without reading any.
enum About<'a> {
    Images(&'a Dataset),
    Latents(&'a LatentsHeader),
}

impl Examples {
    /// Images without control images.
    pub fn images(dataset: Arc<Dataset>) -> Self {
        Self::Images {
            dataset,
            conditions: None,
        }
    }

    fn about(&self) -> About<'_> {
        match self {
            Self::Images { dataset, .. } => About::Images(dataset),
            Self::Latents { latents, .. } => About::Latents(latents.header()),
            Self::Planned { header, .. } => About::Latents(header),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self.about() {
            About::Images(dataset) => dataset.len(),
            About::Latents(header) => header.captions.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of each.
    pub fn shape(&self) -> ImageShape {
        match self.about() {
            About::Images(dataset) => dataset.shape,
            About::Latents(header) => header.shape(),
        }
    }

    /// The classes' names in label order; none where there are no labels.
    pub fn classes(&self) -> &[String] {
        match self.about() {
            About::Images(dataset) => &dataset.classes,
            About::Latents(header) => &header.classes,
        }
    }

    /// Features of one state of a text; none where there are no texts.
    pub fn text_width(&self) -> Option<usize> {
        match self.about() {
            About::Images(_) => None,
            About::Latents(header) => Some(header.states[1]),
        }
    }

    /// States of a text; 0 where there are no texts.
    pub fn text_states(&self) -> usize {
        match self.about() {
            About::Images(_) => 0,
            About::Latents(header) => header.states[0],
        }
    }

    /// What makes the control images.
    pub fn conditions(&self) -> Option<&Conditions> {
        match self {
            Self::Images { conditions, .. }
            | Self::Latents { conditions, .. }
            | Self::Planned { conditions, .. } => conditions.as_deref(),
        }
    }

    /// Whether models draw from a part of each example: a control image, or what a hole leaves.
    pub fn are_drawn_from(&self) -> bool {
        let holes = match self.about() {
            About::Images(_) => 0,
            About::Latents(header) => header.holes,
        };
        holes > 0 || self.conditions().is_some()
    }

    /// What to call the set in messages and reports.
    pub fn name(&self) -> &str {
        match self.about() {
            About::Images(dataset) => &dataset.name,
            About::Latents(header) => &header.name,
        }
    }

    /// Equal sets have equal ones, whatever file they came from.
    pub fn fingerprint(&self) -> String {
        match self.about() {
            About::Images(dataset) => dataset.fingerprint(),
            About::Latents(header) => header.fingerprint.clone(),
        }
    }

    /// Bytes that they take in memory.
    pub fn bytes(&self) -> usize {
        match self.about() {
            About::Images(dataset) => dataset.len() * dataset.shape.len(),
            About::Latents(_) => 0,
        }
    }

    /// The batch of `size` samples that starts at `clock`. The `order` must be one over as many examples.
    ///
    /// # Errors
    /// When latents cannot be read, or are not made yet.
    pub fn batch(
        &self,
        order: &mut ExampleOrder,
        clock: u64,
        size: usize,
    ) -> Result<HostBatch, DataError> {
        match self {
            Self::Images {
                dataset,
                conditions,
            } => batch(dataset, conditions.as_deref(), order, clock, size),
            Self::Latents {
                latents,
                conditions,
            } => latents.batch(conditions.as_deref(), order, clock, size),
            Self::Planned { header, .. } => Err(DataError::NotMade {
                name: header.name.clone(),
            }),
        }
    }
}
