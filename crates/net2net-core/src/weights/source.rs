//! Tensors that are made when they are asked for, so that never all of them are in memory.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use net2net_kernels::Real;
use net2net_kernels::slices::{Word, scale};
use net2net_kernels::streamed::RowSource;

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

    /// The same numbers in f64.
    ///
    /// # Errors
    /// Those of [`Source::tensor`].
    fn wide(&self, name: &str) -> Result<Tensor<f64>, WeightsError> {
        Ok(self.tensor(name)?.cast())
    }

    /// The same numbers where they lie, if they lie somewhere as row-major single floats.
    ///
    /// # Errors
    /// Those of [`Source::tensor`].
    fn words(&self, _name: &str) -> Result<Option<Words<'_>>, WeightsError> {
        Ok(None)
    }

    /// The same numbers a few rows at a time, if they can be had without making all of them.
    ///
    /// # Errors
    /// Those of [`Source::tensor`].
    fn rows(&self, name: &str) -> Result<Option<Rows<'_, T>>, WeightsError> {
        Ok(self.words(name)?.map(Words::into_rows))
    }
}

/// A tensor's numbers as single floats where they lie; what holds them is dropped with it.
pub struct Words<'a> {
    shape: Vec<usize>,
    holder: Box<dyn AsRef<[Word]> + Send + Sync + 'a>,
}

impl<'a> Words<'a> {
    /// Those of a holder.
    ///
    /// # Errors
    /// [`WeightsError::Length`] if they do not fill the shape.
    pub fn new(
        shape: Vec<usize>,
        holder: impl AsRef<[Word]> + Send + Sync + 'a,
    ) -> Result<Self, WeightsError> {
        let count = holder.as_ref().len();
        let wanted = shape.iter().try_fold(1usize, |n, s| n.checked_mul(*s));
        if wanted != Some(count) {
            return Err(WeightsError::Length { shape, count });
        }
        Ok(Words {
            shape,
            holder: Box::new(holder),
        })
    }

    /// The sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// All numbers.
    pub fn all(&self) -> &[Word] {
        (*self.holder).as_ref()
    }

    /// The same, converted a few rows at a time.
    pub fn into_rows<T: Real>(self) -> Rows<'a, T> {
        Rows {
            shape: self.shape.clone(),
            source: Box::new(self),
        }
    }
}

impl fmt::Debug for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words")
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

impl<T: Real> RowSource<T> for Words<'_> {
    fn read(&self, rows: Range<usize>, to: &mut [T]) {
        let width = to.len() / rows.len().max(1);
        scale(&self.all()[rows.start * width..][..to.len()], &[], to);
    }
}

/// A tensor whose slices along its first axis are made a few at a time.
pub struct Rows<'a, T> {
    shape: Vec<usize>,
    source: Box<dyn RowSource<T> + 'a>,
}

impl<'a, T> Rows<'a, T> {
    /// A tensor of the given sizes, and what makes its rows.
    pub fn new(shape: Vec<usize>, source: Box<dyn RowSource<T> + 'a>) -> Self {
        Rows { shape, source }
    }

    /// The sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Elements of one row.
    pub fn width(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// What makes the rows.
    pub fn source(&self) -> &dyn RowSource<T> {
        &*self.source
    }
}

impl<T> fmt::Debug for Rows<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
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
        self.0.wide(name).map(Cow::Owned)
    }

    fn words(&self, name: &str) -> Result<Option<Words<'_>>, WeightsError> {
        self.0.words(name)
    }
}

/// At most so many are made at a time: each may be as large as the largest tensor.
const AHEAD_MAX: usize = 2;

/// Makes `count` things on up to two threads, each when there is room for it, and gives them to
/// `consume` in their order: it is called once, with what waits for the next one. With one thread
/// each is made when it is asked for. What is not asked for is dropped.
pub fn in_turns<R: Send, O>(
    count: usize,
    threads: usize,
    make: impl Fn(usize) -> R + Sync,
    consume: impl FnOnce(&mut dyn FnMut() -> Option<R>) -> O,
) -> O {
    let workers = threads.min(AHEAD_MAX).min(count);
    let mut at = 0;
    if workers < 2 {
        return consume(&mut || {
            let made = (at < count).then(|| make(at));
            at += 1;
            made
        });
    }
    thread::scope(|scope| {
        let make = &make;
        let start = |worker: usize| -> Receiver<R> {
            // A thread that has made one waits until it is taken.
            let (sender, receiver) = sync_channel(0);
            scope.spawn(move || {
                let mut own = (worker..count).step_by(workers);
                while own.next().is_some_and(|at| sender.send(make(at)).is_ok()) {}
            });
            receiver
        };
        let receivers: Vec<Receiver<R>> = (0..workers).map(start).collect();
        consume(&mut || {
            let made = receivers[at % workers].recv().ok();
            at += 1;
            made
        })
    })
}
