//! The operators: one file each with all its parts, and one line each in the table below.
//!
//! To add one, write a struct of its attributes, implement [`Operator`], and add the line. The
//! compiler names every part that is missing; no part has a default.

mod activation;
mod arithmetic;
mod attention;
mod attributes;
mod batch_norm;
mod concat;
mod conv;
mod conv_norm;
mod conv_transpose;
mod dropout;
mod einsum;
mod expand;
mod gather;
mod gemm;
mod lrn;
mod matmul;
mod moves;
mod normalization;
mod pad;
mod pool;
mod prelu;
mod recurrent;
mod reduce;
mod reshape;
mod resize;
mod rotary;
mod slice;
mod softmax;
mod transpose;
mod unary;
mod window;

use std::fmt::Debug;

use net2net_kernels::Real;

pub use activation::{Gelu, Identity, LeakyRelu, Relu, Sigmoid, Silu, Tanh};
pub use arithmetic::{
    Add, And, Div, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Max, Min, Mul, Or, Pow, Sub,
    Where,
};
pub use attention::Attention;
pub use attributes::{Attribute, Attributes};
pub use batch_norm::BatchNorm;
pub use concat::Concat;
pub use conv::Conv;
pub use conv_transpose::ConvTranspose;
pub use dropout::Dropout;
pub use einsum::Einsum;
pub use expand::{Expand, Tile};
pub use gather::Gather;
pub use gemm::Gemm;
pub use lrn::Lrn;
pub use matmul::MatMul;
pub use normalization::{GroupNorm, InstanceNorm, LayerNorm, RmsNorm};
pub use pad::{Pad, PadMode};
pub use pool::{AveragePool, GlobalAveragePool, MaxPool};
pub use prelu::PRelu;
pub use recurrent::{Gru, Lstm, Recurrence, Rnn, Ways};
pub use reduce::{GlobalMaxPool, ReduceL2, ReduceMax, ReduceMean, ReduceMin, ReduceSum};
pub use reshape::{Flatten, Reshape};
pub use resize::{Coordinates, Interpolation, NearestMode, Resize};
pub use rotary::RotaryEmbedding;
pub use slice::{Slice, Split, Take};
pub use softmax::{LogSoftmax, LpNormalization, Softmax};
pub use transpose::{DepthOrder, DepthToSpace, SpaceToDepth, Transpose};
pub use unary::{
    Abs, Ceil, Clip, Cos, Elu, Erf, Exp, Floor, HardSigmoid, HardSwish, Log, Mish, Neg, Not,
    Reciprocal, Round, Selu, Sign, Sin, Softplus, Softsign, Sqrt,
};
pub use window::Window;

use crate::dims::{AxisRule, Grown};
use crate::engine::{Kernel, Layout, Layouts, Site};
use crate::graph::Shape;

/// What an input slot of an operator holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Data; a parameter may stand here too, and is then trained without decay.
    Activation,
    /// A matrix or filter: trained, with weight decay.
    Weight,
    /// A scale that starts at one: trained, without decay.
    Scale,
    /// A shift that starts at zero: trained, without decay.
    Shift,
    /// A slope that starts at a quarter (He et al. 2015): trained, without decay.
    Slope,
    /// Data that belongs to the model: neither trained nor written by the forward pass.
    Constant,
    /// A running mean: updated by the forward pass, starts at zero.
    RunningMean,
    /// A running variance: updated by the forward pass, starts at one.
    RunningVariance,
}

impl Role {
    /// Whether an optimizer changes a parameter of this role.
    pub fn is_trained(self) -> bool {
        self != Role::Constant && !self.is_running()
    }

    /// Whether the forward pass in training writes it.
    pub fn is_running(self) -> bool {
        matches!(self, Role::RunningMean | Role::RunningVariance)
    }

    /// Whether weight decay applies to a parameter of this role.
    pub fn decays(self) -> bool {
        self == Role::Weight
    }
}

/// What an operator is, as far as deepening asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// A layer with a weight, after which another can be inserted.
    Linear,
    /// An element-wise nonlinearity.
    Activation {
        /// Whether `f(f(x)) = f(x)` for every input.
        idempotent: bool,
    },
    /// Anything else.
    Other,
}

/// The number of inputs that an operator takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arity {
    /// At least.
    pub least: usize,
    /// At most.
    pub most: usize,
}

impl Arity {
    /// Exactly `count` inputs.
    pub const fn exactly(count: usize) -> Self {
        Arity {
            least: count,
            most: count,
        }
    }
}

/// All that the project knows of an operator.
pub trait Operator: Clone + Debug + PartialEq + Sized + Send + Sync {
    /// The name in the text form, which is ONNX's where ONNX has the operator.
    const NAME: &'static str;
    /// The axis rule as people read it, for the documentation.
    const RULE: &'static str;
    /// How many inputs it takes.
    const ARITY: Arity;

