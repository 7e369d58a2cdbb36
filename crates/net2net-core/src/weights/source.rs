//! Tensors that are made when they are asked for, so that never all of them are in memory.

use std::borrow::Cow;

use net2net_kernels::Real;

use super::{Tensor, Weights, WeightsError};

/// Something that has the parameters of a network: weights in memory, a file, or another source
/// whose parameters are grown one by one.
pub trait Source<T: Real>: Sync {
    /// The tensor of a parameter, row-major, in the graph's own shape.
    ///
    /// # Errors
    /// [`WeightsError::Missing`] if there is none of this name, [`WeightsError::Unreadable`] if its
    /// numbers cannot be had.
    fn tensor(&self, name: &str) -> Result<Cow<'_, Tensor<T>>, WeightsError>;
}

impl<T: Real> Source<T> for Weights<T> {
    fn tensor(&self, name: &str) -> Result<Cow<'_, Tensor<T>>, WeightsError> {
        self.require(name).map(Cow::Borrowed)
    }
}

/// A source in f32 as one in f64.
#[derive(Clone, Copy)]
pub struct Widened<'a>(pub &'a dyn Source<f32>);

impl Source<f64> for Widened<'_> {
    fn tensor(&self, name: &str) -> Result<Cow<'_, Tensor<f64>>, WeightsError> {
        let narrow = self.0.tensor(name)?;
        let numbers = narrow.data();
        let mut wide = vec![0.0; numbers.len()];
        in_parts(&mut wide, 1, |first, part| {
            for (to, from) in part.iter_mut().zip(&numbers[first..]) {
                *to = f64::from(*from);
            }
        });
        Tensor::new(narrow.shape().to_vec(), wide).map(Cow::Owned)
    }
}

/// Fewer elements than this are not worth a second thread.
const PART_MIN: usize = 1 << 16;

/// Fills `data`, whose rows have `row` elements, in parts on all threads: `work` gets the number of
/// a part's first row, and the part.
pub fn in_parts<T: Send>(data: &mut [T], row: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    use rayon::prelude::*;
    let rows = (PART_MIN / row.max(1)).max(1);
    if data.len() <= PART_MIN {
        return work(0, data);
    }
    let parts = data.par_chunks_mut(rows * row.max(1)).enumerate();
    parts.for_each(|(part, data)| work(part * rows, data));
}
