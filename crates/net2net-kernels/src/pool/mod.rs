//! Pooling over windows and over whole images, vectorised over channels.

mod average;
mod global;
mod max;
mod shape;

pub use average::{average_backward, average_forward};
pub use global::{global_average_backward, global_average_forward};
pub use max::{max_backward, max_forward};
pub use shape::PoolShape;
