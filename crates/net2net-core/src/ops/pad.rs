//! Padding and cropping.

use net2net_kernels::Real;

use super::moves::{RemapKernel, cut_axis, freeze_axis, map_axis, moving_parts, old_input};
use super::{Arity, Attribute, Attributes, Operator};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Kernel, Layout, Layouts, Site};
use crate::graph::{Extent, Shape};

/// What stands in the padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PadMode {
    /// One number; ONNX's default.
    #[default]
    Constant,
    /// What lies as far on the other side of the border: `c b | a b c`.
    Reflect,
    /// What lies at the border: `a a | a b c`.
    Edge,
}

const MODES: [(PadMode, &str); 3] = [
    (PadMode::Constant, "constant"),
    (PadMode::Reflect, "reflect"),
    (PadMode::Edge, "edge"),
];

/// `Pad(x) -> x` with more in front of and behind its axes, or less of it.
///
/// A constant can be put on any axis but the batch, also on channels, and only with a constant can
/// pads be negative, which crop.
#[derive(Clone, Debug, PartialEq)]
pub struct Pad {
    /// In front of each axis, then behind each axis.
    pub pads: Vec<i64>,
    /// What stands in the padding.
    pub mode: PadMode,
    /// The constant.
    pub value: f64,
}

/// What is done to one axis, in positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Border {
    /// Made in front and behind.
    made: [usize; 2],
    /// Left out in front and behind.
    cropped: [usize; 2],
    kept: usize,
}

impl Border {
    fn new(size: usize, pads: [i64; 2]) -> Option<Border> {
        let part = |pad: i64| usize::try_from(pad.unsigned_abs()).ok();
        let positive = |pad: i64| part(pad.max(0));
        let negative = |pad: i64| part(pad.min(0));
        let cropped = [negative(pads[0])?, negative(pads[1])?];
        let kept = size.checked_sub(cropped[0])?.checked_sub(cropped[1])?;
        Some(Border {
            made: [positive(pads[0])?, positive(pads[1])?],
            cropped,
            kept,
        })
        .filter(|border| border.kept > 0)
    }

    fn size(&self) -> Option<usize> {
        self.kept
            .checked_add(self.made[0])?
            .checked_add(self.made[1])
    }
}

impl Pad {
    fn pads(&self, axis: usize) -> [i64; 2] {
        [self.pads[axis], self.pads[self.pads.len() / 2 + axis]]
    }

    fn is_padded(&self, axis: usize) -> bool {
        self.pads(axis) != [0, 0]
    }

    fn check(&self, size: usize, border: &Border) -> bool {
        match self.mode {
            PadMode::Constant => true,
            PadMode::Edge => border.cropped == [0, 0],
            PadMode::Reflect => border.cropped == [0, 0] && border.made.iter().all(|m| *m < size),
        }
    }
}

impl Operator for Pad {
    const NAME: &'static str = "Pad";
    const RULE: &'static str = "n [cropped kept cropped] * -> n [made kept made] *";
    const ARITY: Arity = Arity::exactly(1);

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        let pads = attributes.ints("pads")?;
        let mode = attributes.text("mode", "constant")?;
        let known = MODES.into_iter().find(|(_, name)| *name == mode);
        let (mode, _) = known.ok_or(format!(
            "mode must be \"constant\", \"reflect\" or \"edge\", not {mode:?}"
        ))?;
        Ok(Pad {
            pads: pads.ok_or("attribute `pads` is missing")?,
            mode,
            value: attributes.float("value", 0.0)?,
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        attributes.insert("pads", Attribute::Ints(self.pads.clone()));
        let name = MODES.into_iter().find(|(mode, _)| *mode == self.mode);
        attributes.put_text(
            "mode",
            name.map_or("constant", |(_, name)| name),
            "constant",
        );
        attributes.put_float("value", self.value, 0.0);
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let shape = inputs[0];
        if self.pads.len() != 2 * shape.rank() {
            return Err(format!("{} pads do not belong to {shape}", self.pads.len()));
        }
        if !self.value.is_finite() {
            return Err("the value of the padding must be finite".to_owned());
        }
        let padded = |(axis, extent): (usize, &Extent)| match *extent {
            extent if !self.is_padded(axis) => Ok(extent),
            Extent::Batch => Err("the batch cannot be padded".to_owned()),
            Extent::Fixed(size) => Border::new(size, self.pads(axis))
                .filter(|border| self.check(size, border))
                .and_then(|border| border.size())
                .map(Extent::Fixed)
                .ok_or(format!(
                    "pads {:?} do not fit axis {axis} of {shape}",
                    self.pads(axis)
                )),
        };
        let extents = shape.extents().iter().enumerate().map(padded);
        Ok(vec![extents.collect::<Result<Shape, String>>()?])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        let sizes = rule.input_shape(0).at(1);
        for (axis, size) in sizes.into_iter().enumerate() {
            let border = Border::new(size, self.pads(axis));
            let Some(border) = border.filter(|_| self.is_padded(axis)) else {
                map_axis(rule, axis, 0, axis);
                continue;
            };
            if self.mode != PadMode::Constant {
                let why = "elements of this axis are repeated at its border";
                freeze_axis(rule, axis, Some(axis), why);
                continue;
            }
            let kept = cut_axis(rule, axis, border.cropped[0], border.kept);
            let mut parts = vec![kept];
            for (made, at_end) in border.made.into_iter().zip([false, true]) {
                if made > 0 {
                    let label = rule.label(Extent::Fixed(made));
                    rule.makes(label);
                    parts.insert(if at_end { parts.len() } else { 0 }, label);
                }
            }
            rule.write_cat(0, axis, &parts);
        }
    }

    fn resize(&self, grown: &Grown<'_>) -> Self {
        let mut resized = self.clone();
        let rank = self.pads.len() / 2;
        for (axis, size) in old_input(grown, 0).into_iter().enumerate() {
            let border = Border::new(size, self.pads(axis));
            let Some(border) = border.filter(|_| self.is_padded(axis)) else {
                continue;
            };
            let front = border.made[0];
            let [start, end] = border.cropped;
            let total = |shape: &Shape| shape.at(1)[axis];
            let read = |position| grown.input_cut(0, axis, position);
            let written = |position| grown.output_cut(0, axis, position);
            let made = [
                written(front),
                total(grown.output(0)) - written(front + border.kept),
            ];
            let cropped = [read(start), total(grown.input(0)) - read(size - end)];
            resized.pads[axis] = made[0] as i64 - cropped[0] as i64;
            resized.pads[rank + axis] = made[1] as i64 - cropped[1] as i64;
        }
        resized
    }

    fn layouts(&self, incoming: &[Layout], _: &[&Shape], _: &[&Shape]) -> Layouts {
        Layouts::pass_through(incoming)
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let (mode, sizes) = (self.mode, site.inputs[0].clone());
        let fronts: Vec<i64> = self.pads[..sizes.len()].to_vec();
        let place = move |axis: usize, at: usize| {
            let last = sizes[axis] as i64 - 1;
            let at = at as i64 - fronts[axis];
            let at = match mode {
                PadMode::Constant => at,
                PadMode::Edge => at.clamp(0, last),
                // Pads are shorter than the axis, so that one reflection is enough.
                PadMode::Reflect => last - (last - at.abs()).abs(),
            };
            usize::try_from(at).ok().filter(|at| *at < sizes[axis])
        };
        Box::new(RemapKernel::same_rank(site, self.value, Box::new(place)))
    }

    moving_parts!();
}
