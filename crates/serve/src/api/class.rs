//! Classes of requests.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A class by its number or its name.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ClassName {
    /// By its number, from 0.
    Number(usize),
    /// By its name, in any case.
    Name(String),
}

impl ClassName {
    /// The name, or the number as a text.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Name(name) => name,
        }
    }
}
