//! Dropout (Srivastava et al. 2014).

use net2net_kernels::{Context, Real, dropout};

use super::{Arity, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Mode, Needs, Site};
use crate::graph::Shape;

/// `Dropout(x) -> x's shape`: while training, zero at the given rate and the rest scaled up;
/// in evaluation the identity.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropout {
    /// The probability that an element becomes zero, in 0..1; ONNX's `ratio`.
    pub rate: f64,
}

impl Operator for Dropout {
    const NAME: &'static str = "Dropout";
    const RULE: &'static str = "* -> *";
    const ARITY: Arity = Arity::exactly(1);

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        let rate = attributes.float("ratio", 0.5)?;
        if !(0.0..1.0).contains(&rate) {
            return Err(format!("ratio must be at least 0 and below 1, not {rate}"));
        }
        Ok(Dropout { rate })
    }

    fn write(&self, attributes: &mut Attributes) {
        attributes.put_float("ratio", self.rate, 0.5);
    }

    fn role(&self, _: usize) -> Role {
        Role::Activation
    }

    fn fan_in(&self, _: usize, _: &[usize]) -> usize {
        1
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0].clone()])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        rule.notation(Self::RULE, &[]);
    }

    fn resize(&self, _: &Grown<'_>) -> Self {
        self.clone()
    }

    fn cost(&self, _: &[&Shape], _: &[&Shape]) -> u64 {
        0
    }

    fn layouts(&self, incoming: &[Layout], _: &[&Shape], _: &[&Shape]) -> Layouts {
        Layouts::pass_through(incoming)
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let rate = match site.mode {
            Mode::Train => self.rate,
            Mode::Evaluate => 0.0,
        };
        Box::new(DropoutKernel { rate, seed: 0 })
    }

    fn nature(&self) -> Nature {
        Nature::Other
    }
}

struct DropoutKernel {
    rate: f64,
    seed: u64,
}

impl<T: Real> Kernel<T> for DropoutKernel {
    fn needs(&self) -> Needs {
        Needs {
            inputs: false,
            outputs: false,
        }
    }

    fn reseed(&mut self, seed: u64) {
        self.seed = seed;
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        if self.rate == 0.0 {
            outputs[0].copy_from_slice(inputs[0]);
        } else {
            dropout::forward(cx, inputs[0], self.rate, self.seed, outputs[0]);
        }
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let dy = pass.output_gradients[0];
        let Some(dx) = &mut pass.input_gradients[0] else {
            return;
        };
        if self.rate == 0.0 {
            dx.put(dy);
        } else {
            dropout::backward(cx, dy, self.rate, self.seed, dx.data, dx.accumulate);
        }
    }
}
