//! Normalisation of each sample by its own statistics: over layers, groups and instances.
//!
//! Copies of a unit do not change a mean or variance as long as all have equally many, so the
//! axes that are normalised over grow by whole multiples.

use net2net_kernels::standardize::{Moments, Standardize};
use net2net_kernels::{Context, Real};

use super::{Arity, Attribute, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Dim, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::{Extent, Shape};

/// `LayerNormalization(x […, f…], scale [f…], bias [f…]?) -> x's shape`: mean zero and variance one
/// over all axes from `axis` on (Ba et al. 2016).
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// The first axis that is normalised over; negative ones count from the end.
    pub axis: i64,
    /// Added to the variance.
    pub epsilon: f64,
}

/// `RMSNormalization(x […, f…], scale [f…]) -> x's shape`: mean square one over all axes from
/// `axis` on (Zhang & Sennrich 2019).
#[derive(Clone, Debug, PartialEq)]
pub struct RmsNorm {
    /// The first axis that is normalised over; negative ones count from the end.
    pub axis: i64,
    /// Added to the mean square.
    pub epsilon: f64,
}

/// `GroupNormalization(x [N, g·c, …], scale [g·c], bias [g·c]) -> x's shape`: mean zero and
/// variance one over the channels of a group and all pixels (Wu & He 2018), scaled by channel as
/// in ONNX's operator set 21.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupNorm {
    /// Groups of channels.
    pub num_groups: usize,
    /// Added to the variance.
    pub epsilon: f64,
}

/// `InstanceNormalization(x [N, c, …], scale [c], bias [c]) -> x's shape`: mean zero and variance
/// one over the pixels of each channel (Ulyanov et al. 2016).
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceNorm {
    /// Added to the variance.
    pub epsilon: f64,
}

/// ONNX's default of `epsilon`.
const EPSILON: f64 = 1e-5;

/// In what normalisations differ; the rest they share.
macro_rules! normalization {
    (
        $type:ident, $name:literal, $rule:literal, $least:literal..=$most:literal,
        centered: $centered:literal,
        read: |$attributes:ident, $epsilon:ident| $read:expr,
        write: |$this_write:ident, $out:ident| $write:expr,
        infer: |$this:ident, $inputs:ident| $infer:expr,
        axes: |$this_axes:ident, $axis_rule:ident| $axes:expr,
        resize: |$this_resize:ident, $grown:ident| $resize:expr,
        rows: |$this_rows:ident, $sizes:ident| $rows:expr $(,)?
    ) => {
        impl Operator for $type {
            const NAME: &'static str = $name;
            const RULE: &'static str = $rule;
            const ARITY: Arity = Arity {
                least: $least,
                most: $most,
            };

            fn read($attributes: &mut Attributes) -> Result<Self, String> {
                let $epsilon = $attributes.float("epsilon", EPSILON)?;
                if $epsilon < 0.0 {
                    return Err("epsilon must not be negative".to_owned());
                }
                $read
            }

            fn write(&self, $out: &mut Attributes) {
                let $this_write = self;
                $write;
                $out.put_float("epsilon", self.epsilon, EPSILON);
            }

            fn role(&self, slot: usize) -> Role {
                [Role::Activation, Role::Scale, Role::Shift][slot]
            }

            fn fan_in(&self, _: usize, _: &[usize]) -> usize {
                1
            }

            fn infer(&self, $inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
                let $this = self;
                let wanted: Shape = $infer?;
                for (name, shape) in ["scale", "bias"].iter().zip(&$inputs[1..]) {
                    if **shape != wanted {
                        return Err(format!("the {name} must have shape {wanted}, not {shape}"));
                    }
                }
                Ok(vec![$inputs[0].clone()])
            }

            fn axes(&self, $axis_rule: &mut AxisRule<'_>) {
                let $this_axes = self;
                $axes
            }

            fn resize(&self, $grown: &Grown<'_>) -> Self {
                let $this_resize = self;
                $resize
            }

            fn cost(&self, inputs: &[&Shape], _: &[&Shape]) -> u64 {
                8 * super::elements(inputs[0])
            }

            fn layouts(&self, _: &[Layout], inputs: &[&Shape], _: &[&Shape]) -> Layouts {
                let plain = |shape: &&Shape| Layout::row_major(shape.rank());
                Layouts {
                    inputs: inputs.iter().map(plain).collect(),
                    outputs: vec![plain(&inputs[0])],
                }
            }

            fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
                let ($this_rows, $sizes) = (self, &site.inputs[0][..]);
                let (rows, channels, inner): (usize, usize, usize) = $rows;
                Box::new(NormKernel::<T> {
                    sizes: Standardize {
                        rows,
                        len: $sizes.iter().product::<usize>() / rows,
                        channels,
                        inner,
                        centered: $centered,
                        epsilon: self.epsilon,
                    },
                    moments: Moments::default(),
                })
            }

            fn nature(&self) -> Nature {
                Nature::Other
            }
        }
    };
}

