//! ONNX models in, grown, out again and proved the same.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod batch;
mod chains;
mod checkpoints;
mod fixtures;
mod growing;
mod hostile;
mod islands;
mod made;
mod models;
mod positions;
mod quantized;
mod round_trip;
mod sequences;
mod shapes;
mod storage;
mod streaming;
mod streams;
