//! Means, sums, extremes and norms over some axes.

use net2net_kernels::reduce::{self, Reduction};
use net2net_kernels::{Context, Real};

use super::{Arity, Attribute, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown, Label};
use crate::engine::{Backward, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::{Extent, Shape};

/// One struct an operator: what it computes, what that means for growth, and its documentation.
macro_rules! reductions {
    ($($type:ident, $reduction:ident, $along:literal, |$rule:ident, $label:ident| $grows:expr;)*) => {$(
        #[doc = concat!("`", stringify!($type), "(x)`: ", $along)]
        ///
        /// ONNX gives the axes as an input. The batch cannot be among them.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $type {
            /// Which axes, counted from the front, in ascending order.
            pub axes: Vec<usize>,
            /// Whether the axes stay, with a size of 1; ONNX's default is that they do.
            pub keepdims: bool,
        }

        impl Operator for $type {
            const NAME: &'static str = stringify!($type);
            const RULE: &'static str = concat!("* r -> * 1?, ", $along);
            const ARITY: Arity = Arity::exactly(1);

            fn read(attributes: &mut Attributes) -> Result<Self, String> {
                Ok($type {
                    axes: read_axes(attributes)?,
                    keepdims: attributes.flag("keepdims", true)?,
                })
            }

            fn write(&self, attributes: &mut Attributes) {
                let axes = self.axes.iter().map(|axis| *axis as i64).collect();
                attributes.insert("axes", Attribute::Ints(axes));
                attributes.put_flag("keepdims", self.keepdims, true);
            }

            fn role(&self, _: usize) -> Role {
                Role::Activation
            }

            fn fan_in(&self, _: usize, _: &[usize]) -> usize {
                1
            }

            fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
                Ok(vec![reduced_shape(inputs[0], &self.axes, self.keepdims)?])
            }

            fn axes(&self, rule: &mut AxisRule<'_>) {
                relate(rule, &self.axes, self.keepdims, |$rule, $label| $grows);
            }

            fn resize(&self, _: &Grown<'_>) -> Self {
                self.clone()
            }

            fn cost(&self, inputs: &[&Shape], _: &[&Shape]) -> u64 {
                super::elements(inputs[0])
            }

            fn layouts(&self, incoming: &[Layout], inputs: &[&Shape], _: &[&Shape]) -> Layouts {
                reduced_layouts(&incoming[0], inputs[0].rank(), &self.axes, self.keepdims)
            }

            fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
                let layout = match self.keepdims {
                    true => site.output_layouts[0].clone(),
                    false => inner_layout(site.inputs[0].len(), &self.axes),
                };
                let sizes = &site.inputs[0];
                Box::new(ReduceKernel::new(Reduction::$reduction, sizes, &self.axes, &layout))
            }

            fn nature(&self) -> Nature {
                Nature::Other
            }
        }
    )*};
}

reductions! {
    ReduceMean, Mean, "the mean over r, whose copies must be equally many",
        |rule, label| rule.mean_over(label);
    ReduceSum, Sum, "the sum over r, which is frozen",
        |rule, label| rule.freeze(label, "a sum over this axis would count copies again");
    ReduceMax, Max, "the largest along r, which copies do not change",
        |rule, label| rule.extreme_over(label);
    ReduceMin, Min, "the smallest along r, which copies do not change",
        |rule, label| rule.extreme_over(label);
    ReduceL2, L2, "the root of the sum of squares over r, which is frozen",
        |rule, label| rule.freeze(label, "a norm over this axis would count copies again");
}

/// `GlobalMaxPool(x [N, c, …]) -> [N, c, 1, …]`: the largest element of each channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalMaxPool;

impl Operator for GlobalMaxPool {
    const NAME: &'static str = "GlobalMaxPool";
    const RULE: &'static str = "n c * -> n c 1";
    const ARITY: Arity = Arity::exactly(1);

    fn read(_: &mut Attributes) -> Result<Self, String> {
        Ok(GlobalMaxPool)
    }

    fn write(&self, _: &mut Attributes) {}

    fn role(&self, _: usize) -> Role {
        Role::Activation
    }

    fn fan_in(&self, _: usize, _: &[usize]) -> usize {
        1
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        if inputs[0].rank() < 3 {
            return Err(format!(
                "the input must have shape [N, channels, …], not {}",
                inputs[0]
            ));
        }
        let axes = spatial(inputs[0].rank());
        Ok(vec![reduced_shape(inputs[0], &axes, true)?])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        let axes = spatial(rule.input_shape(0).rank());
        relate(rule, &axes, true, |rule, label| rule.extreme_over(label));
    }

    fn resize(&self, _: &Grown<'_>) -> Self {
        GlobalMaxPool
    }

