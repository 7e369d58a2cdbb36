//! Shapes that a document states.

use std::collections::HashMap;

use net2net_core::graph::{Extent, Shape};

use crate::fold::MAX_RANK;
use crate::proto::{Dimension, TypeProto};

/// Sizes for axes that the model leaves open, other than the batch, and that of open spatial axes of
/// images. The first are odd, so that they are rarely mistaken for another size of the model; the others
/// tell what follows them. Not every model takes each: tables of positions end, and images are halved.
const SIZES: [([usize; 4], usize); 4] = [
    ([11, 13, 17, 19], 64),
    ([23, 29, 31, 37], 48),
    ([7, 5, 3, 9], 96),
    ([12, 10, 8, 6], 32),
];
/// How many there are beside the first.
pub(super) const OTHERS: usize = SIZES.len() - 1;

/// How open axes are read.
#[derive(Clone, Debug)]
pub(super) struct Open {
    /// What the outermost open axis of the inputs is.
    extent: Extent,
    /// The name of the batch axis, if it has one.
    batch: Option<String>,
    sizes: HashMap<String, usize>,
    /// Which of [`SIZES`] they have.
    lengths: usize,
}

impl Open {
    pub(super) fn new(extent: Extent, lengths: usize) -> Open {
        Open {
            extent,
            batch: None,
            sizes: HashMap::new(),
            lengths,
        }
    }

    /// Whether there are open axes other than the batch.
    pub(super) fn has_sizes(&self) -> bool {
        !self.sizes.is_empty()
    }

    /// The shape of an input. Its outermost axis is the batch if it is open; one that is fixed to
    /// 1 stays fixed.
    pub(super) fn input(&mut self, stated: &TypeProto) -> Option<Shape> {
        let dims = &stated.tensor_type.as_ref()?.shape.as_ref()?.dim;
        let rank = dims.len();
        if rank > MAX_RANK {
            return None;
        }
        let extents = dims.iter().enumerate().map(|(axis, dim)| {
            if let Some(size) = fixed(dim) {
                return Some(Extent::Fixed(size));
            }
            let name = dim.dim_param();
            if axis == 0 && (self.batch.is_none() || self.batch.as_deref() == Some(name)) {
                self.batch = Some(name.to_owned());
                return Some(self.extent);
            }
            if self.batch.as_deref() == Some(name) && !name.is_empty() {
                return Some(self.extent);
            }
            let (sizes, pixels) = SIZES[self.lengths % SIZES.len()];
            let next = sizes[self.sizes.len() % sizes.len()];
            let open = if rank == 4 { pixels } else { next };
            let key = match name {
                "" => format!("?{}", self.sizes.len()),
                name => name.to_owned(),
            };
            Some(Extent::Fixed(*self.sizes.entry(key).or_insert(open)))
        });
        extents.collect()
    }

    /// The shape of another value, if all of its axes are known by now.
    pub(super) fn value(&self, stated: &TypeProto) -> Option<Shape> {
        let dims = &stated.tensor_type.as_ref()?.shape.as_ref()?.dim;
        if dims.len() > MAX_RANK {
            return None;
        }
        let extents = dims.iter().map(|dim| match (fixed(dim), dim.dim_param()) {
            (Some(size), _) => Some(Extent::Fixed(size)),
            (None, "") => None,
            (None, name) if self.batch.as_deref() == Some(name) => Some(self.extent),
            (None, name) => self.sizes.get(name).map(|size| Extent::Fixed(*size)),
        });
        extents.collect()
    }
}

fn fixed(dim: &Dimension) -> Option<usize> {
    let size = usize::try_from(dim.dim_value?).ok()?;
    (size > 0).then_some(size)
}
