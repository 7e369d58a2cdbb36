//! The laboratory's tests from outside, in one binary.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used)]

mod data;
mod report;