    /// Takes its attributes, with ONNX's defaults for absent ones.
    fn read(attributes: &mut Attributes) -> Result<Self, String>;
    /// Writes the attributes that are not at their defaults.
    fn write(&self, attributes: &mut Attributes);
    /// What an input slot holds.
    fn role(&self, slot: usize) -> Role;
    /// The number of inputs that one output of a weight in `slot` sums over (fan-in).
    fn fan_in(&self, slot: usize, sizes: &[usize]) -> usize;
    /// The shapes of the outputs, or what does not fit.
    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String>;
    /// How the axes of inputs and outputs correspond.
    fn axes(&self, rule: &mut AxisRule<'_>);
    /// The operator after growth.
    fn resize(&self, grown: &Grown<'_>) -> Self;
    /// Multiplications and additions for one sample, each counted as one.
    fn cost(&self, inputs: &[&Shape], outputs: &[&Shape]) -> u64;
    /// The storage orders that its kernel wants, given those at hand.
    fn layouts(&self, incoming: &[Layout], inputs: &[&Shape], outputs: &[&Shape]) -> Layouts;
    /// The compiled forward and backward passes.
    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>>;
    /// What it is for those who look for a place to insert a layer.
    fn nature(&self) -> Nature;
}

macro_rules! operators {
    ($($name:ident),* $(,)?) => {
        /// Any operator: the attributes of one of the table's lines.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Op {
            $(#[doc = concat!("See [`", stringify!($name), "`].")] $name($name),)*
        }

        $(impl From<$name> for Op {
            fn from(op: $name) -> Op {
                Op::$name(op)
            }
        })*

        impl Op {
            /// Reads an operator by its name and attributes.
            pub fn read(name: &str, mut attributes: Attributes) -> Result<Op, String> {
                let op = match name {
                    $($name::NAME => Op::$name($name::read(&mut attributes)?),)*
                    other => {
                        let hint = crate::graph::hint(other, OPERATORS.iter().map(|line| line.name));
                        return Err(format!("unknown operator `{other}`{hint}"));
                    }
                };
                attributes.finish()?;
                Ok(op)
            }
        }

        /// The operator table, as the documentation shows it.
        pub const OPERATORS: &[Line] = &[
            $(Line { name: $name::NAME, rule: $name::RULE, arity: $name::ARITY },)*
        ];

        /// Calls a method of whichever operator it is.
        macro_rules! each {
            ($self:expr, $op:ident => $call:expr) => {
                match $self { $(Op::$name($op) => $call,)* }
            };
        }
    };
}

operators! {
    Conv, Gemm, BatchNorm,
    ConvTranspose, MatMul, LayerNorm, RmsNorm, GroupNorm, InstanceNorm, Lrn,
    Relu, LeakyRelu, PRelu, Sigmoid, Tanh, Gelu, Silu,
    MaxPool, AveragePool, GlobalAveragePool,
    Flatten, Reshape, Add, Mul, Concat, Dropout, Softmax, Identity,
    Elu, Selu, HardSwish, HardSigmoid, Mish, Softplus, Softsign, Clip,
    Neg, Abs, Reciprocal, Sqrt, Exp, Log, Erf, Sin, Cos, Floor, Ceil, Round, Sign, Not,
    Sub, Div, Pow, Max, Min, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, And, Or, Where,
    ReduceMean, ReduceSum, ReduceMax, ReduceMin, ReduceL2, GlobalMaxPool,
    LogSoftmax, LpNormalization,
    Transpose, Slice, Split, Take, Pad, Expand, Tile, Gather, DepthToSpace, SpaceToDepth, Resize,
    Attention, RotaryEmbedding, Lstm, Gru, Rnn, Einsum,
}

/// One line of the operator table.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// The operator's name.
    pub name: &'static str,
    /// Its axis rule.
    pub rule: &'static str,
    /// How many inputs it takes.
    pub arity: Arity,
}

fn named<O: Operator>(_: &O) -> &'static str {
    O::NAME
}

fn arity_of<O: Operator>(_: &O) -> Arity {
    O::ARITY
}

impl Op {
    /// The operator's name.
    pub fn name(&self) -> &'static str {
        each!(self, op => named(op))
    }

    /// Refuses a number of inputs that the operator does not take.
    pub fn check_arity(&self, inputs: usize) -> Result<(), String> {
        let Arity { least, most } = each!(self, op => arity_of(op));
        if (least..=most).contains(&inputs) {
            return Ok(());
        }
        let wanted = if least == most {
            format!("{least}")
        } else if most == usize::MAX {
            format!("at least {least}")
        } else {
            format!("{least} to {most}")
        };
        Err(format!("it takes {wanted} inputs, not {inputs}"))
    }

    /// The attributes that are not at their defaults.
    pub fn write(&self) -> Attributes {
        let mut attributes = Attributes::default();
        each!(self, op => op.write(&mut attributes));
        attributes
    }

    /// See [`Operator::role`].
    pub fn role(&self, slot: usize) -> Role {
        each!(self, op => op.role(slot))
    }

    /// See [`Operator::fan_in`].
    pub fn fan_in(&self, slot: usize, sizes: &[usize]) -> usize {
        each!(self, op => op.fan_in(slot, sizes))
    }

    /// See [`Operator::infer`].
    pub fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        each!(self, op => op.infer(inputs))
    }

    /// See [`Operator::axes`].
    pub fn axes(&self, rule: &mut AxisRule<'_>) {
        each!(self, op => op.axes(rule))
    }

    /// See [`Operator::resize`].
    #[must_use]
    pub fn resize(&self, grown: &Grown<'_>) -> Op {
        each!(self, op => Op::from(op.resize(grown)))
    }

    /// See [`Operator::cost`].
    pub fn cost(&self, inputs: &[&Shape], outputs: &[&Shape]) -> u64 {
        each!(self, op => op.cost(inputs, outputs))
    }

    /// See [`Operator::layouts`].
    pub fn layouts(&self, incoming: &[Layout], inputs: &[&Shape], outputs: &[&Shape]) -> Layouts {
        each!(self, op => op.layouts(incoming, inputs, outputs))
    }

    /// See [`Operator::kernel`].
    pub fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        each!(self, op => op.kernel::<T>(site))
    }

    /// See [`Operator::nature`].
    pub fn nature(&self) -> Nature {
        each!(self, op => op.nature())
    }
}

/// The number of elements of one sample.
fn elements(shape: &Shape) -> u64 {
    shape.elements(1) as u64
}
