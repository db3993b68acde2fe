//! The weights that a method starts from, besides those of the teacher.

use fewstep_formats::Model;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A few-step student that a method starts from. What it prints is the hash of its weights, so that
/// methods print alike where they are alike.
#[derive(Clone)]
pub struct StartModel(Arc<Model>);

impl From<Model> for StartModel {
    fn from(model: Model) -> Self {
        Self(Arc::new(model))
    }
}

impl Deref for StartModel {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.0
    }
}

impl fmt::Debug for StartModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.weights_hash())
    }
}
