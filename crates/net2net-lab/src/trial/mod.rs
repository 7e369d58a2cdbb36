//! One network trained by one process: a spec in, a directory out.
//!
//! A trial needs nothing but its spec, the files that the spec names beside itself, the images and the program, so that any
//! scheduler can run it. It works in `DIR.partial`, resumes there after an interruption of any kind, and is published as
//! `DIR` by a rename that fails if `DIR` is there: of several attempts one is published, and none harms another.
//!
//! ```text
//! DIR/trial.toml, data.txt      as run, and on what
//! DIR/plan-1.json, …            how the network grew before it was trained, and
//! DIR/evidence.json             the proofs
//! DIR/metrics.jsonl             evaluations, a line each
//! DIR/model.safetensors         the network, with its optimizer's state
//! DIR/trunk.safetensors         the same at the end of the stable phase, if the schedule has one
//! DIR/model.onnx                the network for others
//! DIR/done.json                 the figures
//! ```

mod error;
mod latency;
mod processes;
mod publish;
mod result;
mod shrink;
mod spec;
mod start;
mod work;

pub use error::TrialError;
pub use latency::latency_ms;
pub(crate) use processes::{End, Task, failure, side_by_side};
pub use processes::{NO_ROOM, ProcessError};
pub use result::TrialResult;
pub use shrink::ShrinkPerturb;
pub use spec::{StartSpec, StartWeights, TrialSpec};
pub use start::open;
pub(crate) use start::{classes_of, fits, reads};
pub(crate) use work::write_onnx;
pub use work::{DONE, ONNX_FILE, TrialEnded, read_done, train};
