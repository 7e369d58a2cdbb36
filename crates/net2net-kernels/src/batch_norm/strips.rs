//! The pass over elements: each row beside the parameters of its channels, which stay in the nearest cache.

use crate::Real;
use crate::lanes::vectorized;

/// How many numbers are to lie in a line at least: narrow rows are taken several at once.
const LINE_MIN: usize = 256;

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
    let joined = LINE_MIN.div_ceil(c).min((out.len() / (4 * c)).max(1));
    let many = per_channel.map(|p| p.repeat(joined));
    vectorized(
        #[inline(always)]
        || {
            let mut at = 0;
            while at < out.len() {
                let len = (out.len() - at).min(c * joined);
                let mut line = matrices;
                for k in 0..K {
                    line[k] = &matrices[k][at..at + len];
                }
                let mut parameters = [&[][..]; P];
                for p in 0..P {
                    parameters[p] = &many[p][..len];
                }
                for_line(line, parameters, &mut out[at..at + len], &f);
                at += len;
            }
        },
    );
}

#[inline(always)]
fn for_line<T: Real, const K: usize, const P: usize>(
    elements: [&[T]; K],
    parameters: [&[T]; P],
    out: &mut [T],
    f: &impl Fn([T; K], [T; P], T) -> T,
) {
    for i in 0..out.len() {
        let (mut element, mut parameter) = ([T::zero(); K], [T::zero(); P]);
        for k in 0..K {
            element[k] = elements[k][i];
        }
        for p in 0..P {
            parameter[p] = parameters[p][i];
        }
        out[i] = f(element, parameter, out[i]);
    }
}
