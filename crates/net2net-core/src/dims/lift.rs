//! Lifting the map of a space to an axis that it is a part of.

use super::fold::Fold;
use super::unify::{AtomId, Dim};

/// What growth does to the units of one leaf, as seen from one axis of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct LeafMap {
    /// For each new unit, the old unit that it copies.
    pub source: Vec<u32>,
    /// What each new slice of a weight is multiplied by.
    pub factor: Vec<f64>,
    /// The part of the original's gradient that each new slice receives.
    pub gradient: Vec<f64>,
    /// Whether copies of one unit are summed over here (the axis is contracted).
    pub summed: bool,
    /// How many units follow that copy none.
    pub fresh: usize,
}

/// What stands at one position of a grown axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// A copy of an old slice.
    Copy,
    /// The slice that makes a new unit: free to hold anything.
    Made,
    /// The slice that reads a new unit: zero, so that the unit has no effect yet.
    Read,
}

/// A map of a whole axis of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisMap {
    /// The length of the axis before.
    pub old: usize,
    /// For each new position, the old one that it copies.
    pub source: Vec<u32>,
    /// What each new slice of a weight is multiplied by.
    pub factor: Vec<f64>,
    /// The part of the original's gradient that each new slice receives.
    pub gradient: Vec<f64>,
    /// Whether the position is the first copy of its original: where a padded network keeps it.
    pub original: Vec<bool>,
    /// Positions of one group are copies whose contributions are summed.
    pub group: Vec<u32>,
    /// Whether each position copies; `source` means nothing where it does not.
    pub units: Vec<Unit>,
}

impl AxisMap {
    /// The map that changes nothing.
    pub fn identity(size: usize) -> AxisMap {
        AxisMap {
            old: size,
            source: (0..size as u32).collect(),
            factor: vec![1.0; size],
            gradient: vec![1.0; size],
            original: vec![true; size],
            group: (0..size as u32).collect(),
            units: vec![Unit::Copy; size],
        }
    }

    /// The old positions with new ones around them that are zero and read nothing: the taps that a
    /// larger filter adds.
    pub fn framed(size: usize, before: usize, after: usize) -> AxisMap {
        let mut map = AxisMap::identity(0).appended(before, Unit::Read);
        map = map.concatenate(&AxisMap::identity(size));
        map.appended(after, Unit::Read)
    }

    /// The map with `count` new positions at its end.
    fn appended(mut self, count: usize, unit: Unit) -> AxisMap {
        let groups = self.group.iter().max().map_or(0, |g| g + 1);
        self.source.extend(vec![0; count]);
        self.factor.extend(vec![0.0; count]);
        self.gradient.extend(vec![0.0; count]);
        self.original.extend(vec![false; count]);
        self.group.extend(groups..groups + count as u32);
        self.units.extend(vec![unit; count]);
        self
    }

    /// Whether every position copies itself, unscaled.
    pub fn is_identity(&self) -> bool {
        self.source.len() == self.old
            && self
                .source
                .iter()
                .enumerate()
                .all(|(i, s)| i == *s as usize)
            && self.factor.iter().all(|f| *f == 1.0)
    }

    /// Multiplies copies by their shares where they are folded into what makes them. `size` gives the
    /// new size of every leaf.
    pub fn fold(
        &mut self,
        dim: &Dim,
        fold: &Fold,
        shares: &[f64],
        size: &impl Fn(AtomId) -> usize,
    ) {
        let mut place = Vec::new();
        for position in 0..self.source.len() {
            place.clear();
            locate(dim, position, 0, size, &mut place);
            let at = |leaf: usize| place.iter().find(|(l, _)| *l == leaf).map(|(_, at)| *at);
            if let Some(share) = at(fold.leaf).and_then(|unit| shares.get(unit)) {
                self.factor[position] *= share;
                // What is multiplied by it has a gradient that is not; of zero there is none to undo.
                self.gradient[position] /= if *share == 0.0 { 1.0 } else { *share };
            }
        }
    }

    fn leaf(old: usize, map: &LeafMap) -> AxisMap {
        let mut seen = vec![false; old];
        let original = map
            .source
            .iter()
            .map(|s| !std::mem::replace(&mut seen[*s as usize], true))
            .collect();
        let group = if map.summed {
            map.source.clone()
        } else {
            (0..map.source.len() as u32).collect()
        };
        let copies = AxisMap {
            old,
            source: map.source.clone(),
            factor: map.factor.clone(),
            gradient: map.gradient.clone(),
            original,
            group,
            units: vec![Unit::Copy; map.source.len()],
        };
        let unit = if map.summed { Unit::Read } else { Unit::Made };
        copies.appended(map.fresh, unit)
    }

