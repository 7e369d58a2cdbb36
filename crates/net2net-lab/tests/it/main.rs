//! The laboratory's tests from outside, in one binary.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

mod baselines;
mod compare;
mod data;
mod experiments;
mod explore;
mod models;
mod report;
mod silent;
mod train;
