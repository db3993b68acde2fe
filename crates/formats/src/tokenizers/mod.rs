//! Texts to the token numbers that text encoders take.

mod clip;
mod reading;
mod tokens;
mod wordpiece;

pub use clip::ClipTokenizer;
pub use tokens::Tokens;
pub use wordpiece::WordPiece;
