//! What is in a set, and how thoroughly it is looked for.

/// What was found when a whole set was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// All captions, in order.
    pub captions: Vec<String>,
    /// The first 16 hexadecimal digits of the SHA-256 over images, captions and the size they are
    /// brought to.
    pub fingerprint: String,
    /// The same over what control images are made from: the given images, or the images themselves.
    pub sources: String,
}

/// How thoroughly a set is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Every example has an image and a caption.
    Present,
    /// And every image can be decoded.
    Decoded,
}
