//! One file per verb.

pub(crate) mod distill;
pub(crate) mod running;
pub(crate) mod train;
