//! Threads and scratch memory, and how kernels use them: rows of one kernel are dealt out to threads, or parts of the images with
//! several kernels in a row.

use std::fmt;
use std::ops::Range;

use rayon::ThreadPoolBuildError;

use crate::Real;
use crate::elementwise;
use crate::helpers::Helpers;
use crate::rows::{Out, Rows};

/// Elements of work below which a second thread costs more than it brings.
const ELEMENTS_PER_THREAD_MIN: usize = 16 * 1024;

/// Threads and scratch memory that kernels borrow; one per engine.
///
/// Scratch buffers grow to the largest size that any kernel asked for and stay, because
/// returning memory to the allocator each step was measured to cost half the speed.
pub struct Context<T> {
    /// The helpers; the calling thread does its share too, so there is one fewer than `threads`.
    helpers: Option<Helpers>,
    scratch: Vec<Vec<T>>,
    filter: Vec<T>,
    panels: Vec<T>,
    piece: Vec<T>,
    /// For work that each thread does by itself, one for each; none before the first such work.
    alone: Vec<Context<T>>,
}

impl<T: Real> Context<T> {
    /// A context with `threads` threads, the calling one included (0 counts as 1). With one
    /// thread nothing is started.
    pub fn new(threads: usize) -> Result<Self, ThreadPoolBuildError> {
        let threads = threads.max(1);
        let mut cx = Self::alone();
        if threads > 1 {
            cx.helpers = Some(Helpers::new(threads - 1)?);
            cx.scratch.resize(threads, Vec::new());
        }
        Ok(cx)
    }

    /// A context of the calling thread.
    fn alone() -> Self {
        Self {
            helpers: None,
            scratch: vec![Vec::new()],
            filter: Vec::new(),
            panels: Vec::new(),
            piece: Vec::new(),
            alone: Vec::new(),
        }
    }

    /// How many threads kernels run on.
    pub fn threads(&self) -> usize {
        self.scratch.len()
    }

    /// Cuts `rows` rows of `data` into at most one part per thread and runs `work` on each part
    /// at the same time. `work` gets the numbers of its rows, its part and its thread's scratch
    /// memory; the results come back in the order of the rows.
    ///
    /// `elements_per_row` is roughly how much work a row is, to spare threads from small jobs.
    /// Where the cuts fall depends on the sizes and on the number of threads only.
    pub(crate) fn for_rows<D, R, F>(
        &mut self,
        rows: usize,
        elements_per_row: usize,
        data: D,
        work: F,
    ) -> Vec<R>
    where
        D: Rows,
        R: Send,
        F: Fn(Range<usize>, D, &mut Vec<T>) -> R + Sync,
    {
        let useful = rows.saturating_mul(elements_per_row) / ELEMENTS_PER_THREAD_MIN;
        let parts = self.threads().min(useful).min(rows).max(1);
        deal(
            self.helpers.as_ref(),
            rows,
            data,
            &mut self.scratch[..parts],
            work,
        )
    }

    /// Cuts `rows` rows of `data` into one part per thread and runs `work` on all parts at the same time, each with a context of
    /// one thread, so that threads do not wait for each other before all is done. `work` gets the numbers of its rows, its part
    /// and its context; the results come back in the order of the rows. With fewer than `least` rows for each thread it is
    /// all one part, and the context this one.
    ///
    /// Where the cuts fall depends on the sizes and on the number of threads only.
    pub fn side_by_side<D, R, F>(&mut self, rows: usize, least: usize, data: D, work: F) -> Vec<R>
    where
        D: Rows,
        R: Send,
        F: Fn(Range<usize>, D, &mut Context<T>) -> R + Sync,
    {
        let threads = self.threads();
        if threads == 1 || rows < least.max(1).saturating_mul(threads) {
            return vec![work(0..rows, data, self)];
        }
        self.alone.resize_with(threads, Self::alone);
        deal(self.helpers.as_ref(), rows, data, &mut self.alone, work)
    }

    /// Adds the first `dst.len()` elements of what [`Self::put_piece`] got from each of the `parts` parts of the last
    /// [`Self::side_by_side`], in order, into `dst`.
    ///
    /// # Panics
    /// If one of them has fewer.
    pub fn sum_pieces(&mut self, parts: usize, dst: &mut [T], accumulate: bool) {
        let mut pieces: Vec<Vec<T>> = match parts {
            1 => vec![self.take_piece()],
            _ => self.alone[..parts]
                .iter_mut()
                .map(Self::take_piece)
                .collect(),
        };
        self.sum(&pieces, dst, accumulate);
        match (parts, pieces.pop()) {
            (1, Some(piece)) => self.put_piece(piece),
            (_, last) => {
                for (cx, piece) in self.alone.iter_mut().zip(pieces.into_iter().chain(last)) {
                    cx.put_piece(piece);
                }
            }
        }
    }

    /// Adds the first `dst.len()` elements of the first `parts` scratch buffers, in order, into
    /// `dst`: how partial sums left there by [`Self::for_rows`] come together.
    pub(crate) fn sum_scratch(&mut self, parts: usize, dst: &mut [T], accumulate: bool) {
        let empty = vec![Vec::new(); self.threads()];
        let partials = std::mem::replace(&mut self.scratch, empty);
        self.sum(&partials[..parts], dst, accumulate);
        self.scratch = partials;
    }

