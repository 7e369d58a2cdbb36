//! Numeric kernels: plain functions over slices that know no graph.
//!
//! Every kernel is generic over [`Real`] (`f32` and `f64` run the same code), takes the
//! [`Context`] that lends it threads and scratch memory, and writes into buffers that the
//! caller owns.
//!
//! * Activations are NHWC ("channels last"), row-major: `[batch][height][width][channel]`.
//!   A kernel that does not care about space sees them as `rows × c`.
//! * Filters are HWIO: `[kernel_h][kernel_w][in_c / groups][out_c]`.
//! * A kernel that writes a gradient takes `accumulate`: `false` overwrites, `true` adds.
//! * The same inputs and the same number of threads give the same bits: work is split at fixed
//!   places and partial sums are added in a fixed order.
//! * Loops over elements are compiled for several instruction sets and chosen at run time, so a
//!   portable binary runs at full speed.
//!
//! Lengths of slices are checked on entry and a wrong one panics: it is an error of the
//! program, never of its data.
//!
//! ```
//! use net2net_kernels::{Context, Matrix, matmul};
//!
//! let mut cx = Context::<f32>::new(2)?;
//! let a = [1.0, 2.0, 3.0, 4.0];
//! let mut c = [0.0; 4];
//! matmul(&mut cx, Matrix::new(&a, 2, 2), Matrix::new(&a, 2, 2).t(), &mut c, false);
//! assert_eq!(c, [5.0, 11.0, 11.0, 25.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod activation;
pub mod batch_norm;
pub mod batched;
pub mod broadcast;
pub mod conv;
pub mod dropout;
pub mod elementwise;
pub mod gather;
mod helpers;
pub mod loss;
pub mod lp;
pub mod lrn;
pub mod memory;
pub mod optimizer;
pub mod pool;
pub mod recurrent;
pub mod reduce;
pub mod remap;
pub mod resize;
pub mod shuffle;
pub mod slices;
pub mod slopes;
pub mod softmax;
pub mod standardize;
pub mod streamed;
pub mod unary;

mod columns;
mod context;
mod lanes;
mod matrix;
mod real;
pub mod rows;
mod taps;
mod vectors;

#[cfg(test)]
mod check;

pub use columns::column_sums;
pub use context::Context;
pub use matrix::{Matrix, matmul};
pub use real::Real;
