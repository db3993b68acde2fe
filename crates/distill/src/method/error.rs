//! Why a phase cannot start.

use fewstep_metrics::MetricsError;

/// A method that cannot work with the model before it.
#[derive(Debug, thiserror::Error)]
pub enum MethodError {
    /// The model before the phase does not fit the method.
    #[error("{0}")]
    Teacher(String),
    /// A network that measures distances cannot be used.
    #[error(transparent)]
    Distance(#[from] MetricsError),
}
