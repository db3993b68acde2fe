//! What a run learns from.

use std::sync::Arc;

use crate::loader::batch;
use crate::{Conditions, DataError, Dataset, HostBatch, ImageShape, Latents, Order};

/// Training examples.
#[derive(Clone, Debug)]
pub enum Examples {
    /// Pictures, with their condition images where the run has such.
    Pictures {
        /// The pictures.
        dataset: Arc<Dataset>,
        /// What makes their condition images.
        conditions: Option<Arc<Conditions>>,
    },
    /// Latents of pictures, and the states of their captions, with condition images where the run has such.
    Latents {
        /// Latents and states.
        latents: Arc<Latents>,
        /// What makes the condition images.
        conditions: Option<Arc<Conditions>>,
    },
}

impl Examples {
    /// Pictures without condition images.
    pub fn pictures(dataset: Arc<Dataset>) -> Self {
        Self::Pictures {
            dataset,
            conditions: None,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Pictures { dataset, .. } => dataset.len(),
            Self::Latents { latents, .. } => latents.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of each.
    pub fn shape(&self) -> ImageShape {
        match self {
            Self::Pictures { dataset, .. } => dataset.shape,
            Self::Latents { latents, .. } => latents.shape(),
        }
    }

    /// The classes' names in label order; none where there are no labels.
    pub fn classes(&self) -> &[String] {
        match self {
            Self::Pictures { dataset, .. } => &dataset.classes,
            Self::Latents { latents, .. } => &latents.header().classes,
        }
    }

    /// Features of one state of a text; none where there are no texts.
    pub fn text_width(&self) -> Option<usize> {
        match self {
            Self::Pictures { .. } => None,
            Self::Latents { latents, .. } => Some(latents.header().states[1]),
        }
    }

    /// States of a text; 0 where there are no texts.
    pub fn text_states(&self) -> usize {
        match self {
            Self::Pictures { .. } => 0,
            Self::Latents { latents, .. } => latents.header().states[0],
        }
    }

    /// What makes the condition images.
    pub fn conditions(&self) -> Option<&Conditions> {
        match self {
            Self::Pictures { conditions, .. } | Self::Latents { conditions, .. } => {
                conditions.as_deref()
            }
        }
    }

    /// Whether models draw from a part of each example: a condition image, or what a hole leaves.
    pub fn are_drawn_from(&self) -> bool {
        match self {
            Self::Pictures { conditions, .. } => conditions.is_some(),
            Self::Latents {
                latents,
                conditions,
            } => conditions.is_some() || latents.header().holes > 0,
        }
    }

    /// What to call the set in messages and reports.
    pub fn name(&self) -> &str {
        match self {
            Self::Pictures { dataset, .. } => &dataset.name,
            Self::Latents { latents, .. } => &latents.header().name,
        }
    }

    /// Equal sets have equal ones, whatever file they came from.
    pub fn fingerprint(&self) -> String {
        match self {
            Self::Pictures { dataset, .. } => dataset.fingerprint(),
            Self::Latents { latents, .. } => latents.header().fingerprint.clone(),
        }
    }

    /// Bytes that they take in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Pictures { dataset, .. } => dataset.len() * dataset.shape.len(),
            Self::Latents { .. } => 0,
        }
    }

    /// The batch of `size` samples that starts at `clock`. The `order` must be one over as many examples.
    ///
    /// # Errors
    /// When latents cannot be read.
    pub fn batch(
        &self,
        order: &mut Order,
        clock: u64,
        size: usize,
    ) -> Result<HostBatch, DataError> {
        match self {
            Self::Pictures {
                dataset,
                conditions,
            } => batch(dataset, conditions.as_deref(), order, clock, size),
            Self::Latents {
                latents,
                conditions,
            } => latents.batch(conditions.as_deref(), order, clock, size),
        }
    }
}
