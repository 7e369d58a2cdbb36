//! Changes of shape that keep the row-major order of elements.

use net2net_kernels::{Context, Real};

use super::{Arity, Attribute, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::{Extent, Shape};

/// `Flatten(x [N, a, b, …]) -> [N, a·b·…]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flatten;

/// `Reshape(x [N, …]) -> [N, sizes…]`; the batch, if there is one, stays the outermost axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reshape {
    /// The sizes, without the batch.
    pub sizes: Vec<usize>,
}

/// The number of axes in front that stay as they are: one if it is the batch.
fn leading(shape: &Shape) -> usize {
    usize::from(shape.get(0) == Some(Extent::Batch))
}

/// The parts that both share: data in row-major order is copied as it is.
macro_rules! reshape_operator_parts {
    () => {
        fn role(&self, _: usize) -> Role {
            Role::Activation
        }

        fn fan_in(&self, _: usize, _: &[usize]) -> usize {
            1
        }

        fn axes(&self, rule: &mut AxisRule<'_>) {
            let leading = leading(rule.input_shape(0));
            if leading == 1 {
                let batch = rule.label(Extent::Batch);
                rule.read(0, 0, &[batch]);
                rule.write(0, 0, &[batch]);
            }
            rule.reshape(0, 0, leading);
        }

        fn cost(&self, _: &[&Shape], _: &[&Shape]) -> u64 {
            0
        }

        fn layouts(&self, _: &[Layout], inputs: &[&Shape], outputs: &[&Shape]) -> Layouts {
            Layouts {
                inputs: vec![Layout::row_major(inputs[0].rank())],
                outputs: vec![Layout::row_major(outputs[0].rank())],
            }
        }

        fn kernel<T: Real>(&self, _: &Site<'_>) -> Box<dyn Kernel<T>> {
            Box::new(CopyKernel)
        }

        fn nature(&self) -> Nature {
            Nature::Other
        }
    };
}

impl Operator for Flatten {
    const NAME: &'static str = "Flatten";
    const RULE: &'static str = "n * -> n (*)";
    const ARITY: Arity = Arity::exactly(1);

    fn read(_: &mut Attributes) -> Result<Self, String> {
        Ok(Flatten)
    }

    fn write(&self, _: &mut Attributes) {}

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let Some((_, inner)) = inputs[0].extents().split_first() else {
            return Err("the input must have an axis".to_owned());
        };
        let elements = inner.iter().map(|extent| extent.at(1)).product();
        Ok(vec![inputs[0].with_inner(&[elements])])
    }

    fn resize(&self, _: &Grown<'_>) -> Self {
        Flatten
    }

    reshape_operator_parts!();
}

impl Operator for Reshape {
    const NAME: &'static str = "Reshape";
    const RULE: &'static str = "n * -> n *, equal as row-major products";
    const ARITY: Arity = Arity::exactly(1);

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        let sizes = attributes
            .ints("sizes")?
            .ok_or("attribute `sizes` is missing")?;
        let sizes = sizes
            .into_iter()
            .map(|size| usize::try_from(size).ok().filter(|size| *size > 0))
            .collect::<Option<Vec<usize>>>()
            .ok_or("attribute `sizes` must hold positive sizes")?;
        Ok(Reshape { sizes })
    }

    fn write(&self, attributes: &mut Attributes) {
        let sizes = self.sizes.iter().map(|size| *size as i64).collect();
        attributes.insert("sizes", Attribute::Ints(sizes));
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let output = match leading(inputs[0]) {
            1 => Shape::batched(&self.sizes),
            _ => Shape::fixed(&self.sizes),
        };
        if output.elements(1) != inputs[0].elements(1) {
            return Err(format!(
                "{} elements cannot take the shape {output}",
                inputs[0].elements(1)
            ));
        }
        Ok(vec![output])
    }

    fn resize(&self, grown: &Grown<'_>) -> Self {
        Reshape {
            sizes: grown.output(0).at(1)[leading(grown.input(0))..].to_vec(),
        }
    }

    reshape_operator_parts!();
}

struct CopyKernel;

impl<T: Real> Kernel<T> for CopyKernel {
    fn needs(&self) -> Needs {
        Needs {
            inputs: false,
            outputs: false,
        }
    }

    fn forward(&mut self, _: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        outputs[0].copy_from_slice(inputs[0]);
    }

    fn backward(&mut self, _: &mut Context<T>, pass: &mut Backward<'_, T>) {
        if let Some(dx) = &mut pass.input_gradients[0] {
            dx.put(pass.output_gradients[0]);
        }
    }
}
