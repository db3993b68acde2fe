//! What every method says of itself: which teachers it refuses, what its student is, and how the
//! model that comes out is sampled.

mod models;
mod results;
mod teachers;
