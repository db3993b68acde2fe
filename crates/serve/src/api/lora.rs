//! LoRA of requests.

use crate::engine::NamedLora;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A LoRA to add to the model.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoraBody {
    /// Its name, as the list of models has it.
    pub(crate) name: String,
    /// How many times it is added; 1, the default, is as it was trained.
    #[serde(default = "once")]
    pub(crate) weight: f64,
}

fn once() -> f64 {
    1.0
}

impl From<LoraBody> for NamedLora {
    fn from(body: LoraBody) -> Self {
        let LoraBody { name, weight } = body;
        Self { name, weight }
    }
}
