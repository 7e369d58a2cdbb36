//! Tensors that are made when they are asked for, so that never all of them are in memory.

use std::borrow::Cow;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

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

    /// The same numbers in f64.
    ///
    /// # Errors
    /// Those of [`Source::tensor`].
    fn wide(&self, name: &str) -> Result<Tensor<f64>, WeightsError> {
        Ok(self.tensor(name)?.cast())
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
