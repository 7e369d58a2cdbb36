//! Architectures by name, width and depth.
//!
//! Builders return a graph; [`net2net_core::weights::initialize`] gives it weights. All end in
//! logits named `logits`. Parameters are named as PyTorch names them: `stem.conv.weight`,
//! `stem.norm.running_mean`.

mod block;
mod conv_net;
mod inception;
mod inception_bn;
mod mlp;
mod residual;

use net2net_core::graph::{Graph, GraphError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::data::ImageShape;

/// A family of architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Linear layers.
    Mlp,
    /// Convolutions in a line, with pooling between stages.
    ConvNet,
    /// Residual stages (He et al. 2016), batch normalisation, identity and projected shortcuts.
    Residual,
    /// Four-branch modules with batch normalisation (Ioffe & Szegedy 2015), at small size.
    Inception,
    /// The published network of ten modules for 224 × 224 (Ioffe & Szegedy 2015, figure 5). Its
    /// width is that of the modules, and its depth is 1 and the number of pairs of a vertical and a
    /// horizontal convolution on top of each.
    InceptionBn,
    /// The same with such pairs in the modules too, in place of the double branch's 3×3.
    InceptionBnPairs,
    /// Its relative for images of 28 to 64 pixels: a stem without strides, a quarter of the channels.
    InceptionBnSmall,
    /// The same with pairs in the modules.
    InceptionBnSmallPairs,
}

/// One architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// The family.
    pub family: Family,
    /// What the channels of the family's base are multiplied by (at least one channel is left).
    #[serde(default = "one")]
    pub width: f64,
    /// The number of layers, blocks or modules in each stage.
    #[serde(default = "one_deep")]
    pub depth: usize,
}

fn one() -> f64 {
    1.0
}

fn one_deep() -> usize {
    1
}

/// Why an architecture cannot be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A width or depth of no sense.
    #[error("model {what} must be {wanted}, not {found}")]
    Setting {
        /// `width` or `depth`.
        what: &'static str,
        /// The range.
        wanted: &'static str,
        /// The value given.
        found: f64,
    },
    /// Images too small for its pooling.
    #[error("the model does not fit images of {shape}: {source}")]
    Graph {
        /// The images.
        shape: ImageShape,
        /// What does not fit.
        source: GraphError,
    },
}

impl ModelSpec {
    /// Builds the graph for images of a shape and a number of classes.
    pub fn build(&self, images: ImageShape, classes: usize) -> Result<Graph, ModelError> {
        if !(self.width > 0.0 && self.width <= 64.0) {
            let (what, wanted) = ("width", "above 0 and at most 64");
            return Err(ModelError::Setting {
                what,
                wanted,
                found: self.width,
            });
        }
        if !(1..=64).contains(&self.depth) {
            let (what, wanted) = ("depth", "between 1 and 64");
            return Err(ModelError::Setting {
                what,
                wanted,
                found: self.depth as f64,
            });
        }
        let result = match self.family {
            Family::Mlp => mlp::build(self, images, classes),
            Family::ConvNet => conv_net::build(self, images, classes),
            Family::Residual => residual::build(self, images, classes),
            Family::Inception => inception::build(self, images, classes),
            Family::InceptionBn
            | Family::InceptionBnPairs
            | Family::InceptionBnSmall
            | Family::InceptionBnSmallPairs => inception_bn::build(self, images, classes),
        };
        result.map_err(|source| ModelError::Graph {
            shape: images,
            source,
        })
    }

    /// The width times `base`, at least one.
    fn channels(&self, base: usize) -> usize {
        ((base as f64 * self.width).round() as usize).max(1)
    }
}
