//! The training engine: a static graph compiled once into kernels over planned buffers.
//!
//! The graph is lowered to steps in the layouts that the kernels want (`lower`); every buffer's
//! life is known, so memory is planned before the first step (`memory`); a [`Program`] runs the
//! steps forward and backward. Layouts and buffers do not show outside: weights and optimizer
//! state come in and go out as row-major tensors by name.

mod evaluate;
mod fused;
mod kernel;
mod layout;
mod lower;
mod memory;
mod optimizer;
mod parameters;
mod precision;
mod predictor;
mod program;
mod targets;
mod trainer;

pub use evaluate::evaluate;
pub use fused::Tail;
pub use kernel::{Backward, Gradient, Kernel, Mode, Needs, Site};
pub use layout::{Layout, Layouts};
pub use optimizer::{Moment, OptimizerConfig, OptimizerState};
pub use parameters::Parameters;
pub use precision::{Precision, Rate};
pub use predictor::Predictor;
pub use program::{CompileError, Memory, Program};
pub use targets::{Targets, Teaching};
pub use trainer::{Evaluation, StepReport, TrainError, Trainer, TrainerOptions};
