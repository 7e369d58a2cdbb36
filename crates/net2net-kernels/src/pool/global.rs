//! The mean of each channel over a whole image.

use crate::columns::strip_sums;
use crate::lanes::vectorized;
use crate::rows::{In, Out};
use crate::{Context, Real};

/// `y[image][channel]` is the mean of `x[image][pixel][channel]` over `pixels` pixels.
///
/// # Panics
/// If `x` is not `batch × pixels × c`, or `y` not `batch × c`.
pub fn global_average_forward<T: Real>(
    cx: &mut Context<T>,
    batch: usize,
    pixels: usize,
    c: usize,
    x: &[T],
    y: &mut [T],
) {
    let image = pixels * c;
    assert!(x.len() == batch * image && y.len() == batch * c);
    cx.for_rows(
        batch,
        image,
        (In(x, image), Out(y, c)),
        |range, (In(x, _), Out(y, _)), _| {
            for i in 0..range.len() {
                let x = &x[i * image..][..image];
                let [sums] = strip_sums(
                    c,
                    [x],
                    [],
                    #[inline(always)]
                    |[x]: [T; 1], []| [x],
                );
                for (y, sum) in y[i * c..][..c].iter_mut().zip(sums) {
                    *y = T::from_f64(sum / pixels as f64);
                }
            }
        },
    );
}

/// The gradient of [`global_average_forward`]: `dy / pixels` for each pixel.
///
/// # Panics
/// If `dx` is not `batch × pixels × c`, or `dy` not `batch × c`.
pub fn global_average_backward<T: Real>(
    cx: &mut Context<T>,
    batch: usize,
    pixels: usize,
    c: usize,
    dy: &[T],
    dx: &mut [T],
    accumulate: bool,
) {
    let image = pixels * c;
    assert!(dx.len() == batch * image && dy.len() == batch * c);
    let share = T::from_f64(1.0 / pixels as f64);
    cx.for_rows(
        batch,
        image,
        (In(dy, c), Out(dx, image)),
        |range, (In(dy, _), Out(dx, _)), _| {
            vectorized(
                #[inline(always)]
                || {
                    for i in 0..range.len() {
                        let dy = &dy[i * c..][..c];
                        for dx in dx[i * image..][..image].chunks_exact_mut(c.max(1)) {
                            for (dx, &dy) in dx.iter_mut().zip(dy) {
                                *dx = if accumulate {
                                    *dx + dy * share
                                } else {
                                    dy * share
                                };
                            }
                        }
                    }
                },
            );
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, dot, on_all, random};

    #[test]
    fn means_and_their_gradients_are_those_of_the_naive_loop() {
        for (batch, pixels, c) in [(1, 1, 1), (3, 49, 40), (2, 200, 100)] {
            let x = random(1, batch * pixels * c);
            let dy = random(2, batch * c);
            let mut y = vec![0.0; batch * c];
            let mut dx = vec![0.0; x.len()];
            for i in 0..x.len() {
                let o = i / (pixels * c) * c + i % c;
                y[o] += x[i] / pixels as f64;
                dx[i] = dy[o] / pixels as f64;
            }
            assert!((dot(&y, &dy) - dot(&x, &dx)).abs() < 1e-9);
            on_all!(|cx, T| {
                let (x, dy) = (cast::<T>(&x), cast::<T>(&dy));
                let mut actual = vec![T::default(); y.len()];
                global_average_forward(&mut cx, batch, pixels, c, &x, &mut actual);
                close(&actual, &y);
                let mut actual = vec![T::from_f64(1.0); dx.len()];
                global_average_backward(&mut cx, batch, pixels, c, &dy, &mut actual, true);
                close(&actual, &dx.iter().map(|x| x + 1.0).collect::<Vec<_>>());
                global_average_backward(&mut cx, batch, pixels, c, &dy, &mut actual, false);
                close(&actual, &dx);
            });
        }
    }
}
