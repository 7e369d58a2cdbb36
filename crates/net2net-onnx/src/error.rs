//! Why an ONNX file cannot be read, grown or written.

use std::path::PathBuf;

use thiserror::Error;

/// Why an ONNX file cannot be read, grown or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The system said no.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another kind of file.
    #[error("{path} is {what}, not an ONNX file; {fix}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        what: &'static str,
        /// What to do.
        fix: &'static str,
    },
    /// Not a protocol buffer of a model, or a damaged one.
    #[error("{path} is not a valid ONNX file: {why}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A tensor that does not hold what it says.
    #[error("tensor `{name}`: {why}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A node that contradicts the graph around it.
    #[error("node `{node}` ({operator}): {why}")]
    Node {
        /// Its name, or its first output.
        node: String,
        /// Its operator.
        operator: String,
        /// What is wrong.
        why: String,
    },
    /// The graph as a whole.
    #[error("the graph cannot be used: {why}")]
    Graph {
        /// What is wrong.
        why: String,
    },
    /// The grown graph cannot be written as ONNX.
    #[error("`{name}` cannot be written: {why}")]
    Export {
        /// The node or tensor.
        name: String,
        /// What is wrong.
        why: String,
    },
}
