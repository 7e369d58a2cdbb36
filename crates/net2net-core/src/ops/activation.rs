//! Activations without parameters: one rule, one kernel, one struct each. More functions of one
//! element are in `unary.rs`.

use net2net_kernels::activation::Activation;
use net2net_kernels::unary::Unary;
use net2net_kernels::{Context, Real, elementwise};

use super::{Arity, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::Shape;

/// How the kernel computes an element-wise function.
#[derive(Clone, Copy)]
pub(super) enum Curve {
    Ready(Activation),
    Unary(Unary),
    Leaky(f64),
    Identity,
}

/// Attributes and properties in which the element-wise operators differ; the rest they share.
macro_rules! elementwise_operator {
    (
        $type:ident, $name:expr,
        read: |$attributes:ident| $read:expr,
        write: |$self_write:ident, $out:ident| $write:expr,
        flops: $flops:literal,
        nature: |$self_nature:ident| $nature:expr,
        $(check: |$self_check:ident| $check:expr,)?
        curve: |$self_curve:ident| $curve:expr $(,)?
    ) => {
        impl Operator for $type {
            const NAME: &'static str = $name;
            const RULE: &'static str = "* -> *";
            const ARITY: Arity = Arity::exactly(1);

            fn read($attributes: &mut Attributes) -> Result<Self, String> {
                $read
            }

            fn write(&self, $out: &mut Attributes) {
                let $self_write = self;
                $write
            }

            fn role(&self, _: usize) -> Role {
                Role::Activation
            }

            fn fan_in(&self, _: usize, _: &[usize]) -> usize {
                1
            }

            fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
                $(
                    let $self_check = self;
                    $check?;
                )?
                Ok(vec![inputs[0].clone()])
            }

            fn axes(&self, rule: &mut AxisRule<'_>) {
                rule.notation(Self::RULE, &[]);
            }

            fn resize(&self, _: &Grown<'_>) -> Self {
                self.clone()
            }

            fn cost(&self, inputs: &[&Shape], _: &[&Shape]) -> u64 {
                $flops * super::elements(inputs[0])
            }

            fn layouts(&self, incoming: &[Layout], _: &[&Shape], _: &[&Shape]) -> Layouts {
                Layouts::pass_through(incoming)
            }

            fn kernel<T: Real>(&self, _: &Site<'_>) -> Box<dyn Kernel<T>> {
                let $self_curve = self;
                Box::new(ElementwiseKernel($curve))
            }

            fn nature(&self) -> Nature {
                let $self_nature = self;
                $nature
            }
        }
    };
}
pub(super) use elementwise_operator;

/// `max(x, 0)`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relu;

elementwise_operator!(
    Relu, "Relu",
    read: |_attributes| Ok(Relu),
    write: |_this, _out| {},
    flops: 1,
    nature: |_this| Nature::Activation { idempotent: true },
    curve: |_this| Curve::Ready(Activation::Relu),
);

/// `x` where positive, else `alpha · x`.
#[derive(Clone, Debug, PartialEq)]
pub struct LeakyRelu {
    /// The slope of the negative side.
    pub alpha: f64,
}

impl Default for LeakyRelu {
    fn default() -> Self {
        LeakyRelu { alpha: 0.01 }
    }
}

elementwise_operator!(
    LeakyRelu, "LeakyRelu",
    read: |attributes| Ok(LeakyRelu { alpha: attributes.float("alpha", 0.01)? }),
    write: |this, out| out.put_float("alpha", this.alpha, 0.01),
    flops: 2,
    nature: |this| Nature::Activation { idempotent: this.alpha == 0.0 || this.alpha == 1.0 },
    curve: |this| Curve::Leaky(this.alpha),
);

/// `1 / (1 + exp(−x))`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sigmoid;

elementwise_operator!(
    Sigmoid, "Sigmoid",
    read: |_attributes| Ok(Sigmoid),
    write: |_this, _out| {},
    flops: 4,
    nature: |_this| Nature::Activation { idempotent: false },
    curve: |_this| Curve::Ready(Activation::Sigmoid),
);

