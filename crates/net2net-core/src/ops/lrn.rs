//! Local response normalisation (Krizhevsky et al. 2012).

use net2net_kernels::lrn::Response;
use net2net_kernels::{Context, Real};

use super::{Arity, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::{Extent, Shape};

/// `LRN(x [N, c, …]) -> x's shape`: `x / (bias + alpha / size · Σ x²)^beta`, the sum over `size`
/// neighbouring channels.
///
/// Channels cannot grow: copies would be each other's neighbours.
#[derive(Clone, Debug, PartialEq)]
pub struct Lrn {
    /// Channels that are summed over.
    pub size: usize,
    /// The weight of the mean square.
    pub alpha: f64,
    /// The power.
    pub beta: f64,
    /// What is added to the mean square.
    pub bias: f64,
}

impl Operator for Lrn {
    const NAME: &'static str = "LRN";
    const RULE: &'static str = "n c * -> n c *, c frozen";
    const ARITY: Arity = Arity::exactly(1);

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        let size = attributes.size("size", 0, 1)?;
        if size == 0 {
            return Err("attribute `size` is missing".to_owned());
        }
        Ok(Lrn {
            size,
            alpha: attributes.float("alpha", 1e-4)?,
            beta: attributes.float("beta", 0.75)?,
            bias: attributes.float("bias", 1.0)?,
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        attributes.put_size("size", self.size, 0);
        attributes.put_float("alpha", self.alpha, 1e-4);
        attributes.put_float("beta", self.beta, 0.75);
        attributes.put_float("bias", self.bias, 1.0);
    }

    fn role(&self, _: usize) -> Role {
        Role::Activation
    }

    fn fan_in(&self, _: usize, _: &[usize]) -> usize {
        1
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        if self.size == 0 {
            return Err("size must be at least 1".to_owned());
        }
        match inputs[0].extents() {
            [_, Extent::Fixed(_), ..] => Ok(vec![inputs[0].clone()]),
            _ => Err(format!(
                "the input must have shape [N, channels, …], not {}",
                inputs[0]
            )),
        }
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        let labels = rule.notation("n c * -> n c *", &[]);
        if let Some((_, channels)) = labels.iter().find(|(name, _)| name == "c") {
            rule.freeze(*channels, "each channel is divided by its neighbours");
        }
    }

    fn resize(&self, _: &Grown<'_>) -> Self {
        self.clone()
    }

    fn cost(&self, inputs: &[&Shape], _: &[&Shape]) -> u64 {
        let channels = inputs[0].get(1).map_or(1, |extent| extent.at(1));
        (2 * self.size.min(channels) as u64 + 4) * super::elements(inputs[0])
    }

    fn layouts(&self, _: &[Layout], inputs: &[&Shape], _: &[&Shape]) -> Layouts {
        Layouts::pass_through(&[Layout::channels_last(inputs[0].rank())])
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        Box::new(LrnKernel {
            response: Response {
                size: self.size,
                alpha: self.alpha,
                beta: self.beta,
                bias: self.bias,
            },
            channels: site.inputs[0][1],
        })
    }

    fn nature(&self) -> Nature {
        Nature::Other
    }
}

struct LrnKernel {
    response: Response,
    channels: usize,
}

impl<T: Real> Kernel<T> for LrnKernel {
    fn needs(&self) -> Needs {
        Needs {
            inputs: true,
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let (x, y) = (inputs[0], &mut *outputs[0]);
        self.response.forward(cx, self.channels, x, y);
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let (x, dy) = (pass.inputs[0], pass.output_gradients[0]);
        if let Some(dx) = &mut pass.input_gradients[0] {
            let c = self.channels;
            self.response.backward(cx, c, x, dy, dx.data, dx.accumulate);
        }
    }
}
