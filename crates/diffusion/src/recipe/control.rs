//! The control image of a model.

use serde::{Deserialize, Serialize};

/// The control image of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlSpec {
    /// What it shows.
    pub task: Task,
    /// Its channels, height and width.
    pub shape: [usize; 3],
}

/// What a control image shows, and so what a model does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// The image, smaller or worse: the model restores it.
    Upscale,
    /// The masked image; the last channel is the mask, 1 where the model fills in.
    Inpaint,
    /// A depth map.
    Depth,
    /// The image before an edit.
    Instruct,
    /// Anything else: edges, a sketch, a segmentation.
    Image,
}