/// `tanh x`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tanh;

elementwise_operator!(
    Tanh, "Tanh",
    read: |_attributes| Ok(Tanh),
    write: |_this, _out| {},
    flops: 4,
    nature: |_this| Nature::Activation { idempotent: false },
    curve: |_this| Curve::Ready(Activation::Tanh),
);

/// `x · sigmoid x`, also called swish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silu;

elementwise_operator!(
    Silu, "Silu",
    read: |_attributes| Ok(Silu),
    write: |_this, _out| {},
    flops: 5,
    nature: |_this| Nature::Activation { idempotent: false },
    curve: |_this| Curve::Ready(Activation::Silu),
);

/// `x · Φ(x)` (Hendrycks & Gimpel 2016), exact or approximated by tanh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gelu {
    /// Whether Φ is approximated by tanh; ONNX's `approximate`.
    pub tanh: bool,
}

elementwise_operator!(
    Gelu, "Gelu",
    read: |attributes| match attributes.text("approximate", "none")?.as_str() {
        "none" => Ok(Gelu { tanh: false }),
        "tanh" => Ok(Gelu { tanh: true }),
        other => Err(format!("approximate must be \"none\" or \"tanh\", not {other:?}")),
    },
    write: |this, out| out.put_text("approximate", if this.tanh { "tanh" } else { "none" }, "none"),
    flops: 8,
    nature: |_this| Nature::Activation { idempotent: false },
    curve: |this| Curve::Ready(if this.tanh { Activation::GeluTanh } else { Activation::Gelu }),
);

/// `x`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity;

elementwise_operator!(
    Identity, "Identity",
    read: |_attributes| Ok(Identity),
    write: |_this, _out| {},
    flops: 0,
    nature: |_this| Nature::Other,
    curve: |_this| Curve::Identity,
);

pub(super) struct ElementwiseKernel(pub(super) Curve);

impl<T: Real> Kernel<T> for ElementwiseKernel {
    fn needs(&self) -> Needs {
        match self.0 {
            // The sign of its output is that of its input, and the output is needed anyway.
            Curve::Ready(Activation::Relu) => Needs {
                inputs: false,
                outputs: true,
            },
            Curve::Identity => Needs {
                inputs: false,
                outputs: false,
            },
            Curve::Unary(unary) => Needs {
                inputs: !unary.is_flat(),
                outputs: false,
            },
            _ => Needs {
                inputs: true,
                outputs: false,
            },
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let (x, y) = (inputs[0], &mut *outputs[0]);
        match self.0 {
            Curve::Ready(activation) => activation.forward(cx, x, y),
            Curve::Unary(unary) => unary.forward(cx, x, y),
            Curve::Leaky(alpha) => {
                let alpha = T::from_f64(alpha);
                let zero = T::zero();
                elementwise::map(
                    cx,
                    x,
                    y,
                    #[inline(always)]
                    |x| if x > zero { x } else { alpha * x },
                );
            }
            Curve::Identity => y.copy_from_slice(x),
        }
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let dy = pass.output_gradients[0];
        let Some(dx) = &mut pass.input_gradients[0] else {
            return;
        };
        let accumulate = dx.accumulate;
        match self.0 {
            Curve::Ready(Activation::Relu) => {
                elementwise::relu_backward(cx, pass.outputs[0], dy, dx.data, accumulate);
            }
            Curve::Ready(activation) => {
                activation.backward(cx, pass.inputs[0], dy, dx.data, accumulate);
            }
            Curve::Unary(unary) => unary.backward(cx, pass.inputs[0], dy, dx.data, accumulate),
            Curve::Leaky(alpha) => {
                let (alpha, one, zero) = (T::from_f64(alpha), T::one(), T::zero());
                let slope = |x: T| if x > zero { one } else { alpha };
                elementwise::map_backward(cx, pass.inputs[0], dy, dx.data, accumulate, slope);
            }
            Curve::Identity => dx.put(dy),
        }
    }
}
