//! Seeds of requests.

use crate::engine::random_bytes;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// A seed, or -1 for a random one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Number")]
pub(crate) struct Seed(Option<u64>);

impl Seed {
    /// A seed that nobody chose.
    pub(crate) const RANDOM: Self = Self(None);

    /// The seed; a new one each time, where it is random.
    pub(crate) fn value(self) -> u64 {
        self.0
            .unwrap_or_else(|| u32::from_le_bytes(random_bytes()).into())
    }
}

impl TryFrom<Number> for Seed {
    type Error = &'static str;

    fn try_from(number: Number) -> Result<Self, Self::Error> {
        match (number.as_u64(), number.as_i64()) {
            (Some(seed), _) => Ok(Self(Some(seed))),
            (None, Some(-1)) => Ok(Self::RANDOM),
            _ => Err("a seed is a whole number, or -1"),
        }
    }
}

impl PartialSchema for Seed {
    fn schema() -> RefOr<Schema> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(-1))
            .description(Some("A seed, or -1 for a random one."));
        schema.build().into()
    }
}

impl ToSchema for Seed {}
