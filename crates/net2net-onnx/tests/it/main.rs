//! ONNX models in, grown, out again and proved the same.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod batch;
mod checkpoints;
mod fixtures;
mod growing;
