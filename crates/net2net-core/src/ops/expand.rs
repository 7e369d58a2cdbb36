//! Repetition along axes.

use net2net_kernels::Real;

use super::moves::{Part, RemapKernel, as_ints, map_axis, moving_parts, row_major, sizes_of};
use super::{Arity, Attributes, Operator};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Kernel, Layout, Layouts, Site};
use crate::graph::{Extent, Shape};

/// `Expand(x) -> y`: axes aligned from the innermost, and those of 1 repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expand {
    /// The size of each axis; where it is 1 the input's stays, and 0 in front is the batch.
    pub shape: Vec<usize>,
}

impl Expand {
    /// The input's extent and the wanted size of each axis of the output.
    fn pairs(&self, input: &Shape) -> Vec<(Option<Extent>, usize)> {
        let rank = self.shape.len().max(input.rank());
        let aligned = |axis: usize| {
            let own = (axis + input.rank()).checked_sub(rank);
            let wanted = (axis + self.shape.len()).checked_sub(rank);
            (
                own.and_then(|own| input.get(own)),
                wanted.map_or(1, |wanted| self.shape[wanted]),
            )
        };
        (0..rank).map(aligned).collect()
    }
}

impl Operator for Expand {
    const NAME: &'static str = "Expand";
    const RULE: &'static str = "* -> *, where an axis of 1 is repeated";
    const ARITY: Arity = Arity::exactly(1);

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        let shape = sizes_of(attributes, "shape", 0)?;
        Ok(Expand {
            shape: shape.ok_or("attribute `shape` is missing")?,
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        attributes.insert("shape", as_ints(&self.shape));
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let fault = || format!("{} cannot be expanded to {:?}", inputs[0], self.shape);
        let extent = |(axis, (own, wanted)): (usize, (Option<Extent>, usize))| {
            let extent = match (own.unwrap_or(Extent::Fixed(1)), wanted) {
                (Extent::Batch | Extent::Fixed(1), 0) => Extent::Batch,
                (own, 1) => own,
                (Extent::Fixed(own), wanted) if own == 1 || own == wanted => Extent::Fixed(wanted),
                _ => return Err(fault()),
            };
            if extent == Extent::Batch && axis > 0 {
                return Err(format!("{}: the batch must be outermost", fault()));
            }
            Ok(extent)
        };
        let pairs = self.pairs(inputs[0]).into_iter().enumerate();
        Ok(vec![pairs.map(extent).collect::<Result<Shape, String>>()?])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        let (rank, own_rank) = (rule.output_shape(0).rank(), rule.input_shape(0).rank());
        for axis in 0..rank {
            let extent = rule.output_shape(0).extents()[axis];
            let own = (axis + own_rank).checked_sub(rank);
            if let Some(own) = own {
                if rule.input_shape(0).extents()[own] == extent {
                    map_axis(rule, own, 0, axis);
                    continue;
                }
                let unit = rule.label(Extent::Fixed(1));
                rule.read(0, own, &[unit]);
                rule.freeze(unit, "an axis of 1 is repeated");
            }
            let label = rule.label(extent);
            rule.makes(label);
            rule.write(0, axis, &[label]);
        }
    }

    fn resize(&self, grown: &Grown<'_>) -> Self {
        let sizes = grown.output(0).at(1);
        let skipped = sizes.len() - self.shape.len();
        let each = self.shape.iter().zip(&sizes[skipped..]);
        Expand {
            // Batch and ones go by the input.
            shape: each
                .map(|(old, new)| if *old > 1 { *new } else { *old })
                .collect(),
        }
    }

    fn layouts(&self, _: &[Layout], inputs: &[&Shape], outputs: &[&Shape]) -> Layouts {
        row_major(inputs, outputs)
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let sizes = site.outputs[0].clone();
        let mut source = vec![1; sizes.len() - site.inputs[0].len()];
        source.extend(&site.inputs[0]);
        let layout = Layout::row_major(sizes.len());
        let own = source.clone();
        let place = move |axis: usize, at: usize| Some(if own[axis] == 1 { 0 } else { at });
        let part = Part {
            sizes,
            place: Box::new(place),
        };
        Box::new(RemapKernel::new(layout, &source, vec![part], 0.0))
    }

    moving_parts!();
}

/// `Tile(x) -> y`: each axis as a whole so many times, one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// How many times, for each axis; 1 for the batch.
    pub repeats: Vec<usize>,
}

impl Operator for Tile {
    const NAME: &'static str = "Tile";
    const RULE: &'static str = "n a * -> n (r a) *";
    const ARITY: Arity = Arity::exactly(1);

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        let repeats = sizes_of(attributes, "repeats", 1)?;
        Ok(Tile {
            repeats: repeats.ok_or("attribute `repeats` is missing")?,
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        attributes.insert("repeats", as_ints(&self.repeats));
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let shape = inputs[0];
        let tiled = |(extent, repeats): (&Extent, &usize)| match *extent {
            extent if *repeats == 1 => Some(extent),
            Extent::Batch => None,
            Extent::Fixed(size) => size.checked_mul(*repeats).map(Extent::Fixed),
        };
        let each = shape.extents().iter().zip(&self.repeats);
        let fits = self.repeats.len() == shape.rank();
        let tiled = each.map(tiled).collect::<Option<Shape>>().filter(|_| fits);
        match tiled {
            Some(tiled) => Ok(vec![tiled]),
            None => Err(format!(
                "{shape} cannot be repeated {:?} times",
                self.repeats
            )),
        }
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        for (axis, repeats) in self.repeats.iter().enumerate() {
            if *repeats == 1 {
                map_axis(rule, axis, 0, axis);
                continue;
            }
            let own = rule.label(rule.input_shape(0).extents()[axis]);
            rule.read(0, axis, &[own]);
            let times = rule.label(Extent::Fixed(*repeats));
            rule.makes(times);
            rule.write(0, axis, &[times, own]);
        }
    }

    fn resize(&self, grown: &Grown<'_>) -> Self {
        let (own, tiled) = (grown.input(0).at(1), grown.output(0).at(1));
        let each = own.iter().zip(tiled);
        Tile {
            repeats: each.map(|(own, tiled)| tiled / own).collect(),
        }
    }

    fn layouts(&self, incoming: &[Layout], _: &[&Shape], _: &[&Shape]) -> Layouts {
        Layouts::pass_through(incoming)
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let own = site.inputs[0].clone();
        let place = move |axis: usize, at: usize| Some(at % own[axis]);
        Box::new(RemapKernel::same_rank(site, 0.0, Box::new(place)))
    }

    moving_parts!();
}
