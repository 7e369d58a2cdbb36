//! Growing trained networks without changing their function.
//!
//! Modules depend on each other in pipeline order: a [`graph`] of typed [`ops`]; [`dims`] infers
//! which channels belong together; a [`plan`] says what is to grow; [`apply`] rebuilds graph and
//! checkpoints; [`verify`] proves that nothing changed; the [`engine`] runs and trains; [`io`]
//! reads and writes; a [`request`] is what people ask for. The method is Net2Net (Chen, Goodfellow, Shlens, ICLR 2016).

pub mod apply;
mod border;
pub mod dims;
pub mod engine;
pub mod graph;
pub mod io;
pub mod ops;
pub mod plan;
pub mod request;
pub mod verify;
pub mod weights;
