//! Softmax, its logarithm, and division by a norm: along one axis, which cannot grow.

use net2net_kernels::lp::{self, Norm};
use net2net_kernels::{Context, Real, softmax};

use super::{Arity, Attribute, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::{Extent, Shape};

/// `Softmax(x) -> x's shape`: exponentials that sum to one along an axis.
///
/// Its axis cannot grow: a copy would take its share of the sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Softmax {
    /// The axis as ONNX has it: negative ones count from behind, and the last one is the default.
    pub axis: i64,
}

/// `LogSoftmax(x) -> x's shape`: the logarithm of [`Softmax`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSoftmax {
    /// The axis as ONNX has it: negative ones count from behind, and the last one is the default.
    pub axis: i64,
}

/// `LpNormalization(x) -> x's shape`: divided by the norm along an axis; zeros stay so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LpNormalization {
    /// The axis as ONNX has it: negative ones count from behind, and the last one is the default.
    pub axis: i64,
    /// 1 for the sum of absolute values, 2 for the root of the sum of squares.
    pub p: usize,
}

impl Default for Softmax {
    fn default() -> Self {
        Softmax { axis: -1 }
    }
}

impl Default for LogSoftmax {
    fn default() -> Self {
        LogSoftmax { axis: -1 }
    }
}

impl Default for LpNormalization {
    fn default() -> Self {
        LpNormalization { axis: -1, p: 2 }
    }
}

/// The axis counted from the front, if the shape has it.
fn position(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let position = if axis < 0 { axis + rank } else { axis };
    (0..rank).contains(&position).then_some(position as usize)
}

fn infer_along(axis: i64, input: &Shape) -> Result<Vec<Shape>, String> {
    match position(axis, input.rank()).and_then(|axis| input.get(axis)) {
        Some(Extent::Fixed(_)) => Ok(vec![input.clone()]),
        Some(Extent::Batch) => Err(format!("axis {axis} of {input} is the batch")),
        None => Err(format!("{input} has no axis {axis}")),
    }
}

fn write_axis(attributes: &mut Attributes, axis: i64) {
    if axis != -1 {
        attributes.insert("axis", Attribute::Int(axis));
    }
}

/// The parts that the three share: rows along the axis, which is stored innermost for that.
macro_rules! along_axis_parts {
    ($why:literal, $flops:literal) => {
        fn role(&self, _: usize) -> Role {
            Role::Activation
        }

        fn fan_in(&self, _: usize, _: &[usize]) -> usize {
            1
        }

        fn axes(&self, rule: &mut AxisRule<'_>) {
            let labels = rule.notation("* -> *", &[]);
            let along = position(self.axis, labels.len()).and_then(|axis| labels.get(axis));
            if let Some((_, label)) = along {
                rule.freeze(*label, $why);
            }
        }

        fn resize(&self, _: &Grown<'_>) -> Self {
            self.clone()
        }

        fn cost(&self, inputs: &[&Shape], _: &[&Shape]) -> u64 {
            $flops * super::elements(inputs[0])
        }

        fn layouts(&self, _: &[Layout], inputs: &[&Shape], _: &[&Shape]) -> Layouts {
            let rank = inputs[0].rank();
            let axis = position(self.axis, rank).unwrap_or(0);
            Layouts::pass_through(&[Layout::with_last(rank, axis)])
        }

        fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
            let sizes = &site.inputs[0];
            let along = position(self.axis, sizes.len()).map_or(1, |axis| sizes[axis]);
            let rows = sizes.iter().product::<usize>() / along;
            self.row_kernel(rows, along)
        }

        fn nature(&self) -> Nature {
            Nature::Other
        }
    };
}

impl Operator for Softmax {
    const NAME: &'static str = "Softmax";
    const RULE: &'static str = "* c -> * c, c frozen";
    const ARITY: Arity = Arity::exactly(1);

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        let axis = attributes.int("axis", -1)?;
        Ok(Softmax { axis })
    }

    fn write(&self, attributes: &mut Attributes) {
        write_axis(attributes, self.axis);
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        infer_along(self.axis, inputs[0])
    }

    along_axis_parts!("softmax divides by the sum over this axis", 5);
}

impl Softmax {
    fn row_kernel<T: Real>(&self, rows: usize, along: usize) -> Box<dyn Kernel<T>> {
        let log = false;
        Box::new(SoftmaxKernel { rows, along, log })
    }
}

impl Operator for LogSoftmax {
    const NAME: &'static str = "LogSoftmax";
    const RULE: &'static str = "* c -> * c, c frozen";
    const ARITY: Arity = Arity::exactly(1);

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        let axis = attributes.int("axis", -1)?;
        Ok(LogSoftmax { axis })
    }

    fn write(&self, attributes: &mut Attributes) {
        write_axis(attributes, self.axis);
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        infer_along(self.axis, inputs[0])
    }

    along_axis_parts!("softmax divides by the sum over this axis", 5);
}

impl LogSoftmax {
    fn row_kernel<T: Real>(&self, rows: usize, along: usize) -> Box<dyn Kernel<T>> {
        let log = true;
        Box::new(SoftmaxKernel { rows, along, log })
    }
}

impl Operator for LpNormalization {
    const NAME: &'static str = "LpNormalization";
    const RULE: &'static str = "* c -> * c, c frozen";
    const ARITY: Arity = Arity::exactly(1);

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        Ok(LpNormalization {
            axis: attributes.int("axis", -1)?,
            p: attributes.size("p", 2, 1)?,
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        write_axis(attributes, self.axis);
        attributes.put_size("p", self.p, 2);
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        if !(1..=2).contains(&self.p) {
            return Err(format!("p must be 1 or 2, not {}", self.p));
        }
        infer_along(self.axis, inputs[0])
    }

    along_axis_parts!("the norm sums over this axis", 3);
}

impl LpNormalization {
    fn row_kernel<T: Real>(&self, rows: usize, along: usize) -> Box<dyn Kernel<T>> {
        let norm = if self.p == 1 { Norm::L1 } else { Norm::L2 };
        Box::new(LpKernel { rows, along, norm })
    }
}

struct SoftmaxKernel {
    rows: usize,
    along: usize,
    /// Whether the result is the logarithm.
    log: bool,
}

impl<T: Real> Kernel<T> for SoftmaxKernel {
    fn needs(&self) -> Needs {
        Needs {
            inputs: false,
            outputs: true,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let forward = if self.log {
            softmax::log_forward
        } else {
            softmax::forward
        };
        forward(cx, self.rows, self.along, inputs[0], outputs[0]);
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let (y, dy) = (pass.outputs[0], pass.output_gradients[0]);
        if let Some(dx) = &mut pass.input_gradients[0] {
            let (rows, along) = (self.rows, self.along);
            let backward = if self.log {
                softmax::log_backward
            } else {
                softmax::backward
            };
            backward(cx, rows, along, y, dy, dx.data, dx.accumulate);
        }
    }
}

struct LpKernel {
    rows: usize,
    along: usize,
    norm: Norm,
}

impl<T: Real> Kernel<T> for LpKernel {
    fn needs(&self) -> Needs {
        Needs {
            inputs: true,
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        lp::forward(cx, self.norm, self.rows, self.along, inputs[0], outputs[0]);
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let (x, dy) = (pass.inputs[0], pass.output_gradients[0]);
        if let Some(dx) = &mut pass.input_gradients[0] {
            let (norm, rows, along) = (self.norm, self.rows, self.along);
            lp::backward(cx, norm, rows, along, x, dy, dx.data, dx.accumulate);
        }
    }
}
