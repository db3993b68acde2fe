//! What a run is trained on.

use crate::batch::batch;
use crate::{
    Conditions, DataError, Dataset, ExampleOrder, HostBatch, ImageShape, Latents, LatentsHeader,
};
use std::sync::Arc;

/// Training examples.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "a run has one of these")]
pub enum Examples {
    /// Images, with control images if the run has them.
    Images {
        /// The images.
        dataset: Arc<Dataset>,
        /// What makes their control images.
        conditions: Option<Arc<Conditions>>,
    },
    /// Latents of images and the states of their captions, with control images if the run has them.
    Latents {
        /// Latents and states.
        latents: Arc<Latents>,
        /// What makes the control images.
        conditions: Option<Arc<Conditions>>,
    },
    /// Latents that are not made yet, to predict what a run would take.
    Planned {
        /// What they will be.
        header: LatentsHeader,
        /// What makes the control images.
        conditions: Option<Arc<Conditions>>,
        /// Predicted peak memory of making them.
        bytes: u64,
    },
}

/// What is known about examples without reading any.
enum Summary<'a> {
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

    fn summary(&self) -> Summary<'_> {
        match self {
            Self::Images { dataset, .. } => Summary::Images(dataset),
            Self::Latents { latents, .. } => Summary::Latents(latents.header()),
            Self::Planned { header, .. } => Summary::Latents(header),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self.summary() {
            Summary::Images(dataset) => dataset.len(),
            Summary::Latents(header) => header.captions.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of each.
    pub fn shape(&self) -> ImageShape {
        match self.summary() {
            Summary::Images(dataset) => dataset.shape,
            Summary::Latents(header) => header.shape(),
        }
    }

    /// The classes' names in label order; empty without labels.
    pub fn classes(&self) -> &[String] {
        match self.summary() {
            Summary::Images(dataset) => &dataset.classes,
            Summary::Latents(header) => &header.classes,
        }
    }

    /// Features of each token of a text; none without texts.
    pub fn text_width(&self) -> Option<usize> {
        match self.summary() {
            Summary::Images(_) => None,
            Summary::Latents(header) => Some(header.states[1]),
        }
    }

    /// Tokens of a text; 0 without texts.
    pub fn text_states(&self) -> usize {
        match self.summary() {
            Summary::Images(_) => 0,
            Summary::Latents(header) => header.states[0],
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

    /// Whether each example has an image that the model is conditioned on: a control image, a masked
    /// image, or a source image.
    pub fn have_image_conditions(&self) -> bool {
        let concats = match self.summary() {
            Summary::Images(_) => 0,
            Summary::Latents(header) => header.concats(),
        };
        concats > 0 || self.conditions().is_some()
    }

    /// What to call the set in messages and reports.
    pub fn name(&self) -> &str {
        match self.summary() {
            Summary::Images(dataset) => &dataset.name,
            Summary::Latents(header) => &header.name,
        }
    }

    /// Digest of the contents: equal sets have the same, whatever file they came from.
    pub fn fingerprint(&self) -> String {
        match self.summary() {
            Summary::Images(dataset) => dataset.fingerprint(),
            Summary::Latents(header) => header.fingerprint.clone(),
        }
    }

    /// Digest of all that batches are made from: the contents, for latents also the networks that
    /// made them, and given control images.
    pub fn digest(&self) -> String {
        let own = match self.summary() {
            Summary::Images(dataset) => dataset.fingerprint(),
            Summary::Latents(header) => header.key.clone(),
        };
        match self.conditions().and_then(Conditions::digest) {
            Some(given) => format!("{own}+{given}"),
            None => own,
        }
    }

    /// Bytes that they take in memory.
    pub fn bytes(&self) -> usize {
        match self.summary() {
            Summary::Images(dataset) => dataset.len() * dataset.shape.len(),
            Summary::Latents(_) => 0,
        }
    }

    /// The batch of `size` samples that starts at `clock`. The `order` must have as many examples.
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
