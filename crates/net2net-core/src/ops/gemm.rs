//! The linear layer.

use net2net_kernels::{Context, Matrix, Real, conv, matmul};

use super::{Arity, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::{Extent, Shape};

/// `Gemm(x [N, i], weight [o, i] (or [i, o]), bias [o]?) -> [N, o]`: ONNX's with unit factors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gemm {
    /// Whether the weight is stored as [outputs, inputs], as PyTorch does; ONNX's `transB`.
    pub transposed: bool,
}

impl Default for Gemm {
    /// A weight of [outputs, inputs].
    fn default() -> Self {
        Gemm { transposed: true }
    }
}

impl Gemm {
    /// The (outputs, inputs) of a weight's sizes.
    fn sides(&self, sizes: &[usize]) -> (usize, usize) {
        if self.transposed {
            (sizes[0], sizes[1])
        } else {
            (sizes[1], sizes[0])
        }
    }
}

impl Operator for Gemm {
    const NAME: &'static str = "Gemm";
    const RULE: &'static str = "n i , o i , o? -> n o";
    const ARITY: Arity = Arity { least: 2, most: 3 };

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        Ok(Gemm {
            transposed: attributes.flag("transB", false)?,
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        attributes.put_flag("transB", self.transposed, false);
    }

    fn role(&self, slot: usize) -> Role {
        [Role::Activation, Role::Weight, Role::Shift][slot]
    }

    fn fan_in(&self, _slot: usize, sizes: &[usize]) -> usize {
        self.sides(sizes).1
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [_, Extent::Fixed(features)] = inputs[0].extents() else {
            return Err(format!(
                "the input must have shape [N, features], not {}; flatten it first",
                inputs[0]
            ));
        };
        let Some(sizes) = inputs[1].to_fixed().filter(|s| s.len() == 2) else {
            return Err(format!("the weight must have 2 axes, not {}", inputs[1]));
        };
        let (outputs, reads) = self.sides(&sizes);
        if *features != reads {
            return Err(format!(
                "the input has {features} features, and the weight reads {reads}"
            ));
        }
        if let Some(bias) = inputs.get(2)
            && **bias != Shape::fixed(&[outputs])
        {
            return Err(format!("the bias must have shape [{outputs}], not {bias}"));
        }
        Ok(vec![inputs[0].with_inner(&[outputs])])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        let notation = if self.transposed {
            Self::RULE
        } else {
            "n i , i o , o? -> n o"
        };
        rule.notation(notation, &[]);
    }

    fn resize(&self, _: &Grown<'_>) -> Self {
        self.clone()
    }

    fn cost(&self, inputs: &[&Shape], _: &[&Shape]) -> u64 {
        2 * super::elements(inputs[1])
    }

    fn layouts(&self, _: &[Layout], inputs: &[&Shape], _: &[&Shape]) -> Layouts {
        Layouts {
            inputs: inputs.iter().map(|s| Layout::row_major(s.rank())).collect(),
            outputs: vec![Layout::row_major(2)],
        }
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let (outputs, features) = self.sides(&site.inputs[1]);
        Box::new(GemmKernel {
            rows: site.inputs[0][0],
            features,
            outputs,
            transposed: self.transposed,
        })
    }

    fn nature(&self) -> Nature {
        Nature::Linear
    }
}

struct GemmKernel {
    rows: usize,
    features: usize,
    outputs: usize,
    transposed: bool,
}

impl GemmKernel {
    /// The weight as an [inputs, outputs] matrix, however it is stored.
    fn weight<'a, T: Real>(&self, data: &'a [T]) -> Matrix<'a, T> {
        if self.transposed {
            Matrix::new(data, self.outputs, self.features).t()
        } else {
            Matrix::new(data, self.features, self.outputs)
        }
    }
}

impl<T: Real> Kernel<T> for GemmKernel {
    fn needs(&self) -> Needs {
        Needs {
            inputs: true,
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let x = Matrix::new(inputs[0], self.rows, self.features);
        let y = &mut *outputs[0];
        if let Some(bias) = inputs.get(2) {
            for row in y.chunks_exact_mut(self.outputs) {
                row.copy_from_slice(bias);
            }
        }
        matmul(cx, x, self.weight(inputs[1]), y, inputs.len() > 2);
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let x = Matrix::new(pass.inputs[0], self.rows, self.features);
        let dy = Matrix::new(pass.output_gradients[0], self.rows, self.outputs);
        if let Some(dw) = &mut pass.input_gradients[1] {
            let (left, right) = if self.transposed { (dy, x) } else { (x, dy) };
            matmul(cx, left.t(), right, dw.data, dw.accumulate);
        }
        if let Some(Some(db)) = pass.input_gradients.get_mut(2) {
            let dy = pass.output_gradients[0];
            conv::backward_bias(cx, self.rows, self.outputs, dy, db.data, db.accumulate);
        }
        if let Some(dx) = &mut pass.input_gradients[0] {
            matmul(
                cx,
                dy,
                self.weight(pass.inputs[1]).t(),
                dx.data,
                dx.accumulate,
            );
        }
    }
}