    fn cost(&self, inputs: &[&Shape], _: &[&Shape]) -> u64 {
        super::elements(inputs[0])
    }

    fn layouts(&self, _: &[Layout], inputs: &[&Shape], _: &[&Shape]) -> Layouts {
        Layouts::pass_through(&[Layout::channels_last(inputs[0].rank())])
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let sizes = &site.inputs[0];
        let (axes, layout) = (spatial(sizes.len()), &site.output_layouts[0]);
        Box::new(ReduceKernel::new(Reduction::Max, sizes, &axes, layout))
    }

    fn nature(&self) -> Nature {
        Nature::Other
    }
}

fn spatial(rank: usize) -> Vec<usize> {
    (2..rank).collect()
}

fn read_axes(attributes: &mut Attributes) -> Result<Vec<usize>, String> {
    let axes = attributes
        .ints("axes")?
        .ok_or("attribute `axes` is missing")?;
    axes.into_iter()
        .map(|axis| usize::try_from(axis).ok())
        .collect::<Option<Vec<usize>>>()
        .ok_or_else(|| "attribute `axes` must count from the front, beginning with 0".to_owned())
}

fn reduced_shape(input: &Shape, axes: &[usize], keepdims: bool) -> Result<Shape, String> {
    if axes.is_empty() || !axes.is_sorted_by(|a, b| a < b) {
        return Err(format!(
            "the axes must be at least one and in ascending order, not {axes:?}"
        ));
    }
    for axis in axes {
        match input.get(*axis) {
            Some(Extent::Fixed(_)) => {}
            Some(Extent::Batch) => return Err(format!("axis {axis} of {input} is the batch")),
            None => return Err(format!("{input} has no axis {axis}")),
        }
    }
    let extents = input.extents().iter().enumerate();
    let reduced = |(axis, extent): (usize, &Extent)| match axes.contains(&axis) {
        false => Some(*extent),
        true => keepdims.then_some(Extent::Fixed(1)),
    };
    Ok(extents.filter_map(reduced).collect())
}

/// Kept axes map; what `along` says holds for the reduced ones, and those of 1 in their place are
/// the operator's own.
fn relate(
    rule: &mut AxisRule<'_>,
    axes: &[usize],
    keepdims: bool,
    along: impl Fn(&mut AxisRule<'_>, Label),
) {
    let extents = rule.input_shape(0).extents();
    let mut to = 0;
    for (axis, extent) in extents.iter().enumerate() {
        let label = rule.label(*extent);
        rule.read(0, axis, &[label]);
        if !axes.contains(&axis) {
            rule.write(0, to, &[label]);
        } else {
            along(rule, label);
            if !keepdims {
                continue;
            }
            let unit = rule.label(Extent::Fixed(1));
            rule.write(0, to, &[unit]);
        }
        to += 1;
    }
}

/// The storage order from which axes are taken out: images stay as images are stored.
fn inner_layout(rank: usize, axes: &[usize]) -> Layout {
    match axes.first() {
        Some(first) if *first >= 2 => Layout::channels_last(rank),
        _ => Layout::row_major(rank),
    }
}

fn reduced_layouts(incoming: &Layout, rank: usize, axes: &[usize], keepdims: bool) -> Layouts {
    if keepdims {
        return Layouts::pass_through(std::slice::from_ref(incoming));
    }
    let input = inner_layout(rank, axes);
    Layouts {
        outputs: vec![input.without(axes)],
        inputs: vec![input],
    }
}

struct ReduceKernel {
    reduction: Reduction,
    /// The sizes of the input in the order of storage.
    from: Vec<usize>,
    /// The same, with 1 where it is reduced.
    to: Vec<usize>,
}

impl ReduceKernel {
    fn new(reduction: Reduction, sizes: &[usize], axes: &[usize], layout: &Layout) -> Self {
        let mut reduced = sizes.to_vec();
        for axis in axes {
            reduced[*axis] = 1;
        }
        ReduceKernel {
            reduction,
            from: layout.apply(sizes),
            to: layout.apply(&reduced),
        }
    }
}

impl<T: Real> Kernel<T> for ReduceKernel {
    fn needs(&self) -> Needs {
        let needed = !matches!(self.reduction, Reduction::Mean | Reduction::Sum);
        Needs {
            inputs: needed,
            outputs: needed,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let (from, to) = (&self.from, &self.to);
        reduce::reduce(cx, self.reduction, inputs[0], from, to, outputs[0]);
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        if let Some(dx) = &mut pass.input_gradients[0] {
            reduce::reduce_backward(
                cx,
                self.reduction,
                (pass.inputs[0], &self.from),
                (pass.outputs[0], &self.to),
                pass.output_gradients[0],
                dx.data,
                dx.accumulate,
            );
        }
    }
}
