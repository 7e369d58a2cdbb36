//! Softmax.

use net2net_kernels::{Context, Real, softmax};

use super::{Arity, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::Shape;

/// `Softmax(x) -> x's shape`: exponentials that sum to one along the last axis.
///
/// Its axis cannot grow: a copy would take its share of the sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Softmax;

impl Operator for Softmax {
    const NAME: &'static str = "Softmax";
    const RULE: &'static str = "* c -> * c, c frozen";
    const ARITY: Arity = Arity::exactly(1);

    fn read(_: &mut Attributes) -> Result<Self, String> {
        Ok(Softmax)
    }

    fn write(&self, _: &mut Attributes) {}

    fn role(&self, _: usize) -> Role {
        Role::Activation
    }

    fn fan_in(&self, _: usize, _: &[usize]) -> usize {
        1
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        if inputs[0].rank() < 2 {
            return Err(format!(
                "the input must have shape [N, …, classes], not {}",
                inputs[0]
            ));
        }
        Ok(vec![inputs[0].clone()])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        let labels = rule.notation("* -> *", &[]);
        if let Some((_, last)) = labels.last() {
            rule.freeze(*last, "softmax divides by the sum over this axis");
        }
    }

    fn resize(&self, _: &Grown<'_>) -> Self {
        Softmax
    }

    fn cost(&self, inputs: &[&Shape], _: &[&Shape]) -> u64 {
        5 * super::elements(inputs[0])
    }

    fn layouts(&self, _: &[Layout], inputs: &[&Shape], _: &[&Shape]) -> Layouts {
        Layouts::pass_through(&[Layout::row_major(inputs[0].rank())])
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let sizes = &site.inputs[0];
        let classes = sizes.last().copied().unwrap_or(1);
        let rows = sizes.iter().product::<usize>() / classes;
        Box::new(SoftmaxKernel { rows, classes })
    }

    fn nature(&self) -> Nature {
        Nature::Other
    }
}

struct SoftmaxKernel {
    rows: usize,
    classes: usize,
}

impl<T: Real> Kernel<T> for SoftmaxKernel {
    fn needs(&self) -> Needs {
        Needs {
            inputs: false,
            outputs: true,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        softmax::forward(cx, self.rows, self.classes, inputs[0], outputs[0]);
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let (y, dy) = (pass.outputs[0], pass.output_gradients[0]);
        if let Some(dx) = &mut pass.input_gradients[0] {
            let (rows, classes) = (self.rows, self.classes);
            softmax::backward(cx, rows, classes, y, dy, dx.data, dx.accumulate);
        }
    }
}
