//! What is known of a text encoder that need not be in memory.

use super::{TextEncoder, check_clip_skip};

/// A text encoder without its weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFacts {
    /// The classes that it takes instead of texts; none where it takes texts.
    pub classes: Vec<String>,
    /// Tokens of a text, padding included.
    pub length: usize,
    /// Features of a state.
    pub width: usize,
    /// Features of a pooled embedding; 0 for an encoder that gives none.
    pub pooled: usize,
    /// How many layers can be skipped at most.
    pub most_skipped: usize,
    /// Whether the empty negative prompt is zeros.
    pub zero_empty: bool,
    /// Number of parameters.
    pub parameters: usize,
}

impl TextFacts {
    /// Numbers in the embeddings of one text.
    pub fn embeds_len(&self) -> usize {
        self.length * self.width + self.pooled
    }

    /// Whether so many of the last layers can be skipped.
    ///
    /// # Errors
    /// When there are fewer; other encoders than CLIP take 0 only.
    pub fn check_clip_skip(&self, clip_skip: usize) -> Result<(), String> {
        check_clip_skip(clip_skip, self.most_skipped)
    }
}

impl TextEncoder {
    /// What is known of it without its weights.
    pub fn facts(&self) -> TextFacts {
        TextFacts {
            classes: self.classes().to_vec(),
            length: self.length(),
            width: self.width(),
            pooled: self.pooled(),
            most_skipped: self.most_skipped(),
            zero_empty: self.zero_empty(),
            parameters: self.parameters(),
        }
    }
}
