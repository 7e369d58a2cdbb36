//! ONNX files in and out.
//!
//! A file stays the document that it is: every node, name, note and byte that growth does not
//! touch is written as it was read. Beside it an [`import::Imported`] graph says what of it this
//! project understands. What is not understood is an island outside of the graph: what flows into
//! it is an output, what flows out of it an input, and neither grows.

pub mod document;
pub mod error;
pub mod export;

mod fold;
pub mod import;
pub mod proto;
mod save;
mod source;
pub mod tensor;
mod walk;

pub use document::Document;
pub use error::OnnxError;
pub use import::Imported;
pub use save::Staged;
pub use source::FileSource;
