//! Parts of an axis: slices, several at once, and positions one by one.

use net2net_kernels::Real;

use super::moves::{
    Part, RemapKernel, as_ints, cut_axis, fixed_axis, freeze_axis, map_axis, moving_parts,
    old_input, sizes_of, with_axis,
};
use super::{Arity, Attribute, Attributes, Operator};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Kernel, Layout, Layouts, Site};
use crate::graph::{Extent, Shape};

/// `Slice(x) -> x[.., starts[i]:ends[i]:steps[i], ..]`, with negative numbers counted from the
/// end and clamped, as in ONNX. The batch can only be taken whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The axes that are cut, each once; by default the outermost ones.
    pub axes: Vec<usize>,
    /// For each of them, the first position.
    pub starts: Vec<i64>,
    /// For each of them, the position after the last.
    pub ends: Vec<i64>,
    /// For each of them, the step; by default 1.
    pub steps: Vec<i64>,
}

/// What a slice takes of one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    first: usize,
    step: i64,
    count: usize,
}

impl Stretch {
    fn new(size: usize, start: i64, end: i64, step: i64) -> Result<Stretch, String> {
        let nothing = || format!("{start}:{end}:{step} takes nothing of an axis of {size}");
        if step == 0 {
            return Err("a slice cannot have a step of 0".to_owned());
        }
        // Wide enough that no number of an attribute overflows it.
        let len = size as i128;
        let (lowest, highest) = if step > 0 { (0, len) } else { (-1, len - 1) };
        let position = |at: i64| {
            let at = i128::from(at);
            (if at < 0 { at + len } else { at }).clamp(lowest, highest)
        };
        let (from, to, step_wide) = (position(start), position(end), i128::from(step));
        let way = (to - from) * step_wide.signum();
        let count = usize::try_from((way + step_wide.abs() - 1).div_euclid(step_wide.abs()));
        match (usize::try_from(from), count) {
            (Ok(first), Ok(count)) if count > 0 => Ok(Stretch { first, step, count }),
            _ => Err(nothing()),
        }
    }

    fn at(&self, position: usize) -> Option<usize> {
        let offset = i128::from(self.step) * position as i128;
        usize::try_from(self.first as i128 + offset).ok()
    }
}

impl Slice {
    fn ints(&self) -> impl Iterator<Item = (usize, i64, i64, i64)> + '_ {
        let bounds = self.starts.iter().zip(&self.ends).zip(&self.steps);
        let each = self.axes.iter().zip(bounds);
        each.map(|(axis, ((start, end), step))| (*axis, *start, *end, *step))
    }

    /// What is taken of each axis of a shape; `None` is all.
    fn stretches(&self, shape: &Shape) -> Result<Vec<Option<Stretch>>, String> {
        let count = self.axes.len();
        if [self.starts.len(), self.ends.len(), self.steps.len()] != [count; 3] {
            return Err("axes, starts, ends and steps must be equally many".to_owned());
        }
        let mut stretches = vec![None; shape.rank()];
        for (axis, start, end, step) in self.ints() {
            let whole = (start, step) == (0, 1) && end >= i64::from(i32::MAX);
            if whole && shape.get(axis) == Some(Extent::Batch) {
                continue;
            }
            let size = fixed_axis(shape, axis)?;
            if stretches[axis].is_some() {
                return Err(format!("axis {axis} is sliced twice"));
            }
            stretches[axis] = Some(Stretch::new(size, start, end, step)?);
        }
        Ok(stretches)
    }
}

