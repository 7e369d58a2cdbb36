//! What the operators share that only move elements: the kernels, and the cutting of axes.

use net2net_kernels::remap::Remap;
use net2net_kernels::{Context, Real, shuffle};

use crate::dims::{AxisRule, Grown, Label};
use crate::engine::{Backward, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::{Extent, Shape};

/// The parts of [`super::Operator`] in which they do not differ.
macro_rules! moving_parts {
    () => {
        fn role(&self, _: usize) -> super::Role {
            super::Role::Activation
        }

        fn fan_in(&self, _: usize, _: &[usize]) -> usize {
            1
        }

        fn cost(&self, _: &[&crate::graph::Shape], _: &[&crate::graph::Shape]) -> u64 {
            0
        }

        fn nature(&self) -> super::Nature {
            super::Nature::Other
        }
    };
}
pub(super) use moving_parts;

/// Whole numbers as an attribute holds them.
pub(super) fn as_ints(sizes: &[usize]) -> super::Attribute {
    super::Attribute::Ints(sizes.iter().map(|size| *size as i64).collect())
}

/// Sizes from an attribute that must be there, each at least `least`.
pub(super) fn sizes_of(
    attributes: &mut super::Attributes,
    key: &str,
    least: usize,
) -> Result<Option<Vec<usize>>, String> {
    let Some(values) = attributes.ints(key)? else {
        return Ok(None);
    };
    let sizes = values
        .into_iter()
        .map(|size| usize::try_from(size).ok().filter(|size| *size >= least))
        .collect::<Option<Vec<usize>>>();
    match sizes {
        Some(sizes) => Ok(Some(sizes)),
        None => Err(format!(
            "attribute `{key}` must hold sizes of at least {least}"
        )),
    }
}

/// The fixed size of an axis that an operator works along.
pub(super) fn fixed_axis(shape: &Shape, axis: usize) -> Result<usize, String> {
    match shape.get(axis) {
        Some(Extent::Fixed(size)) => Ok(size),
        Some(Extent::Batch) => Err(format!("axis {axis} of {shape} is the batch, which stays")),
        None => Err(format!("{shape} has no axis {axis}")),
    }
}

/// The shape with another size of one axis.
pub(super) fn with_axis(shape: &Shape, axis: usize, size: usize) -> Shape {
    let each = shape.extents().iter().enumerate();
    each.map(|(at, extent)| {
        if at == axis {
            Extent::Fixed(size)
        } else {
            *extent
        }
    })
    .collect()
}

/// Row-major all around.
pub(super) fn row_major(inputs: &[&Shape], outputs: &[&Shape]) -> Layouts {
    let of = |shapes: &[&Shape]| shapes.iter().map(|s| Layout::row_major(s.rank())).collect();
    Layouts {
        inputs: of(inputs),
        outputs: of(outputs),
    }
}

/// The sizes that an input had before growth.
pub(super) fn old_input(grown: &Grown<'_>, input: usize) -> Vec<usize> {
    let axes = grown.spaces.axes(grown.node.inputs[input]);
    axes.iter()
        .map(|dim| grown.spaces.extent(dim, &|_| None).at(1))
        .collect()
}

/// States that an axis passes from the input to the output as it is.
pub(super) fn map_axis(rule: &mut AxisRule<'_>, from: usize, output: usize, to: usize) {
    let label = rule.label(rule.input_shape(0).extents()[from]);
    rule.read(0, from, &[label]);
    rule.write(output, to, &[label]);
}

/// States that neither an axis of the input nor what becomes of it can grow.
pub(super) fn freeze_axis(rule: &mut AxisRule<'_>, from: usize, to: Option<usize>, why: &str) {
    let read = rule.label(rule.input_shape(0).extents()[from]);
    rule.read(0, from, &[read]);
    rule.freeze(read, why);
    if let Some(to) = to {
        let written = rule.label(rule.output_shape(0).extents()[to]);
        rule.write(0, to, &[written]);
        rule.freeze(written, why);
    }
}

/// Cuts an axis of the input into what is dropped in front, what is kept and what is dropped
/// behind, and returns the label of what is kept.
pub(super) fn cut_axis(rule: &mut AxisRule<'_>, axis: usize, before: usize, kept: usize) -> Label {
    let size = rule.input_shape(0).extents()[axis].at(1);
    let after = size - before - kept;
    let kept = rule.label(Extent::Fixed(kept));
    let mut parts = vec![kept];
    if before > 0 {
        parts.insert(0, rule.label(Extent::Fixed(before)));
    }
    if after > 0 {
        parts.push(rule.label(Extent::Fixed(after)));
    }
    for part in parts.iter().filter(|part| **part != kept) {
        rule.drops(*part);
    }
    rule.read_cat(0, axis, &parts);
    kept
}

/// For an axis and a position on it in the output, the position in the input; `None` is filled.
pub(super) type Place = Box<dyn Fn(usize, usize) -> Option<usize> + Send>;

/// One output of a remapping: its sizes, with the same axes as the input, and its places.
pub(super) struct Part {
    pub(super) sizes: Vec<usize>,
    pub(super) place: Place,
}

/// A kernel each of whose outputs takes each axis from the same axis of the input, all stored
/// alike.
pub(super) struct RemapKernel<T> {
    layout: Layout,
    source: Vec<usize>,
    parts: Vec<Part>,
    fill: T,
    /// Made at the first pass: lists of offsets take memory, and compiling must not.
    maps: Vec<Remap>,
}

impl<T: Real> RemapKernel<T> {
    pub(super) fn new(layout: Layout, source: &[usize], parts: Vec<Part>, fill: f64) -> Self {
        RemapKernel {
            layout,
            source: source.to_vec(),
            parts,
            fill: T::from_f64(fill),
            maps: Vec::new(),
        }
    }

    /// Where input and output have the same rank, and `place` says all.
    pub(super) fn same_rank(site: &Site<'_>, fill: f64, place: Place) -> Self {
        let sizes = site.outputs[0].clone();
        let layout = site.output_layouts[0].clone();
        Self::new(layout, &site.inputs[0], vec![Part { sizes, place }], fill)
    }

    fn make(&mut self) {
        if self.maps.len() == self.parts.len() {
            return;
        }
        let stored = self.layout.apply(&self.source);
        let stride =
            |axis: usize| -> usize { stored[self.layout.position(axis) + 1..].iter().product() };
        let map = |part: &Part| {
            let offsets = |axis: &usize| -> Vec<Option<usize>> {
                let places = (0..part.sizes[*axis]).map(|at| (part.place)(*axis, at));
                places.map(|at| Some(at? * stride(*axis))).collect()
            };
            let axes: Vec<Vec<Option<usize>>> = self.layout.order().iter().map(offsets).collect();
            Remap::new(stored.iter().product(), &axes)
        };
        self.maps = self.parts.iter().map(map).collect();
    }
}

impl<T: Real> Kernel<T> for RemapKernel<T> {
    fn needs(&self) -> Needs {
        NOTHING
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        self.make();
        for (map, y) in self.maps.iter().zip(outputs) {
            map.forward(cx, inputs[0], self.fill, y);
        }
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        self.make();
        if let Some(dx) = &mut pass.input_gradients[0] {
            for (index, (map, dy)) in self.maps.iter().zip(pass.output_gradients).enumerate() {
                map.backward(cx, dy, dx.data, dx.accumulate || index > 0);
            }
        }
    }
}

/// Neither inputs nor outputs.
pub(super) const NOTHING: Needs = Needs {
    inputs: false,
    outputs: false,
};

/// A kernel that permutes the axes of row-major data, seen in sizes of its own.
pub(super) struct PermuteKernel {
    sizes: Vec<usize>,
    order: Vec<usize>,
    permuted: Vec<usize>,
    back: Vec<usize>,
}

impl PermuteKernel {
    pub(super) fn new(sizes: Vec<usize>, order: Vec<usize>) -> Self {
        let mut back = vec![0; order.len()];
        for (to, from) in order.iter().enumerate() {
            back[*from] = to;
        }
        PermuteKernel {
            permuted: order.iter().map(|axis| sizes[*axis]).collect(),
            sizes,
            order,
            back,
        }
    }
}

impl<T: Real> Kernel<T> for PermuteKernel {
    fn needs(&self) -> Needs {
        NOTHING
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        shuffle::transpose(cx, inputs[0], &self.sizes, &self.order, outputs[0], false);
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let dy = pass.output_gradients[0];
        if let Some(dx) = &mut pass.input_gradients[0] {
            shuffle::transpose(cx, dy, &self.permuted, &self.back, dx.data, dx.accumulate);
        }
    }
}
