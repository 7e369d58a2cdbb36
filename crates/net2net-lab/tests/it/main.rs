//! The laboratory's tests from outside, in one binary.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

mod compare;
mod data;
mod explore;
mod models;
mod report;
mod silent;
mod train;