impl Operator for Slice {
    const NAME: &'static str = "Slice";
    const RULE: &'static str = "n [before kept after] * -> n kept *";
    const ARITY: Arity = Arity::exactly(1);

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        let starts = attributes.ints("starts")?;
        let starts = starts.ok_or("attribute `starts` is missing")?;
        let ends = attributes.ints("ends")?;
        Ok(Slice {
            axes: sizes_of(attributes, "axes", 0)?.unwrap_or((0..starts.len()).collect()),
            steps: attributes.ints("steps")?.unwrap_or(vec![1; starts.len()]),
            ends: ends.ok_or("attribute `ends` is missing")?,
            starts,
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        if self.axes.iter().copied().ne(0..self.starts.len()) {
            attributes.insert("axes", as_ints(&self.axes));
        }
        attributes.insert("starts", Attribute::Ints(self.starts.clone()));
        attributes.insert("ends", Attribute::Ints(self.ends.clone()));
        if self.steps != vec![1; self.starts.len()] {
            attributes.insert("steps", Attribute::Ints(self.steps.clone()));
        }
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let stretches = self.stretches(inputs[0])?;
        let each = inputs[0].extents().iter().zip(stretches);
        let taken = each.map(|(extent, stretch)| match stretch {
            Some(stretch) => Extent::Fixed(stretch.count),
            None => *extent,
        });
        Ok(vec![taken.collect()])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        let stretches = self.stretches(rule.input_shape(0)).unwrap_or_default();
        for (axis, stretch) in stretches.into_iter().enumerate() {
            match stretch {
                None => map_axis(rule, axis, 0, axis),
                Some(Stretch {
                    first,
                    step: 1,
                    count,
                }) => {
                    let kept = cut_axis(rule, axis, first, count);
                    rule.write(0, axis, &[kept]);
                }
                Some(_) => {
                    let why = "a slice takes positions of this axis that are apart";
                    freeze_axis(rule, axis, Some(axis), why);
                }
            }
        }
    }

    fn resize(&self, grown: &Grown<'_>) -> Self {
        let mut resized = self.clone();
        let stretches = self.stretches(&Shape::fixed(&old_input(grown, 0)));
        let stretches = stretches.unwrap_or_default();
        for (index, axis) in self.axes.iter().enumerate() {
            let stretch = stretches.get(*axis).copied().flatten();
            if grown.input(0).get(*axis) == Some(Extent::Batch) {
                continue;
            }
            if let Some(Stretch {
                first,
                step: 1,
                count,
            }) = stretch
            {
                let cut = |position| grown.input_cut(0, *axis, position);
                if is_still(grown, *axis, first, count) {
                    continue;
                }
                resized.starts[index] = cut(first) as i64;
                resized.ends[index] = cut(first + count) as i64;
            }
        }
        resized
    }

    fn layouts(&self, incoming: &[Layout], _: &[&Shape], _: &[&Shape]) -> Layouts {
        Layouts::pass_through(incoming)
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let sizes = Shape::fixed(&site.inputs[0]);
        let mut stretches = vec![None; sizes.rank()];
        for (axis, start, end, step) in self.ints() {
            // The batch is taken whole, as any range that reaches to its end does.
            stretches[axis] = Stretch::new(site.inputs[0][axis], start, end, step).ok();
        }
        let place = move |axis: usize, at: usize| match &stretches[axis] {
            Some(stretch) => stretch.at(at),
            None => Some(at),
        };
        Box::new(RemapKernel::same_rank(site, 0.0, Box::new(place)))
    }

    moving_parts!();
}

/// Whether a stretch of the input's axis, and the axis around it, are where they were: then the
/// positions stay as they were said, some from the end, which hold for axes of any length.
fn is_still(grown: &Grown<'_>, axis: usize, first: usize, count: usize) -> bool {
    old_input(grown, 0)[axis] == grown.input(0).at(1)[axis]
        && [first, first + count]
            .iter()
            .all(|at| grown.input_cut(0, axis, *at) == *at)
}

/// `Split(x [N, p+q+…, …]) -> [N, p, …], [N, q, …], …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The axis that is cut, never the batch; ONNX's default is the outermost one.
    pub axis: usize,
    /// The sizes of the outputs along it; ONNX's `split`.
    pub sizes: Vec<usize>,
}

