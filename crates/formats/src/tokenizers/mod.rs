//! Texts to the token numbers that text encoders take.

mod clip;
mod reading;
mod tokens;
mod wordpiece;

pub(crate) use clip::ClipTokenizer;
pub use tokens::Tokens;
pub(crate) use wordpiece::WordPiece;
