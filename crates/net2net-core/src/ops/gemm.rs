//! The linear layer.

use std::borrow::Cow;

use net2net_kernels::streamed::{self, RowSource};
use net2net_kernels::{Context, Matrix, Real, conv, matmul};

use super::{Arity, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::{Extent, Shape};

/// `Gemm(x [N, i], weight [o, i] (or [i, o]), bias [o]?) -> [N, o]`: `alpha · x · weight + beta ·
/// bias`. The bias may also be [1, o].
#[derive(Clone, Debug, PartialEq)]
pub struct Gemm {
    /// Whether the weight is stored as [outputs, inputs], as PyTorch does; ONNX's `transB`.
    pub transposed: bool,
    /// What the product is multiplied by.
    pub alpha: f64,
    /// What the bias is multiplied by.
    pub beta: f64,
}

impl Default for Gemm {
    /// A weight of [outputs, inputs].
    fn default() -> Self {
        Gemm::new(true)
    }
}

impl Gemm {
    /// Without factors; `transposed` if the weight is [outputs, inputs].
    pub fn new(transposed: bool) -> Self {
        Gemm {
            transposed,
            alpha: 1.0,
            beta: 1.0,
        }
    }

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
        if attributes.flag("transA", false)? {
            return Err("transA is not supported; transpose the input first".to_owned());
        }
        Ok(Gemm {
            transposed: attributes.flag("transB", false)?,
            alpha: attributes.float("alpha", 1.0)?,
            beta: attributes.float("beta", 1.0)?,
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        attributes.put_flag("transB", self.transposed, false);
        attributes.put_float("alpha", self.alpha, 1.0);
        attributes.put_float("beta", self.beta, 1.0);
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
            && **bias != Shape::fixed(&[1, outputs])
        {
            return Err(format!(
                "the bias must have shape [{outputs}] or [1, {outputs}], not {bias}; other ones are added by an Add"
            ));
        }
        Ok(vec![inputs[0].with_inner(&[outputs])])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        let weight = if self.transposed { "o i" } else { "i o" };
        let wide = rule.inputs() > 2 && rule.input_shape(2).rank() == 2;
        let bias = if wide { "one o" } else { "o" };
        rule.notation(&format!("n i , {weight} , {bias} -> n o"), &[]);
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
            gemm: self.clone(),
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
    gemm: Gemm,
}

impl GemmKernel {
    /// The weight as an [inputs, outputs] matrix, however it is stored.
    fn weight<'a, T: Real>(&self, data: &'a [T]) -> Matrix<'a, T> {
        if self.gemm.transposed {
            Matrix::new(data, self.outputs, self.features).t()
        } else {
            Matrix::new(data, self.features, self.outputs)
        }
    }

    /// The output from the product alone.
    fn finish<T: Real>(&self, bias: Option<&[T]>, y: &mut [T]) {
        let (alpha, beta) = (T::from_f64(self.gemm.alpha), T::from_f64(self.gemm.beta));
        for row in y.chunks_exact_mut(self.outputs) {
            row.iter_mut().for_each(|y| *y *= alpha);
            if let Some(bias) = bias {
                row.iter_mut().zip(bias).for_each(|(y, b)| *y += beta * *b);
            }
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
        let (y, bias) = (&mut *outputs[0], inputs.get(2).copied());
        if self.gemm.alpha != 1.0 || self.gemm.beta != 1.0 {
            matmul(cx, x, self.weight(inputs[1]), y, false);
            return self.finish(bias, y);
        }
        if let Some(bias) = bias {
            for row in y.chunks_exact_mut(self.outputs) {
                row.copy_from_slice(bias);
            }
        }
        matmul(cx, x, self.weight(inputs[1]), y, bias.is_some());
    }

    fn streams(&self, slot: usize) -> bool {
        slot == 1
    }

    fn forward_streamed(
        &mut self,
        cx: &mut Context<T>,
        inputs: &[&[T]],
        rows: &dyn RowSource<T>,
        outputs: &mut [&mut [T]],
    ) {
        let (y, sizes) = (&mut *outputs[0], [self.rows, self.features, self.outputs]);
        match self.gemm.transposed {
            true => streamed::matmul_transposed(cx, inputs[0], rows, sizes, y),
            false => streamed::matmul(cx, inputs[0], rows, sizes, y),
        }
        self.finish(inputs.get(2).copied(), y);
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let dy = pass.output_gradients[0];
        let times = |factor: f64| match factor {
            1.0 => Cow::Borrowed(dy),
            _ => dy.iter().map(|dy| *dy * T::from_f64(factor)).collect(),
        };
        let product = times(self.gemm.alpha);
        let x = Matrix::new(pass.inputs[0], self.rows, self.features);
        let product = Matrix::new(&product, self.rows, self.outputs);
        if let Some(dw) = &mut pass.input_gradients[1] {
            let (left, right) = match self.gemm.transposed {
                true => (product, x),
                false => (x, product),
            };
            matmul(cx, left.t(), right, dw.data, dw.accumulate);
        }
        if let Some(Some(db)) = pass.input_gradients.get_mut(2) {
            let dy = times(self.gemm.beta);
            conv::backward_bias(cx, self.rows, self.outputs, &dy, db.data, db.accumulate);
        }
        if let Some(dx) = &mut pass.input_gradients[0] {
            let weight = self.weight(pass.inputs[1]).t();
            matmul(cx, product, weight, dx.data, dx.accumulate);
        }
    }
}
