//! What is embedded in the program.

/// The teacher trained on Fashion-MNIST (recipes/fashion-mnist/teacher.toml).
pub(crate) const NAMES: [&str; 0] = [];
