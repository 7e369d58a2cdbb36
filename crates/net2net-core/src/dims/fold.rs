//! Where the shares of copies go when what sums over them has no parameter of its own.
//!
//! A product of two activations, queries with keys for instance, counts copies of a unit again.
//! It does not if one operand's copies are multiplied by their shares, and they are if the
//! parameters that make the operand are: rows of a weight and its bias, or the scale and shift of
//! a normalisation. Between them and the product there may only be what commutes with a factor for
//! each unit. The same holds for a matrix that makes units in one place and reads them in another
//! (tied embeddings): what it reads can bring the shares along.

use super::{AtomId, Dim};
use crate::graph::{Extent, Graph, NodeId, ValueId};
use crate::ops::{Op, Split, Take};

/// A place where copies of a space's units are multiplied by their shares, although they are not
/// read there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// The parameter.
    pub parameter: ValueId,
    /// Its axis.
    pub axis: usize,
    /// Which of the axis's leaves, from left to right.
    pub leaf: usize,
}

/// One of the outputs into which a split cuts another axis than the one that takes shares: a parameter
/// behind it takes them in all of its parts at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    split: NodeId,
    output: usize,
}

/// The parameters that were found to take shares, with the part of each that was meant.
#[derive(Clone, Debug, Default)]
pub(super) struct Folds {
    found: Vec<(Fold, Option<Part>)>,
    /// The part that is being followed.
    part: Option<Part>,
}

impl Folds {
    /// These, and those of another product.
    pub(super) fn extend(&mut self, others: Folds) {
        self.found.extend(others.found);
    }

    /// Each parameter once, although several products read it in parts. One that is read whole by
    /// two products, or in part by something that counts no copies, would be multiplied wrongly.
    fn settled(self, graph: &Graph) -> Result<Vec<Fold>, String> {
        let mut settled: Vec<Fold> = Vec::new();
        for (fold, part) in &self.found {
            let alike = || self.found.iter().filter(|(other, _)| other == fold);
            let name = &graph.get(fold.parameter).name;
            match part {
                None if alike().count() > 1 => {
                    return Err(format!("`{name}` would be multiplied twice"));
                }
                None => settled.push(fold.clone()),
                Some(part) => {
                    let outputs = graph.at(part.split).outputs.len();
                    let covers = |output: usize| {
                        let own = Some(Part { output, ..*part });
                        alike().filter(|(_, other)| *other == own).count() == 1
                    };
                    if alike().count() != outputs || !(0..outputs).all(covers) {
                        return Err(format!("only a part of `{name}` is read there"));
                    }
                    if !settled.contains(fold) {
                        settled.push(fold.clone());
                    }
                }
            }
        }
        Ok(settled)
    }
}

/// What takes the shares for all nodes that need them, each of which has one choice or two; or the node
/// and the reason why nothing does. A part of a weight may be all that one of them has, and then the
/// others have to take the other parts.
pub(super) fn settled(
    graph: &Graph,
    choices: &[(NodeId, Vec<Folds>)],
) -> Result<Vec<Fold>, (NodeId, String)> {
    let all = |choose: fn(&Vec<Folds>) -> Option<&Folds>| {
        let mut all = Folds::default();
        for (_, one) in choices {
            all.extend(choose(one).cloned().unwrap_or_default());
        }
        all.settled(graph)
    };
    let first = all(|one| one.first());
    let settled = first.or_else(|why| all(|one| one.last()).map_err(|_| why));
    settled.map_err(|why| (choices[0].0, why))
}

/// A leaf of an axis of a value.
#[derive(Clone, Debug)]
struct Place {
    value: ValueId,
    axis: usize,
    leaf: usize,
    /// Positions of other axes: only that part of the value is meant.
    within: Vec<(usize, usize)>,
}

/// Finds the parameters that can absorb shares.
pub(super) struct Folding<'a> {
    pub(super) graph: &'a Graph,
    /// The axes of every value over spaces.
    pub(super) axes: &'a [Vec<Dim>],
    /// The nodes that read each value, once for each time.
    pub(super) readers: &'a [Vec<NodeId>],
}