impl Operator for Split {
    const NAME: &'static str = "Split";
    const RULE: &'static str = "n [a b …] * -> n a * , n b * , …";
    const ARITY: Arity = Arity::exactly(1);

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        let sizes = sizes_of(attributes, "split", 1)?;
        Ok(Split {
            axis: attributes.size("axis", 0, 0)?,
            sizes: sizes.ok_or("attribute `split` is missing")?,
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        attributes.put_size("axis", self.axis, 0);
        attributes.insert("split", as_ints(&self.sizes));
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let size = fixed_axis(inputs[0], self.axis)?;
        let total = self
            .sizes
            .iter()
            .try_fold(0usize, |sum, part| sum.checked_add(*part));
        if total != Some(size) || self.sizes.contains(&0) {
            return Err(format!("{size} cannot be split into {:?}", self.sizes));
        }
        let part = |size: &usize| with_axis(inputs[0], self.axis, *size);
        Ok(self.sizes.iter().map(part).collect())
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        let rank = rule.input_shape(0).rank();
        for axis in (0..rank).filter(|axis| *axis != self.axis) {
            let label = rule.label(rule.input_shape(0).extents()[axis]);
            rule.read(0, axis, &[label]);
            for output in 0..self.sizes.len() {
                rule.write(output, axis, &[label]);
            }
        }
        let mut parts = Vec::new();
        for (output, size) in self.sizes.iter().enumerate() {
            let label = rule.label(Extent::Fixed(*size));
            rule.write(output, self.axis, &[label]);
            parts.push(label);
        }
        rule.read_cat(0, self.axis, &parts);
    }

    fn resize(&self, grown: &Grown<'_>) -> Self {
        let size = |output| grown.output(output).at(1)[self.axis];
        Split {
            axis: self.axis,
            sizes: (0..self.sizes.len()).map(size).collect(),
        }
    }

    fn layouts(&self, incoming: &[Layout], _: &[&Shape], outputs: &[&Shape]) -> Layouts {
        Layouts {
            inputs: vec![incoming[0].clone()],
            outputs: vec![incoming[0].clone(); outputs.len()],
        }
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let along = self.axis;
        let mut first = 0;
        let parts = site.outputs.iter().map(|sizes| {
            let offset = first;
            first += sizes[along];
            let place = move |axis, at| Some(if axis == along { offset + at } else { at });
            Part {
                sizes: sizes.clone(),
                place: Box::new(place),
            }
        });
        let parts = parts.collect();
        let layout = site.output_layouts[0].clone();
        Box::new(RemapKernel::new(layout, &site.inputs[0], parts, 0.0))
    }

    moving_parts!();
}

/// `Take(x) -> x[.., indices, ..]`: positions of one axis, known beforehand. It is ONNX's `Gather`
/// with constant indices, a list of them or a single one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Take {
    /// The axis, never the batch.
    pub axis: usize,
    /// The positions; negative ones count from the end.
    pub indices: Vec<i64>,
    /// Whether the axis stays; without it, there must be one index.
    pub keep: bool,
}

impl Take {
    /// The indices counted from the front.
    fn positions(&self, size: usize) -> Option<Vec<usize>> {
        let counted = |index: &i64| {
            let index = i128::from(*index);
            let index = if index < 0 {
                index + size as i128
            } else {
                index
            };
            usize::try_from(index).ok().filter(|at| *at < size)
        };
        self.indices.iter().map(counted).collect()
    }

    /// The first index, if the others follow one by one.
    fn stretch(&self, size: usize) -> Option<usize> {
        let positions = self.positions(size)?;
        let first = *positions.first()?;
        let follows = positions.into_iter().eq(first..first + self.indices.len());
        follows.then_some(first)
    }
}

