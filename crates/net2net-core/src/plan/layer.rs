//! Layers that can be inserted without a change of the function.

use serde::{Deserialize, Serialize};

/// One more layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Insert {
    /// The value that the layer reads; whoever read that value reads the layer instead.
    pub after: String,
    /// What the names of the layer and its parameters begin with.
    pub name: String,
    /// What it is.
    pub layer: Layer,
}

/// The layers that can be inserted without a change of the function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Layer {
    /// An identity and the same activation once more, after an idempotent activation.
    Identity {
        /// The sides of the filter, all odd; none for a layer of features, which are the last axis.
        kernel: Vec<usize>,
        /// A batch normalisation that undoes its own measured statistics.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        norm: Option<UndoneNorm>,
    },
    /// `x + B·f(A·x)` with B zero and A drawn at random, after any activation f.
    Residual {
        /// The sides of the filters, all odd; none for layers of features, which are the last axis.
        kernel: Vec<usize>,
        /// Whether a batch normalisation stands before f.
        norm: bool,
        /// The seed that A is drawn with.
        seed: u64,
    },
    /// A second way beside the layer, `y + B·relu(A·x)` of what the layer reads, with B zero and A
    /// drawn at random.
    Branch {
        /// The sides of A's filter; none beside a layer of features.
        kernel: Vec<usize>,
        /// The units between A and B.
        width: usize,
        /// Whether a batch normalisation stands before the rectifier.
        norm: bool,
        /// The seed that A is drawn with.
        seed: u64,
    },
    /// A residual block `x + f(x)` once more, with copies of its weights but the last ones, which
    /// are zero (as LLaMA Pro does with transformers, Wu et al. 2024, section 3).
    Copy {
        /// What the block reads.
        from: String,
    },
    /// A linear layer W becomes I·W, with nothing between.
    Factor {
        /// The sides of the filter, all odd; none for a layer of features, which are the last axis.
        kernel: Vec<usize>,
    },
}

/// Measured statistics that a new batch normalisation undoes: scale √(var + eps), shift mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndoneNorm {
    /// The mean of each channel over the measured samples.
    pub mean: Vec<f64>,
    /// The variance of each channel.
    pub variance: Vec<f64>,
    /// Added to the variance.
    pub epsilon: f64,
    /// The share of the old running statistics that stays in each step.
    pub momentum: f64,
}