normalization!(
    LayerNorm, "LayerNormalization", "* f , f , f? -> * f, f by equal copies", 2..=3,
    centered: true,
    read: |attributes, epsilon| Ok(LayerNorm { axis: attributes.int("axis", -1)?, epsilon }),
    write: |this, out| put_axis(out, this.axis),
    infer: |this, inputs| features(inputs[0], this.axis),
    axes: |this, rule| feature_axes(rule, this.axis),
    resize: |this, _grown| this.clone(),
    rows: |this, sizes| feature_rows(sizes, this.axis),
);

normalization!(
    RmsNorm, "RMSNormalization", "* f , f -> * f, f by equal copies", 2..=2,
    centered: false,
    read: |attributes, epsilon| Ok(RmsNorm { axis: attributes.int("axis", -1)?, epsilon }),
    write: |this, out| put_axis(out, this.axis),
    infer: |this, inputs| features(inputs[0], this.axis),
    axes: |this, rule| feature_axes(rule, this.axis),
    resize: |this, _grown| this.clone(),
    rows: |this, sizes| feature_rows(sizes, this.axis),
);

normalization!(
    GroupNorm, "GroupNormalization",
    "n (g c) * , (g c) , (g c) -> n (g c) *, c and * by equal copies", 3..=3,
    centered: true,
    read: |attributes, epsilon| match attributes.size("num_groups", 0, 1)? {
        0 => Err("attribute `num_groups` is missing".to_owned()),
        num_groups => Ok(GroupNorm { num_groups, epsilon }),
    },
    write: |this, out| out.put_size("num_groups", this.num_groups, 0),
    infer: |this, inputs| match channels(inputs[0])? {
        c if this.num_groups == 0 || !c.is_multiple_of(this.num_groups) => Err(format!(
            "{c} channels cannot be divided into {} groups",
            this.num_groups
        )),
        c => Ok::<_, String>(Shape::fixed(&[c])),
    },
    axes: |this, rule| {
        let channels = rule.input_shape(1).at(1)[0];
        let sizes = [("g", this.num_groups), ("c", channels / this.num_groups)];
        pixel_axes(rule, "n (g c) * , (g c) , (g c) -> n (g c) *", &sizes);
    },
    resize: |this, grown| GroupNorm {
        num_groups: grown_groups(grown, this.num_groups),
        ..*this
    },
    rows: |this, sizes| {
        (sizes[0] * this.num_groups, sizes[1], sizes[2..].iter().product())
    },
);

normalization!(
    InstanceNorm, "InstanceNormalization", "n c * , c , c -> n c *, * by equal copies", 3..=3,
    centered: true,
    read: |_attributes, epsilon| Ok(InstanceNorm { epsilon }),
    write: |_this, _out| {},
    infer: |_this, inputs| match inputs[0].rank() {
        0..=2 => Err(format!(
            "the input must have shape [N, channels, …] with pixels, not {}",
            inputs[0]
        )),
        _ => Ok::<_, String>(Shape::fixed(&[channels(inputs[0])?])),
    },
    axes: |_this, rule| pixel_axes(rule, "n c * , c , c -> n c *", &[]),
    resize: |this, _grown| this.clone(),
    rows: |_this, sizes| {
        (sizes[0] * sizes[1], sizes[1], sizes[2..].iter().product())
    },
);

fn put_axis(attributes: &mut Attributes, axis: i64) {
    if axis != -1 {
        attributes.insert("axis", Attribute::Int(axis));
    }
}

/// An axis counted from the front.
fn resolved(axis: i64, rank: usize) -> Option<usize> {
    let counted = if axis < 0 {
        usize::try_from(axis.unsigned_abs())
            .ok()
            .and_then(|back| rank.checked_sub(back))
    } else {
        usize::try_from(axis).ok()
    };
    counted.filter(|axis| *axis < rank)
}

