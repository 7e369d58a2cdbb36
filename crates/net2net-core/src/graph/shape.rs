//! Shapes of values: a symbolic batch extent and fixed ones.

use std::fmt;

/// The largest number of elements that one tensor may have (for one sample): 2^40.
///
/// A size read from a file that exceeds it is a broken file, not a network.
pub const MAX_ELEMENTS: usize = 1 << 40;

/// The size of one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Extent {
    /// The batch, known only when a program is compiled. Written `N`.
    Batch,
    /// A fixed number of elements, at least one.
    Fixed(usize),
}

impl Extent {
    /// The number of elements when the batch holds `batch` samples.
    pub fn at(self, batch: usize) -> usize {
        match self {
            Extent::Batch => batch,
            Extent::Fixed(size) => size,
        }
    }

    /// The fixed size, or `None` for the batch.
    pub fn fixed(self) -> Option<usize> {
        match self {
            Extent::Batch => None,
            Extent::Fixed(size) => Some(size),
        }
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Extent::Batch => f.write_str("N"),
            Extent::Fixed(size) => write!(f, "{size}"),
        }
    }
}

/// The extents of a value, outermost first: images are `[N, channels, height, width]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape(Vec<Extent>);

impl Shape {
    /// A shape of any extents. [`Shape::check`] says whether it is a sensible one.
    pub fn new(extents: impl Into<Vec<Extent>>) -> Self {
        Shape(extents.into())
    }

    /// A shape without a batch, as parameters have.
    pub fn fixed(sizes: &[usize]) -> Self {
        Shape(sizes.iter().copied().map(Extent::Fixed).collect())
    }

    /// A shape of one sample, with the batch in front.
    pub fn batched(sizes: &[usize]) -> Self {
        std::iter::once(Extent::Batch)
            .chain(sizes.iter().copied().map(Extent::Fixed))
            .collect()
    }

    /// This shape's outermost extent, and other sizes for one sample.
    #[must_use]
    pub fn with_inner(&self, sizes: &[usize]) -> Self {
        let inner = sizes.iter().copied().map(Extent::Fixed);
        self.0.iter().copied().take(1).chain(inner).collect()
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The extents, outermost first.
    pub fn extents(&self) -> &[Extent] {
        &self.0
    }

    /// The extent of one axis, or `None` past the rank.
    pub fn get(&self, axis: usize) -> Option<Extent> {
        self.0.get(axis).copied()
    }

    /// The sizes of all axes when the batch holds `batch` samples.
    pub fn at(&self, batch: usize) -> Vec<usize> {
        self.0.iter().map(|e| e.at(batch)).collect()
    }

    /// The number of elements when the batch holds `batch` samples, saturating.
    pub fn elements(&self, batch: usize) -> usize {
        self.0
            .iter()
            .fold(1usize, |n, e| n.saturating_mul(e.at(batch)))
    }

    /// The fixed sizes of all axes, or `None` if one is the batch.
    pub fn to_fixed(&self) -> Option<Vec<usize>> {
        self.0.iter().map(|e| e.fixed()).collect()
    }

    /// Refuses empty axes, a batch that is not outermost and absurd numbers of elements.
    pub fn check(&self) -> Result<(), String> {
        if self.0.contains(&Extent::Fixed(0)) {
            return Err(format!("shape {self} has an empty axis"));
        }
        if self.0.iter().skip(1).any(|e| *e == Extent::Batch) {
            return Err(format!("shape {self} has the batch N on an inner axis"));
        }
        if self.elements(1) > MAX_ELEMENTS {
            return Err(format!("shape {self} has more than 2^40 elements"));
        }
        Ok(())
    }
}

impl FromIterator<Extent> for Shape {
    fn from_iter<I: IntoIterator<Item = Extent>>(iter: I) -> Self {
        Shape(iter.into_iter().collect())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, extent) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{extent}")?;
        }
        f.write_str("]")
    }
}