impl Folding<'_> {
    /// The parameters that make a factor for each unit of `atom` reach a node through one of its
    /// inputs, or why there are none.
    pub(super) fn through(
        &self,
        node: NodeId,
        input: usize,
        atom: AtomId,
    ) -> Result<Folds, String> {
        let value = self.graph.at(node).inputs[input];
        let axis = self.summed(node, input);
        let dim = axis.and_then(|axis| Some((axis, self.dims(value).get(axis)?)));
        let (axis, dim) = dim.ok_or("it is not known what is summed over")?;
        let mut folds = Folds::default();
        for (leaf, found) in dim.atoms().into_iter().enumerate() {
            if found == atom {
                let place = Place {
                    value,
                    axis,
                    leaf,
                    within: Vec::new(),
                };
                self.follow(place, &mut folds)?;
            }
        }
        match folds.found.is_empty() {
            true => Err("nothing of it is made by a parameter".to_owned()),
            false => Ok(folds),
        }
    }

    /// The axis of an operand that a product sums over.
    fn summed(&self, node: NodeId, input: usize) -> Option<usize> {
        let rank = self.dims(self.graph.at(node).inputs[input]).len();
        match (&self.graph.at(node).op, input) {
            (Op::MatMul(_), 0) => rank.checked_sub(1),
            (Op::MatMul(_), _) => Some(rank.saturating_sub(2)),
            (Op::Gemm(op), 1) => Some(usize::from(op.transposed)),
            (Op::Gemm(_) | Op::Conv(_), 0) => Some(1),
            _ => None,
        }
    }

    /// The axes of an operand.
    fn dims(&self, value: ValueId) -> &[Dim] {
        &self.axes[value.index()]
    }

    fn has(&self, value: ValueId, atom: AtomId) -> bool {
        let mut has = false;
        for dim in self.dims(value) {
            dim.for_each_atom(&mut |other| has |= other == atom);
        }
        has
    }

    fn atom(&self, place: &Place) -> Option<AtomId> {
        let dim = self.dims(place.value).get(place.axis)?;
        dim.atoms().get(place.leaf).copied()
    }

    /// Goes back from a place to the parameters that make it.
    fn follow(&self, place: Place, folds: &mut Folds) -> Result<(), String> {
        let name = &self.graph.get(place.value).name;
        let Some(producer) = self.graph.producer(place.value) else {
            return match self.graph.is_parameter(place.value) {
                true => self.site(place, folds),
                false => Err(format!("`{name}` is an input")),
            };
        };
        self.check_readers(&place)?;
        let node = self.graph.at(producer);
        let stands = || format!("{} stands in between, at `{name}`", node.op.name());
        let atom = self.atom(&place).ok_or_else(stands)?;
        let first = node.inputs[0];
        match &node.op {
            Op::Identity(_) | Op::Dropout(_) | Op::Neg(_) => self.follow(
                Place {
                    value: first,
                    ..place
                },
                folds,
            ),
            Op::Transpose(op) => {
                let rank = self.dims(first).len();
                let reversed = |axis: usize| rank - 1 - axis;
                let from = |axis: usize| op.perm.get(axis).copied().unwrap_or(reversed(axis));
                let within = place.within.iter();
                let within = within.map(|(a, at)| (from(*a), *at)).collect();
                let axis = from(place.axis);
                self.follow(
                    Place {
                        value: first,
                        axis,
                        within,
                        ..place
                    },
                    folds,
                )
            }
            Op::Reshape(_) | Op::Flatten(_) => {
                let before = self.before_squeeze(&place, first);
                let before = before.or_else(|| match place.within.is_empty() {
                    true => self.before_reshape(&place, first),
                    false => self.before_cut(&place, first),
                });
                let place = before.ok_or_else(stands)?;
                self.follow(place, folds)
            }
            Op::Split(op) => {
                let output = node.outputs.iter().position(|out| *out == place.value);
                let part = output.filter(|_| op.axis != place.axis);
                let part = part.map(|output| Part {
                    split: producer,
                    output,
                });
                if part.is_some() && folds.part.is_some() {
                    return Err(stands());
                }
                let place = self.before_split(op, node, place, first);
                let before = folds.part;
                folds.part = part.or(before);
                self.follow(place.ok_or_else(stands)?, folds)?;
                folds.part = before;
                Ok(())
            }
            Op::Take(op) if !op.keep => {
                let place = self.before_take(op, place, first).ok_or_else(stands)?;
                self.follow(place, folds)
            }
            Op::Mul(_) | Op::Div(_) => {
                let (a, b) = (node.inputs[0], node.inputs[1]);
                let dividend = matches!(node.op, Op::Div(_));
                match (self.has(a, atom), self.has(b, atom)) {
                    (true, false) => self.follow(self.aligned(&place, a)?, folds),
                    (false, true) if !dividend => self.follow(self.aligned(&place, b)?, folds),
                    // A scale for each unit takes the shares itself.
                    (true, true) if self.graph.is_parameter(b) && !dividend => {
                        self.follow(self.aligned(&place, b)?, folds)
                    }
                    (true, true) if self.graph.is_parameter(a) && !dividend => {
                        self.follow(self.aligned(&place, a)?, folds)
                    }
                    _ => Err(stands()),
                }
            }
            Op::Add(_) | Op::Sub(_) => {
                for operand in &node.inputs {
                    if !self.has(*operand, atom) {
                        return Err(stands());
                    }
                    self.follow(self.aligned(&place, *operand)?, folds)?;
                }
                Ok(())
            }
            Op::Gemm(op) => self.made(place, node, usize::from(!op.transposed), folds),
            Op::MatMul(_) => {
                let axis = self.dims(node.inputs[1]).len().wrapping_sub(1);
                self.made(place, node, axis, folds)
            }
            Op::Conv(_) => self.made(place, node, 0, folds),
            Op::ReduceMean(op) => {
                // Axes that are gone stood before some of those that are left.
                let axes = 0..self.dims(first).len();
                let kept: Vec<usize> = axes
                    .filter(|axis| op.keepdims || !op.axes.contains(axis))
                    .collect();
                let within = place.within.iter();
                let within = within.map(|(a, at)| (kept[*a], *at)).collect();
                self.follow(
                    Place {
                        value: first,
                        axis: kept[place.axis],
                        leaf: place.leaf,
                        within,
                    },
                    folds,
                )
            }
            Op::LayerNorm(_) | Op::RmsNorm(_) => {
                for parameter in &node.inputs[1..] {
                    self.follow(self.aligned(&place, *parameter)?, folds)?;
                }
                Ok(())
            }
            _ => Err(stands()),
        }
    }

    /// A weight, and the bias if there is one, whose `axis` makes a place.
    fn made(
        &self,
        place: Place,
        node: &crate::graph::Node,
        axis: usize,
        folds: &mut Folds,
    ) -> Result<(), String> {
        let name = &self.graph.get(place.value).name;
        let atoms = |value: ValueId, axis: usize| self.dims(value).get(axis).map(Dim::atoms);
        let made = atoms(place.value, place.axis);
        for (slot, parameter) in node.inputs.iter().enumerate().skip(1) {
            let own = match slot {
                1 => axis,
                _ => self.dims(*parameter).len().wrapping_sub(1),
            };
            if !self.graph.is_parameter(*parameter) || atoms(*parameter, own) != made {
                return Err(format!("no parameter alone makes its units, at `{name}`"));
            }
            let site = Place {
                value: *parameter,
                axis: own,
                leaf: place.leaf,
                within: place.within.clone(),
            };
            self.site(site, folds)?;
        }
        Ok(())
    }

    /// A parameter at the end of the way: it must be read here alone.
    fn site(&self, place: Place, folds: &mut Folds) -> Result<(), String> {
        let name = &self.graph.get(place.value).name;
        if self.readers[place.value.index()].len() != 1 {
            return Err(format!("`{name}` is read in several places"));
        }
        if !place.within.is_empty() {
            return Err(format!("it is a part of `{name}`"));
        }
        let fold = Fold {
            parameter: place.value,
            axis: place.axis,
            leaf: place.leaf,
        };
        match folds.found.iter().any(|(other, _)| *other == fold) {
            true => Err(format!("`{name}` would be multiplied twice")),
            false => {
                folds.found.push((fold, folds.part));
                Ok(())
            }
        }
    }

    /// Refuses a value that is read elsewhere too, unless it is cut and each reader takes its part.
    fn check_readers(&self, place: &Place) -> Result<(), String> {
        let readers = &self.readers[place.value.index()];
        let cut = readers.iter().all(|node| {
            let own = |axis: usize| place.within.iter().any(|(a, _)| *a == axis);
            matches!(&self.graph.at(*node).op, Op::Take(take) if !take.keep && own(take.axis))
        });
        let distinct = || {
            let index = |node: &NodeId| match &self.graph.at(*node).op {
                Op::Take(take) => take.indices.clone(),
                _ => Vec::new(),
            };
            let mut taken: Vec<Vec<i64>> = readers.iter().map(index).collect();
            taken.sort_unstable();
            taken.windows(2).all(|pair| pair[0] != pair[1])
                && taken.iter().flatten().all(|i| *i >= 0)
        };
        let alone = readers.len() == 1 || (cut && distinct());
        if alone && !self.graph.outputs().contains(&place.value) {
            return Ok(());
        }
        let name = &self.graph.get(place.value).name;
        Err(format!("`{name}` is read elsewhere too"))
    }

    /// The place in an operand whose axes are aligned from the innermost.
    fn aligned(&self, place: &Place, operand: ValueId) -> Result<Place, String> {
        let (rank, own) = (self.dims(place.value).len(), self.dims(operand).len());
        let name = &self.graph.get(place.value).name;
        let axis = (place.axis + own).checked_sub(rank);
        let atoms = |value: ValueId, axis: usize| self.dims(value)[axis].atoms();
        match axis {
            Some(axis) if atoms(operand, axis) == atoms(place.value, place.axis) => {
                let within = place.within.iter();
                let within = within.map(|(a, at)| Some(((a + own).checked_sub(rank)?, *at)));
                let within: Option<Vec<_>> = within.collect();
                let within = within.ok_or_else(|| format!("it is a part of `{name}`"))?;
                Ok(Place {
                    value: operand,
                    axis,
                    leaf: place.leaf,
                    within,
                })
            }
            _ => Err(format!("the axes of what `{name}` is made of differ")),
        }
    }

    /// The place in what is reshaped: leaves follow each other in both in the same order.
    fn before_reshape(&self, place: &Place, input: ValueId) -> Option<Place> {
        let old = self.leaves(input)?;
        let new = self.leaves(place.value)?;
        let atoms = |leaves: &[(usize, usize, AtomId)]| -> Vec<AtomId> {
            leaves.iter().map(|(_, _, atom)| *atom).collect()
        };
        if atoms(&old) != atoms(&new) {
            return None;
        }
        let moved = |axis: usize, leaf: usize| {
            let at = new.iter().position(|(a, l, _)| (*a, *l) == (axis, leaf))?;
            old.get(at).map(|(axis, leaf, _)| (*axis, *leaf))
        };
        let (axis, leaf) = moved(place.axis, place.leaf)?;
        Some(Place {
            value: input,
            axis,
            leaf,
            within: Vec::new(),
        })
    }

    /// The place in what is reshaped, if only axes of size 1 come or go.
    fn before_squeeze(&self, place: &Place, input: ValueId) -> Option<Place> {
        let long = |value: ValueId| -> Vec<usize> {
            let extents = self.graph.get(value).shape.extents().iter().enumerate();
            let long = extents.filter(|(_, extent)| **extent != Extent::Fixed(1));
            long.map(|(axis, _)| axis).collect()
        };
        let (old, new) = (long(input), long(place.value));
        let mut pairs = old.iter().zip(&new);
        let same = |(a, b): (&usize, &usize)| self.dims(input)[*a] == self.dims(place.value)[*b];
        if old.len() != new.len() || !pairs.all(same) {
            return None;
        }
        let moved = |axis: usize| Some(old[new.iter().position(|long| *long == axis)?]);
        let within = place.within.iter();
        let within = within.map(|(axis, at)| Some((moved(*axis)?, *at)));
        Some(Place {
            value: input,
            axis: moved(place.axis)?,
            leaf: place.leaf,
            within: within.collect::<Option<Vec<_>>>()?,
        })
    }

    /// Axis, leaf and space of all factors of a value's axes but those of size 1, if none of them is
    /// a concatenation.
    fn leaves(&self, value: ValueId) -> Option<Vec<(usize, usize, AtomId)>> {
        let mut leaves = Vec::new();
        let extents = self.graph.get(value).shape.extents();
        for (axis, dim) in self.dims(value).iter().enumerate() {
            let parts = match dim {
                Dim::Atom(_) if extents[axis] == Extent::Fixed(1) => continue,
                Dim::Atom(id) => vec![*id],
                Dim::Prod(parts) if parts.iter().all(|p| matches!(p, Dim::Atom(_))) => dim.atoms(),
                _ => return None,
            };
            leaves.extend(
                parts
                    .into_iter()
                    .enumerate()
                    .map(|(leaf, id)| (axis, leaf, id)),
            );
        }
        Some(leaves)
    }

    /// The place in what is split: leaves of the outputs before come first.
    fn before_split(
        &self,
        op: &Split,
        node: &crate::graph::Node,
        place: Place,
        input: ValueId,
    ) -> Option<Place> {
        let leaves = |value: ValueId| self.dims(value)[op.axis].atoms();
        let parts: Vec<AtomId> = node.outputs.iter().flat_map(|out| leaves(*out)).collect();
        if parts != leaves(input) {
            return None;
        }
        let before = node.outputs.iter().take_while(|out| **out != place.value);
        let before: usize = before.map(|out| leaves(*out).len()).sum();
        let moved = |axis: usize, leaf: usize| leaf + if axis == op.axis { before } else { 0 };
        // A position of the axis that is split is another one in the whole.
        let apart = place.within.iter().all(|(axis, _)| *axis != op.axis);
        apart.then(|| Place {
            value: input,
            leaf: moved(place.axis, place.leaf),
            ..place
        })
    }

    /// The place in what one position is taken of: the axis is cut into positions.
    fn before_take(&self, op: &Take, place: Place, input: ValueId) -> Option<Place> {
        let [index] = op.indices[..] else {
            return None;
        };
        let at = usize::try_from(index).ok()?;
        let positions = self.dims(input).get(op.axis)?.atoms().len();
        let whole = self.graph.get(input).shape.get(op.axis) == Some(Extent::Fixed(positions));
        let back = |axis: usize| axis + usize::from(axis >= op.axis);
        let within = place.within.iter();
        let mut within: Vec<_> = within.map(|(a, leaf)| (back(*a), *leaf)).collect();
        within.push((op.axis, at));
        whole.then_some(Place {
            value: input,
            axis: back(place.axis),
            leaf: place.leaf,
            within,
        })
    }

    /// The place in what is reshaped, if an axis that is cut into positions comes out of an axis that
    /// is a concatenation of what they hold.
    fn before_cut(&self, place: &Place, input: ValueId) -> Option<Place> {
        let [(cut, part)] = place.within[..] else {
            return None;
        };
        let ones = self.dims(place.value)[cut].atoms();
        let (axis, parts) = self
            .dims(input)
            .iter()
            .enumerate()
            .find_map(|(axis, dim)| {
                let Dim::Cat(parts) = dim else { return None };
                let starts = |(part, one): (&Dim, &AtomId)| part.atoms().first() == Some(one);
                let same = parts.len() == ones.len() && parts.iter().zip(&ones).all(starts);
                same.then_some((axis, parts))
            })?;
        let own = parts[part].atoms();
        let mut inner = Vec::new();
        for axis in cut + 1..self.dims(place.value).len() {
            let leaves = self.dims(place.value)[axis].atoms().into_iter().enumerate();
            inner.extend(leaves.map(|(leaf, atom)| (axis, leaf, atom)));
            if inner.len() + 1 >= own.len() {
                break;
            }
        }
        if !inner.iter().map(|(_, _, atom)| atom).eq(&own[1..]) {
            return None;
        }
        let mut places = inner.iter();
        let at = places.position(|(axis, leaf, _)| (*axis, *leaf) == (place.axis, place.leaf))?;
        let before: usize = parts[..part].iter().map(|part| part.atoms().len()).sum();
        Some(Place {
            value: input,
            axis,
            leaf: before + 1 + at,
            within: Vec::new(),
        })
    }
}