/// The shape that is normalised over: all axes from `axis` on.
fn features(input: &Shape, axis: i64) -> Result<Shape, String> {
    let first = resolved(axis, input.rank())
        .ok_or_else(|| format!("{input} has no axis {axis} to normalise over"))?;
    let inner = &input.extents()[first..];
    if inner.contains(&Extent::Batch) {
        return Err("samples of a batch are not normalised together".to_owned());
    }
    Ok(Shape::new(inner))
}

fn channels(input: &Shape) -> Result<usize, String> {
    match input.extents() {
        [_, Extent::Fixed(channels), ..] => Ok(*channels),
        _ => Err(format!(
            "the input must have shape [N, channels, …], not {input}"
        )),
    }
}

fn feature_axes(rule: &mut AxisRule<'_>, axis: i64) {
    let input = rule.input_shape(0);
    let first = resolved(axis, input.rank()).unwrap_or(input.rank());
    for (axis, extent) in input.extents().iter().enumerate() {
        let label = rule.label(*extent);
        rule.read(0, axis, &[label]);
        rule.write(0, axis, &[label]);
        if let Some(own) = axis.checked_sub(first) {
            for parameter in 1..rule.inputs() {
                rule.read(parameter, own, &[label]);
            }
            rule.mean_over(label);
        }
    }
}

/// Applies a rule in which the mean is taken over the label `c` of a group, if there is one, and
/// over all pixels.
fn pixel_axes(rule: &mut AxisRule<'_>, notation: &str, sizes: &[(&str, usize)]) {
    let grouped = !sizes.is_empty();
    for (name, label) in rule.notation(notation, sizes) {
        if name.starts_with('*') || (grouped && name == "c") {
            rule.mean_over(label);
        }
    }
}

fn feature_rows(sizes: &[usize], axis: i64) -> (usize, usize, usize) {
    let first = resolved(axis, sizes.len()).unwrap_or(0);
    let rows = sizes[..first].iter().product();
    (rows, sizes[first..].iter().product(), 1)
}

/// The number of groups after growth.
fn grown_groups(grown: &Grown<'_>, groups: usize) -> usize {
    let dim = &grown.spaces.axes(grown.node.inputs[0])[1];
    let per_group = grown.spaces.extent(dim, &|_| None).at(1) / groups;
    match groups {
        1 => 1,
        _ => grown.input(0).at(1)[1] / inner_size(grown, dim, per_group).unwrap_or(per_group),
    }
}

/// The size after growth of the innermost factors of an axis, of `inner` units before; groups are
/// alike, so that any part of a concatenation tells it.
fn inner_size(grown: &Grown<'_>, dim: &Dim, inner: usize) -> Option<usize> {
    let old = |dim: &Dim| grown.spaces.extent(dim, &|_| None).at(1);
    let new = |dim: &Dim| grown.spaces.extent(dim, &grown.size_of).at(1);
    match dim {
        Dim::Atom(_) => None,
        Dim::Cat(parts) => parts.iter().find_map(|part| inner_size(grown, part, inner)),
        Dim::Prod(parts) => {
            let (mut split, mut units) = (parts.len(), 1);
            while units < inner && split > 0 {
                split -= 1;
                units *= old(&parts[split]);
            }
            (units == inner).then(|| parts[split..].iter().map(new).product())
        }
    }
}

struct NormKernel<T> {
    sizes: Standardize,
    moments: Moments<T>,
}

impl<T: Real> Kernel<T> for NormKernel<T> {
    fn needs(&self) -> Needs {
        Needs {
            inputs: true,
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let (x, scale, shift) = (inputs[0], inputs[1], inputs.get(2).copied());
        let (y, moments) = (&mut *outputs[0], &mut self.moments);
        self.sizes.forward(cx, x, scale, shift, y, moments);
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let (x, scale, dy) = (pass.inputs[0], pass.inputs[1], pass.output_gradients[0]);
        let Some((dx, parameters)) = pass.input_gradients.split_first_mut() else {
            return;
        };
        let dx = dx.as_mut().map(|dx| (&mut *dx.data, dx.accumulate));
        let fresh = self.sizes.backward(cx, x, scale, dy, &self.moments, dx);
        for (gradient, fresh) in parameters.iter_mut().zip(&fresh) {
            if let Some(gradient) = gradient {
                gradient.put(fresh);
            }
        }
    }
}
