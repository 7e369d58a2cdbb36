//! Further functions of each element by itself, as ONNX names them.

use net2net_kernels::Real;
use net2net_kernels::unary::Unary;

use super::activation::{Curve, ElementwiseKernel, elementwise_operator};
use super::{Arity, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Kernel, Layout, Layouts, Site};
use crate::graph::Shape;

const PLAIN: Nature = Nature::Other;
const CURVED: Nature = Nature::Activation { idempotent: false };

/// Operators without attributes: what they compute, their cost and their nature.
macro_rules! plain_operators {
    ($($(#[$doc:meta])* $type:ident, $flops:literal, $nature:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $type;

        elementwise_operator!(
            $type, stringify!($type),
            read: |_attributes| Ok($type),
            write: |_this, _out| {},
            flops: $flops,
            nature: |_this| $nature,
            curve: |_this| Curve::Unary(Unary::$type),
        );
    )*};
}

plain_operators! {
    /// `−x`
    Neg, 1, PLAIN;
    /// `|x|`
    Abs, 1, PLAIN;
    /// `1 / x`
    Reciprocal, 1, PLAIN;
    /// `√x`
    Sqrt, 1, PLAIN;
    /// `exp x`
    Exp, 4, PLAIN;
    /// `ln x`
    Log, 4, PLAIN;
    /// The error function, `2/√π · ∫₀ˣ exp(−t²) dt`.
    Erf, 8, PLAIN;
    /// `sin x`
    Sin, 4, PLAIN;
    /// `cos x`
    Cos, 4, PLAIN;
    /// The largest integer that is not above `x`; its gradient is 0.
    Floor, 1, PLAIN;
    /// The smallest integer that is not below `x`; its gradient is 0.
    Ceil, 1, PLAIN;
    /// The nearest integer, of two equally near the even one; its gradient is 0.
    Round, 1, PLAIN;
    /// −1, 0 or 1; its gradient is 0.
    Sign, 1, PLAIN;
    /// 1 where `x` is 0, else 0; its gradient is 0.
    Not, 1, PLAIN;
    /// `x · max(0, min(1, x/6 + 1/2))`
    HardSwish, 5, CURVED;
    /// `x · tanh(softplus x)` (Misra 2019)
    Mish, 10, CURVED;
    /// `ln(1 + exp x)`
    Softplus, 6, CURVED;
    /// `x / (1 + |x|)`
    Softsign, 3, CURVED;
}

/// A constant that a file could not have: the text form knows no infinity.
fn finite(constants: &[f64]) -> Result<(), String> {
    match constants.iter().find(|x| !x.is_finite()) {
        Some(x) => Err(format!("its constants must be finite, not {x}")),
        None => Ok(()),
    }
}

/// `x` where positive, else `alpha · (exp x − 1)` (Clevert et al. 2016).
#[derive(Clone, Debug, PartialEq)]
pub struct Elu {
    /// What it tends to, negated.
    pub alpha: f64,
}

impl Default for Elu {
    fn default() -> Self {
        Elu { alpha: 1.0 }
    }
}

elementwise_operator!(
    Elu, "Elu",
    read: |attributes| Ok(Elu { alpha: attributes.float("alpha", 1.0)? }),
    write: |this, out| out.put_float("alpha", this.alpha, 1.0),
    flops: 5,
    nature: |_this| CURVED,
    check: |this| finite(&[this.alpha]),
    curve: |this| Curve::Unary(Unary::Elu { alpha: this.alpha }),
);

/// `gamma · x` where positive, else `gamma · alpha · (exp x − 1)` (Klambauer et al. 2017).
#[derive(Clone, Debug, PartialEq)]
pub struct Selu {
    /// The factor of the negative side.
    pub alpha: f64,
    /// The factor of both sides.
    pub gamma: f64,
}

/// ONNX's defaults, which are single-precision numbers.
const SELU_ALPHA: f64 = 1.673_263_192_176_818_8;
const SELU_GAMMA: f64 = 1.050_701_022_148_132_3;

impl Default for Selu {
    fn default() -> Self {
        Selu {
            alpha: SELU_ALPHA,
            gamma: SELU_GAMMA,
        }
    }
}

elementwise_operator!(
    Selu, "Selu",
    read: |attributes| Ok(Selu {
        alpha: attributes.float("alpha", SELU_ALPHA)?,
        gamma: attributes.float("gamma", SELU_GAMMA)?,
    }),
    write: |this, out| {
        out.put_float("alpha", this.alpha, SELU_ALPHA);
        out.put_float("gamma", this.gamma, SELU_GAMMA);
    },
    flops: 6,
    nature: |_this| CURVED,
    check: |this| finite(&[this.alpha, this.gamma]),
    curve: |this| Curve::Unary(Unary::Selu { alpha: this.alpha, gamma: this.gamma }),
);

/// `max(0, min(1, alpha · x + beta))`
#[derive(Clone, Debug, PartialEq)]
pub struct HardSigmoid {
    /// The slope.
    pub alpha: f64,
    /// The value at 0.
    pub beta: f64,
}

impl Default for HardSigmoid {
    fn default() -> Self {
        HardSigmoid {
            alpha: 0.2,
            beta: 0.5,
        }
    }
}

elementwise_operator!(
    HardSigmoid, "HardSigmoid",
    read: |attributes| Ok(HardSigmoid {
        alpha: attributes.float("alpha", 0.2)?,
        beta: attributes.float("beta", 0.5)?,
    }),
    write: |this, out| {
        out.put_float("alpha", this.alpha, 0.2);
        out.put_float("beta", this.beta, 0.5);
    },
    flops: 4,
    nature: |_this| CURVED,
    check: |this| finite(&[this.alpha, this.beta]),
    curve: |this| Curve::Unary(Unary::HardSigmoid { alpha: this.alpha, beta: this.beta }),
);

/// `min(max(x, min), max)`; ONNX gives the bounds as inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    /// The lower bound, minus infinity for none.
    pub min: f64,
    /// The upper bound, infinity for none.
    pub max: f64,
}

impl Default for Clip {
    fn default() -> Self {
        Clip {
            min: f64::NEG_INFINITY,
            max: f64::INFINITY,
        }
    }
}

impl Clip {
    fn check(&self) -> Result<(), String> {
        let bounds = [self.min, self.max];
        if bounds.iter().any(|x| x.is_nan()) || self.min == f64::INFINITY {
            return Err(format!("{bounds:?} are no bounds"));
        }
        if self.max == f64::NEG_INFINITY {
            return Err("the upper bound must not be minus infinity".to_owned());
        }
        Ok(())
    }
}

elementwise_operator!(
    Clip, "Clip",
    read: |attributes| Ok(Clip {
        min: attributes.float("min", f64::NEG_INFINITY)?,
        max: attributes.float("max", f64::INFINITY)?,
    }),
    write: |this, out| {
        out.put_float("min", this.min, f64::NEG_INFINITY);
        out.put_float("max", this.max, f64::INFINITY);
    },
    flops: 2,
    // Also where the bounds cross: it is a constant then.
    nature: |_this| Nature::Activation { idempotent: true },
    check: |this| this.check(),
    curve: |this| Curve::Unary(Unary::Clip { min: this.min, max: this.max }),
);
