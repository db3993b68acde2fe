//! For each format, all that the program does with a file of it. Each function says whether the
//! bytes are a good file.

pub mod captions;
pub mod cifar;
pub mod gguf;
pub mod idx;
pub mod image;
pub mod parameters;
pub mod parquet;
mod parts;
pub mod pickle;
pub mod recipe;
pub mod safetensors;
pub mod tar;

/// Reads bytes; says whether they are a good file.
pub type Reader = fn(&[u8]) -> bool;

/// All readers by the names of their targets.
pub const READERS: [(&str, Reader); 11] = [
    ("captions", captions::read),
    ("cifar", cifar::read),
    ("gguf", gguf::read),
    ("idx", idx::read),
    ("image", image::read),
    ("parameters", parameters::read),
    ("parquet", parquet::read),
    ("pickle", pickle::read),
    ("recipe", recipe::read),
    ("safetensors", safetensors::read),
    ("tar", tar::read),
];