    /// Writes the sum of the first `dst.len()` elements of all buffers, in order, to `dst`, or adds it.
    fn sum(&mut self, partials: &[Vec<T>], dst: &mut [T], accumulate: bool) {
        let (len, parts) = (dst.len(), partials.len());
        self.for_rows(len, parts, Out(dst, 1), |range, Out(dst, _), _| {
            for (i, partial) in partials.iter().enumerate() {
                let src = &partial[range.clone()];
                elementwise::write(
                    accumulate || i > 0,
                    src,
                    dst,
                    #[inline(always)]
                    |x| x,
                );
            }
        });
    }

    /// The scratch buffers, one per thread.
    pub(crate) fn scratch(&self) -> &[Vec<T>] {
        &self.scratch
    }

    /// Lends out the buffer in which a convolution rearranges its filter; [`Self::put_filter`]
    /// takes it back, so that it keeps its size.
    pub(crate) fn take_filter(&mut self) -> Vec<T> {
        std::mem::take(&mut self.filter)
    }

    /// See [`Self::take_filter`].
    pub(crate) fn put_filter(&mut self, filter: Vec<T>) {
        self.filter = filter;
    }

    /// Lends out the buffer in which a convolution stores its filter panel by panel;
    /// [`Self::put_panels`] takes it back.
    pub(crate) fn take_panels(&mut self) -> Vec<T> {
        std::mem::take(&mut self.panels)
    }

    /// See [`Self::take_panels`].
    pub(crate) fn put_panels(&mut self, panels: Vec<T>) {
        self.panels = panels;
    }

    /// Lends out a buffer for what is worked on piece by piece, with what was left there before;
    /// [`Self::put_piece`] takes it back.
    pub fn take_piece(&mut self) -> Vec<T> {
        std::mem::take(&mut self.piece)
    }

    /// See [`Self::take_piece`].
    pub fn put_piece(&mut self, piece: Vec<T>) {
        self.piece = piece;
    }
}

/// Cuts rows into as many parts as there are `own`, and runs `work` on each part, each with one of them, at the same time.
fn deal<X, D, R, F>(
    helpers: Option<&Helpers>,
    rows: usize,
    data: D,
    own: &mut [X],
    work: F,
) -> Vec<R>
where
    X: Send,
    D: Rows,
    R: Send,
    F: Fn(Range<usize>, D, &mut X) -> R + Sync,
{
    let parts = own.len();
    let Some(helpers) = helpers.filter(|_| parts > 1) else {
        return vec![work(0..rows, data, &mut own[0])];
    };
    let mut results: Vec<Option<R>> = (0..parts).map(|_| None).collect();
    let work = &work;
    helpers.scope(parts - 1, |helpers| {
        let mut rest = data;
        for (part, (result, own)) in results.iter_mut().zip(own).enumerate() {
            let range = part * rows / parts..(part + 1) * rows / parts;
            let (mine, others) = rest.split_rows(range.len());
            rest = others;
            if part + 1 == parts {
                *result = Some(work(range, mine, own));
            } else {
                helpers.spawn(move || *result = Some(work(range, mine, own)));
            }
        }
    });
    results.into_iter().flatten().collect()
}

impl<T: Real> fmt::Debug for Context<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("threads", &self.threads())
            .finish_non_exhaustive()
    }
}

/// The first `len` elements of a buffer that grows and never shrinks. They hold what was left
/// there before.
pub(crate) fn grown<T: Real>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::zero());
    }
    &mut buffer[..len]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_dealt_out_once_and_in_order() {
        for threads in [1, 2, 3] {
            let mut cx = Context::<f64>::new(threads).unwrap();
            let mut data = vec![0.0; 7 * 3];
            let ranges = cx.for_rows(7, 1 << 20, Out(&mut data, 3), |range, Out(part, _), _| {
                for (row, values) in range.clone().zip(part.chunks_mut(3)) {
                    values.fill(row as f64);
                }
                range
            });
            assert_eq!(ranges.len(), threads);
            assert_eq!(
                ranges.into_iter().flatten().collect::<Vec<_>>(),
                (0..7).collect::<Vec<_>>()
            );
            assert!(data.iter().enumerate().all(|(i, &x)| x == (i / 3) as f64));
        }
    }

    #[test]
    fn threads_side_by_side_have_contexts_of_their_own_and_their_pieces_come_together() {
        for (threads, rows, parts) in [(1, 7, 1), (2, 7, 2), (3, 7, 3), (3, 5, 1), (2, 0, 1)] {
            let mut cx = Context::<f64>::new(threads).unwrap();
            for _ in 0..2 {
                let mut data = vec![1.0; rows * 3];
                let work =
                    |range: Range<usize>, Out(part, _): Out<'_, f64>, own: &mut Context<f64>| {
                        assert_eq!(part.len(), range.len() * 3);
                        part.fill(2.0);
                        let mut piece = own.take_piece();
                        piece.clear();
                        piece.extend([range.len() as f64, 5.0]);
                        own.put_piece(piece);
                        own.threads()
                    };
                let each = cx.side_by_side(rows, 2, Out(&mut data, 3), work);
                let own = if parts == 1 { threads } else { 1 };
                assert_eq!(each, vec![own; parts]);
                assert!(data.iter().all(|x| *x == 2.0));
                let mut sum = [10.0];
                cx.sum_pieces(parts, &mut sum, true);
                assert_eq!(sum, [10.0 + rows as f64]);
            }
        }
    }

    #[test]
    fn no_rows_are_no_trouble() {
        let mut cx = Context::<f32>::new(2).unwrap();
        assert_eq!(cx.for_rows(0, 1, (), |range, (), _| range.len()), [0]);
    }
}
