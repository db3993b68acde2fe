//! Encoders of prompts: texts, or classes, to the states that a network attends to.

mod bert;
mod classes;
mod clip;
mod tokens;

pub use bert::{Bert, BertConfig};
pub use classes::ClassEmbedder;
pub use clip::{ClipActivation, ClipText, ClipTextConfig, ClipTextOutput};
