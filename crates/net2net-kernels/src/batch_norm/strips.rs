//! The pass over elements: vectorised over channels, with each channel's parameters in registers.

use crate::Real;
use crate::columns::{joined_rows, walk_rows};
use crate::lanes::{LaneKernel, lane_of, load_each, over_lanes, vectorized};

/// `out = f(elements, parameters of the channel, out)` over rows of `K` matrices of equal shape.
#[inline(always)]
pub(super) fn for_strips<T: Real, const K: usize, const P: usize>(
    c: usize,
    matrices: [&[T]; K],
    per_channel: [&[T]; P],
    out: &mut [T],
    f: impl Fn([T; K], [T; P], T) -> T,
) {
    if c == 0 {
        return;
    }
    let joined = joined_rows(c, out.len());
    let many = per_channel.map(|p| p.repeat(joined));
    let len = out.len();
    let whole = len / (c * joined) * (c * joined);
    vectorized(
        #[inline(always)]
        || {
            let mut at = 0;
            // Rows joined to wide ones, then those that are left over.
            while at < len {
                let (wide, strip_end) = if at < whole {
                    (c * joined, whole)
                } else {
                    (c, len)
                };
                let end = strip_end.min(at + walk_rows(wide) * wide);
                let strip = matrices.map(
                    #[inline(always)]
                    |m| &m[at..end],
                );
                let per_channel = many.each_ref().map(
                    #[inline(always)]
                    |p| &p[..wide],
                );
                over_lanes(
                    wide,
                    &mut Strip {
                        c: wide,
                        strip,
                        per_channel,
                        out: &mut out[at..end],
                        f: &f,
                    },
                );
                at = end;
            }
        },
    );
}

struct Strip<'a, T, F, const K: usize, const P: usize> {
    c: usize,
    strip: [&'a [T]; K],
    per_channel: [&'a [T]; P],
    out: &'a mut [T],
    f: &'a F,
}

impl<T, F, const K: usize, const P: usize> LaneKernel for Strip<'_, T, F, K, P>
where
    T: Real,
    F: Fn([T; K], [T; P], T) -> T,
{
    #[inline(always)]
    fn run<const L: usize>(&mut self, channel: usize) {
        let params: [[T; L]; P] = load_each(&self.per_channel, channel);
        let mut at = channel;
        while at < self.out.len() {
            let rows: [[T; L]; K] = load_each(&self.strip, at);
            let out = &mut self.out[at..at + L];
            for lane in 0..L {
                out[lane] = (self.f)(lane_of(&rows, lane), lane_of(&params, lane), out[lane]);
            }
            at += self.c;
        }
    }
}