impl Operator for Take {
    const NAME: &'static str = "Take";
    const RULE: &'static str = "n [before kept after] * -> n kept *, or n *";
    const ARITY: Arity = Arity::exactly(1);

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        let indices = attributes.ints("indices")?;
        Ok(Take {
            axis: attributes.size("axis", 0, 0)?,
            indices: indices.ok_or("attribute `indices` is missing")?,
            keep: attributes.flag("keep", true)?,
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        attributes.put_size("axis", self.axis, 0);
        attributes.insert("indices", Attribute::Ints(self.indices.clone()));
        attributes.put_flag("keep", self.keep, true);
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let size = fixed_axis(inputs[0], self.axis)?;
        if self.indices.is_empty() || (!self.keep && self.indices.len() > 1) {
            return Err(format!(
                "{} indices cannot be taken{}",
                self.indices.len(),
                if self.keep { "" } else { " without their axis" }
            ));
        }
        if self.positions(size).is_none() {
            return Err(format!(
                "indices {:?} are not all within axis {} of {}",
                self.indices, self.axis, inputs[0]
            ));
        }
        if self.keep {
            return Ok(vec![with_axis(inputs[0], self.axis, self.indices.len())]);
        }
        let mut rest = inputs[0].extents().to_vec();
        rest.remove(self.axis);
        Ok(vec![Shape::new(rest)])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        let shape = rule.input_shape(0);
        for axis in (0..shape.rank()).filter(|axis| *axis != self.axis) {
            let removed = usize::from(!self.keep && axis > self.axis);
            map_axis(rule, axis, 0, axis - removed);
        }
        let to = self.keep.then_some(self.axis);
        match self.stretch(shape.at(1)[self.axis]) {
            Some(first) => {
                let kept = cut_axis(rule, self.axis, first, self.indices.len());
                match to {
                    Some(to) => rule.write(0, to, &[kept]),
                    None => rule.freeze(kept, "a single position of this axis is taken"),
                }
            }
            None => {
                let why = "positions of this axis are taken one by one";
                freeze_axis(rule, self.axis, to, why);
            }
        }
    }

    fn resize(&self, grown: &Grown<'_>) -> Self {
        let Some(first) = self.stretch(old_input(grown, 0)[self.axis]) else {
            return self.clone();
        };
        if is_still(grown, self.axis, first, self.indices.len()) {
            return self.clone();
        }
        let cut = |position| grown.input_cut(0, self.axis, position) as i64;
        let after = if self.keep {
            cut(first + self.indices.len())
        } else {
            cut(first) + 1
        };
        Take {
            indices: (cut(first)..after).collect(),
            ..self.clone()
        }
    }

    fn layouts(&self, incoming: &[Layout], inputs: &[&Shape], outputs: &[&Shape]) -> Layouts {
        if self.keep {
            return Layouts::pass_through(incoming);
        }
        super::moves::row_major(inputs, outputs)
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let along = self.axis;
        let positions = self.positions(site.inputs[0][along]).unwrap_or_default();
        let place = move |axis, at| match axis == along {
            true => positions.get(at).copied(),
            false => Some(at),
        };
        let mut sizes = site.outputs[0].clone();
        let mut layout = site.output_layouts[0].clone();
        if !self.keep {
            sizes.insert(along, 1);
            layout = Layout::row_major(sizes.len());
        }
        let part = Part {
            sizes,
            place: Box::new(place),
        };
        Box::new(RemapKernel::new(layout, &site.inputs[0], vec![part], 0.0))
    }

    moving_parts!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_those_of_onnx() {
        let taken = |start, end, step| {
            let stretch = Stretch::new(5, start, end, step)?;
            Ok::<_, String>(
                (0..stretch.count)
                    .map(|i| stretch.at(i).unwrap())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(taken(1, 3, 1).unwrap(), [1, 2]);
        assert_eq!(taken(-2, i64::MAX, 1).unwrap(), [3, 4]);
        assert_eq!(taken(i64::MIN, -1, 2).unwrap(), [0, 2]);
        assert_eq!(taken(0, 100, i64::MAX).unwrap(), [0]);
        assert_eq!(taken(-1, i64::MIN, -2).unwrap(), [4, 2, 0]);
        assert_eq!(taken(i64::MAX, 1, -1).unwrap(), [4, 3, 2]);
        assert_eq!(taken(3, -4, i64::MIN).unwrap(), [3]);
        for (start, end, step) in [(3, 3, 1), (3, 1, 1), (1, 3, -1), (9, 9, 1), (0, 5, 0)] {
            assert!(taken(start, end, step).is_err(), "{start}:{end}:{step}");
        }
    }
}
