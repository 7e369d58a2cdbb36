//! Functions of each element by itself. Nothing here knows a shape.

use crate::lanes::vectorized;
use crate::rows::{In, Out};
use crate::{Context, Real};

/// `y = f(x)`, element by element.
pub fn map<T: Real>(cx: &mut Context<T>, x: &[T], y: &mut [T], f: impl Fn(T) -> T + Sync) {
    assert_eq!(x.len(), y.len());
    cx.for_rows(
        x.len(),
        1,
        (In(x, 1), Out(y, 1)),
        |_, (In(x, _), Out(y, _)), _| {
            write(false, x, y, &f);
        },
    );
}

/// `dx = dy · f(v)`, where `v` is whatever the slope is a function of: the input of the
/// activation, or its output.
pub fn map_backward<T: Real>(
    cx: &mut Context<T>,
    v: &[T],
    dy: &[T],
    dx: &mut [T],
    accumulate: bool,
    f: impl Fn(T) -> T + Sync,
) {
    zip(
        cx,
        v,
        dy,
        dx,
        accumulate,
        #[inline(always)]
        |v, dy| dy * f(v),
    );
}

/// `y = a + b`.
pub fn add<T: Real>(cx: &mut Context<T>, a: &[T], b: &[T], y: &mut [T]) {
    zip(
        cx,
        a,
        b,
        y,
        false,
        #[inline(always)]
        |a, b| a + b,
    );
}

/// `dst += src`.
pub fn accumulate<T: Real>(cx: &mut Context<T>, dst: &mut [T], src: &[T]) {
    assert_eq!(src.len(), dst.len());
    cx.for_rows(
        src.len(),
        1,
        (In(src, 1), Out(dst, 1)),
        |_, (In(src, _), Out(dst, _)), _| {
            write(
                true,
                src,
                dst,
                #[inline(always)]
                |x| x,
            );
        },
    );
}

/// `y = f(a, b)`, or `y += f(a, b)`, element by element.
pub fn zip<T: Real>(
    cx: &mut Context<T>,
    a: &[T],
    b: &[T],
    y: &mut [T],
    accumulate: bool,
    f: impl Fn(T, T) -> T + Sync,
) {
    assert!(a.len() == y.len() && b.len() == y.len());
    let data = (In(a, 1), In(b, 1), Out(y, 1));
    cx.for_rows(a.len(), 1, data, |_, (In(a, _), In(b, _), Out(y, _)), _| {
        write_zip(accumulate, a, b, y, &f);
    });
}

/// `y = max(x, 0)`; NaN stays NaN.
pub fn relu<T: Real>(cx: &mut Context<T>, x: &[T], y: &mut [T]) {
    map(
        cx,
        x,
        y,
        #[inline(always)]
        |x| if x < T::zero() { T::zero() } else { x },
    );
}

/// `dx = dy` where `y > 0`, elsewhere 0. `y` is the output of [`relu`]; its input does as well.
pub fn relu_backward<T: Real>(
    cx: &mut Context<T>,
    y: &[T],
    dy: &[T],
    dx: &mut [T],
    accumulate: bool,
) {
    zip(
        cx,
        y,
        dy,
        dx,
        accumulate,
        #[inline(always)]
        |y, dy| if y > T::zero() { dy } else { T::zero() },
    );
}

/// `dst[i] = f(i, src[i])`, or `dst[i] += f(i, src[i])`, on all threads.
pub(crate) fn map_indexed<T: Real>(
    cx: &mut Context<T>,
    src: &[T],
    dst: &mut [T],
    accumulate: bool,
    f: impl Fn(usize, T) -> T + Sync,
) {
    assert_eq!(src.len(), dst.len());
    cx.for_rows(
        src.len(),
        2,
        (In(src, 1), Out(dst, 1)),
        |range, (In(src, _), Out(dst, _)), _| {
            vectorized(
                #[inline(always)]
                || {
                    for (i, (d, &s)) in range.zip(dst.iter_mut().zip(src)) {
                        let y = f(i, s);
                        *d = if accumulate { *d + y } else { y };
                    }
                },
            );
        },
    );
}

/// `dst = f(src)`, or `dst += f(src)`, on this thread, vectorised.
#[inline(always)]
pub(crate) fn write<T: Real>(accumulate: bool, src: &[T], dst: &mut [T], f: impl Fn(T) -> T) {
    vectorized(
        #[inline(always)]
        || {
            let pairs = dst.iter_mut().zip(src);
            if accumulate {
                pairs.for_each(|(d, &s)| *d += f(s));
            } else {
                pairs.for_each(|(d, &s)| *d = f(s));
            }
        },
    );
}

/// `dst = f(a, b)`, or `dst += f(a, b)`, on this thread, vectorised.
#[inline(always)]
pub(crate) fn write_zip<T: Real>(
    accumulate: bool,
    a: &[T],
    b: &[T],
    dst: &mut [T],
    f: impl Fn(T, T) -> T,
) {
    vectorized(
        #[inline(always)]
        || {
            let triples = dst.iter_mut().zip(a.iter().zip(b));
            if accumulate {
                triples.for_each(|(d, (&a, &b))| *d += f(a, b));
            } else {
                triples.for_each(|(d, (&a, &b))| *d = f(a, b));
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, on_all, random};

    #[test]
    fn add_accumulate_and_relu_are_those_of_the_naive_loop() {
        let len = 40_001;
        let (a, b) = (random(1, len), random(2, len));
        let both = |f: fn(f64, f64) -> f64| -> Vec<f64> {
            a.iter().zip(&b).map(|(&a, &b)| f(a, b)).collect()
        };
        on_all!(|cx, T| {
            let (a, b) = (cast::<T>(&a), cast::<T>(&b));
            let mut y = vec![T::from_f64(7.0); len];
            add(&mut cx, &a, &b, &mut y);
            close(&y, &both(|a, b| a + b));
            accumulate(&mut cx, &mut y, &a);
            close(&y, &both(|a, b| a + b + a));
            relu(&mut cx, &a, &mut y);
            close(&y, &both(|a, _| a.max(0.0)));
            relu_backward(&mut cx, &a, &b, &mut y, true);
            close(&y, &both(|a, b| if a > 0.0 { a + b } else { 0.0 }));
            relu_backward(&mut cx, &a, &b, &mut y, false);
            close(&y, &both(|a, b| if a > 0.0 { b } else { 0.0 }));
        });
    }

    #[test]
    fn relu_passes_nan_on() {
        let mut cx = Context::<f32>::new(1).unwrap();
        let mut y = [0.0; 2];
        relu(&mut cx, &[f32::NAN, -1.0], &mut y);
        assert!(y[0].is_nan() && y[1] == 0.0);
    }
}