    fn concatenate(mut self, other: &AxisMap) -> AxisMap {
        let offset = self.old as u32;
        let groups = self.group.iter().max().map_or(0, |g| g + 1);
        self.source.extend(other.source.iter().map(|s| s + offset));
        self.factor.extend(&other.factor);
        self.gradient.extend(&other.gradient);
        self.original.extend(&other.original);
        self.group.extend(other.group.iter().map(|g| g + groups));
        self.units.extend(&other.units);
        self.old += other.old;
        self
    }

    /// The row-major Kronecker product: `self` is the outer factor.
    fn product(&self, inner: &AxisMap) -> AxisMap {
        let groups = inner.group.iter().max().map_or(0, |g| g + 1);
        let size = self.source.len() * inner.source.len();
        let mut product = AxisMap {
            old: self.old * inner.old,
            source: Vec::with_capacity(size),
            factor: Vec::with_capacity(size),
            gradient: Vec::with_capacity(size),
            original: Vec::with_capacity(size),
            group: Vec::with_capacity(size),
            units: Vec::with_capacity(size),
        };
        for i in 0..self.source.len() {
            for j in 0..inner.source.len() {
                product
                    .source
                    .push(self.source[i] * inner.old as u32 + inner.source[j]);
                product.factor.push(self.factor[i] * inner.factor[j]);
                product.gradient.push(self.gradient[i] * inner.gradient[j]);
                product.original.push(self.original[i] && inner.original[j]);
                product.group.push(self.group[i] * groups + inner.group[j]);
                // What reads a new unit is zero whatever else it does.
                product.units.push(self.units[i].max(inner.units[j]));
            }
        }
        product
    }

    /// Lifts the maps of leaves to an axis: concatenations with offsets, products row by row.
    ///
    /// `leaf` gives the map of a leaf that grows; `size` the size of one that does not.
    pub fn lift(
        dim: &Dim,
        leaf: &impl Fn(AtomId) -> Option<LeafMap>,
        size: &impl Fn(AtomId) -> usize,
    ) -> AxisMap {
        match dim {
            Dim::Atom(id) => match leaf(*id) {
                Some(map) => AxisMap::leaf(size(*id), &map),
                None => AxisMap::identity(size(*id)),
            },
            Dim::Prod(parts) => parts
                .iter()
                .map(|part| AxisMap::lift(part, leaf, size))
                .reduce(|outer, inner| outer.product(&inner))
                .unwrap_or_else(|| AxisMap::identity(1)),
            Dim::Cat(parts) => parts
                .iter()
                .map(|part| AxisMap::lift(part, leaf, size))
                .reduce(|before, after| before.concatenate(&after))
                .unwrap_or_else(|| AxisMap::identity(0)),
        }
    }
}

/// The number of positions of an expression.
fn extent(dim: &Dim, size: &impl Fn(AtomId) -> usize) -> usize {
    match dim {
        Dim::Atom(id) => size(*id),
        Dim::Prod(parts) => parts.iter().map(|part| extent(part, size)).product(),
        Dim::Cat(parts) => parts.iter().map(|part| extent(part, size)).sum(),
    }
}

/// Which leaves a position of an axis lies in, counted from `first`, and where in each.
fn locate(
    dim: &Dim,
    position: usize,
    first: usize,
    size: &impl Fn(AtomId) -> usize,
    place: &mut Vec<(usize, usize)>,
) {
    match dim {
        Dim::Atom(_) => place.push((first, position)),
        Dim::Prod(parts) => {
            let mut inner = extent(dim, size);
            let (mut rest, mut leaf) = (position, first);
            for part in parts {
                inner /= extent(part, size).max(1);
                locate(part, rest / inner.max(1), leaf, size, place);
                rest %= inner.max(1);
                leaf += part.atoms().len();
            }
        }
        Dim::Cat(parts) => {
            let (mut before, mut leaf) = (0, first);
            for part in parts {
                let own = extent(part, size);
                if position < before + own {
                    return locate(part, position - before, leaf, size, place);
                }
                before += own;
                leaf += part.atoms().len();
            }
        }
    }
}
