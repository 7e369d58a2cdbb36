//! Loops over channels that the compiler turns into vectors, for whatever machine runs them.

use pulp::{Arch, NullaryFnOnce};

use crate::Real;

/// Runs `f` compiled for the best instruction set of this machine. Mark the closure
/// `#[inline(always)]`, and all that it calls: only what is inlined is compiled for it. One call
/// costs a few nanoseconds, so call it for a chunk of work rather than for a row.
#[inline(always)]
pub(crate) fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    struct Op<F>(F);
    impl<R, F: FnOnce() -> R> NullaryFnOnce for Op<F> {
        type Output = R;
        #[inline(always)]
        fn call(self) -> R {
            (self.0)()
        }
    }
    Arch::new().dispatch(Op(f))
}

/// Work on `L` neighbouring channels at once. With `L` known to the compiler, an array `[T; L]`
/// lives in vector registers across a loop over pixels or rows.
pub(crate) trait LaneKernel {
    /// Does the channels `channel..channel + L`.
    fn run<const L: usize>(&mut self, channel: usize);
}

/// Runs `kernel` over all of `channels` channels, in blocks of 32, then 8, then one.
#[inline(always)]
pub(crate) fn over_lanes(channels: usize, kernel: &mut impl LaneKernel) {
    let mut channel = 0;
    while channel + 32 <= channels {
        kernel.run::<32>(channel);
        channel += 32;
    }
    while channel + 8 <= channels {
        kernel.run::<8>(channel);
        channel += 8;
    }
    while channel < channels {
        kernel.run::<1>(channel);
        channel += 1;
    }
}

/// The `L` elements of `data` at `at`.
#[inline(always)]
pub(crate) fn load<T: Copy, const L: usize>(data: &[T], at: usize) -> [T; L] {
    let mut lanes = [data[at]; L];
    lanes.copy_from_slice(&data[at..at + L]);
    lanes
}

/// [`load`] from each of `K` slices. (A plain loop: `map` on an array is not always inlined, and
/// then it is a call into code for the oldest machine.)
#[inline(always)]
pub(crate) fn load_each<T: Real, const L: usize, const K: usize>(
    slices: &[&[T]; K],
    at: usize,
) -> [[T; L]; K] {
    let mut vectors = [[T::zero(); L]; K];
    for k in 0..K {
        vectors[k].copy_from_slice(&slices[k][at..at + L]);
    }
    vectors
}

/// Element `lane` of each of `K` vectors.
#[inline(always)]
pub(crate) fn lane_of<T: Real, const L: usize, const K: usize>(
    vectors: &[[T; L]; K],
    lane: usize,
) -> [T; K] {
    let mut elements = [T::zero(); K];
    for k in 0..K {
        elements[k] = vectors[k][lane];
    }
    elements
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Count(Vec<usize>);

    impl LaneKernel for Count {
        fn run<const L: usize>(&mut self, channel: usize) {
            for n in &mut self.0[channel..channel + L] {
                *n += 1;
            }
        }
    }

    #[test]
    fn every_channel_is_visited_once() {
        for channels in 0..100 {
            let mut count = Count(vec![0; channels]);
            over_lanes(channels, &mut count);
            assert!(count.0.iter().all(|&n| n == 1));
        }
    }
}
