//! Experiments: data, architectures, training runs and their comparison.

pub mod compare;
pub mod data;
pub mod evolve;
pub mod explore;
mod hex;
pub mod models;
pub mod report;
pub mod train;
pub mod trial;
