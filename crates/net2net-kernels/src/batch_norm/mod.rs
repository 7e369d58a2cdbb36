//! Batch normalisation over `rows × c`, with a ReLU in the same pass if wanted.
//!
//! `y = (x − mean) · inv_std · gamma + beta` for each of `c` channels, with
//! `inv_std = 1 / √(var + eps)`. Rows are all pixels of all images.

mod moments;
mod strips;
#[cfg(test)]
mod tests;

use moments::Moments;
use strips::for_strips;

use crate::columns::strip_sums;
use crate::rows::{In, Out};
use crate::{Context, Real};

/// Normalises by the statistics of this batch and leaves them in `mean`, `inv_std` and
/// `var_biased` (each `c` long; the variance divides by `rows`). With `relu`, `y` is
/// `max(y, 0)`.
///
/// The statistics are exact to rounding in `f32` also where the mean dwarfs the deviation: each
/// strip of rows is looked at twice, and strips are merged in `f64`.
///
/// # Panics
/// If a slice has not the length that its name says.
pub fn forward_train<T: Real>(
    cx: &mut Context<T>,
    rows: usize,
    c: usize,
    x: &[T],
    gamma: &[T],
    beta: &[T],
    eps: f64,
    relu: bool,
    y: &mut [T],
    mean: &mut [T],
    inv_std: &mut [T],
    var_biased: &mut [T],
) {
    assert!(x.len() == rows * c && y.len() == rows * c);
    assert!(
        [gamma, beta, mean, inv_std, var_biased]
            .iter()
            .all(|p| p.len() == c)
    );
    let parts = cx.for_rows(rows, c, In(x, c), |_, In(x, _), _| Moments::of(c, x));
    let mut total = Moments::of::<T>(c, &[]);
    parts.iter().for_each(|part| total.merge(part));
    for j in 0..c {
        let var = total.squares[j] / (rows as f64).max(1.0);
        mean[j] = T::from_f64(total.mean[j]);
        var_biased[j] = T::from_f64(var);
        inv_std[j] = T::from_f64(1.0 / (var + eps).sqrt());
    }
    normalize(cx, rows, c, x, gamma, beta, mean, inv_std, relu, y);
}

/// Normalises by given statistics. With `relu`, `y` is `max(y, 0)`.
///
/// # Panics
/// If a slice has not the length that its name says.
pub fn forward_eval<T: Real>(
    cx: &mut Context<T>,
    rows: usize,
    c: usize,
    x: &[T],
    gamma: &[T],
    beta: &[T],
    mean: &[T],
    var: &[T],
    eps: f64,
    relu: bool,
    y: &mut [T],
) {
    assert!(x.len() == rows * c && y.len() == rows * c);
    assert!([gamma, beta, mean, var].iter().all(|p| p.len() == c));
    let inv_std: Vec<T> = var
        .iter()
        .map(|&v| T::from_f64(1.0 / (v.to_f64() + eps).sqrt()))
        .collect();
    normalize(cx, rows, c, x, gamma, beta, mean, &inv_std, relu, y);
}

/// The gradients of [`forward_train`], through the statistics too. `dx` obeys `accumulate`, the
/// parameters' gradients `accumulate_params`. With `relu`, `y` is the forward output, and the
/// gradient passes where `y > 0`; without, `y` is not read and may be empty.
///
/// # Panics
/// If a slice has not the length that its name says.
pub fn backward<T: Real>(
    cx: &mut Context<T>,
    rows: usize,
    c: usize,
    x: &[T],
    y: &[T],
    dy: &[T],
    gamma: &[T],
    mean: &[T],
    inv_std: &[T],
    relu: bool,
    dx: &mut [T],
    accumulate: bool,
    dgamma: &mut [T],
    dbeta: &mut [T],
    accumulate_params: bool,
) {
    assert!(x.len() == rows * c && dy.len() == rows * c && dx.len() == rows * c);
    assert!(
        [gamma, mean, inv_std, dgamma, dbeta]
            .iter()
            .all(|p| p.len() == c)
    );
    assert!(!relu || y.len() == rows * c);
    let gate = if relu { y } else { dy }; // any slice of that length will do

    let data = (In(x, c), In(gate, c), In(dy, c));
    let parts = cx.for_rows(rows, c, data, |_, (In(x, _), In(gate, _), In(dy, _)), _| {
        if relu {
            strip_sums(
                c,
                [x, gate, dy],
                [mean],
                #[inline(always)]
                |[x, y, dy]: [T; 3], [mean]: [T; 1]| {
                    let dy = gated(y, dy);
                    [dy, dy * (x - mean)]
                },
            )
        } else {
            strip_sums(
                c,
                [x, dy],
                [mean],
                #[inline(always)]
                |[x, dy]: [T; 2], [mean]: [T; 1]| [dy, dy * (x - mean)],
            )
        }
    });
    let [mut center, mut tilt, mut scale] = [(); 3].map(|()| vec![T::zero(); c]);
    for j in 0..c {
        let sum = |n: usize| parts.iter().map(|part| part[n][j]).sum::<f64>();
        let (dy_sum, dy_x_sum, inv_std) = (sum(0), sum(1), inv_std[j].to_f64());
        let count = (rows as f64).max(1.0);
        let (db, dg) = (T::from_f64(dy_sum), T::from_f64(dy_x_sum * inv_std));
        dbeta[j] = if accumulate_params { dbeta[j] + db } else { db };
        dgamma[j] = if accumulate_params {
            dgamma[j] + dg
        } else {
            dg
        };
        center[j] = T::from_f64(dy_sum / count);
        tilt[j] = T::from_f64(dy_x_sum * inv_std * inv_std / count);
        scale[j] = T::from_f64(inv_std * gamma[j].to_f64());
    }
    let params = [mean, &center[..], &tilt[..], &scale[..]];
    let data = (In(x, c), In(gate, c), In(dy, c), Out(dx, c));
    cx.for_rows(
        rows,
        c,
        data,
        |_, (In(x, _), In(gate, _), In(dy, _), Out(dx, _)), _| match (relu, accumulate) {
            (false, false) => for_strips(
                c,
                [x, dy],
                params,
                dx,
                #[inline(always)]
                |[x, dy]: [T; 2], p, _| input_slope(p, x, dy),
            ),
            (false, true) => for_strips(
                c,
                [x, dy],
                params,
                dx,
                #[inline(always)]
                |[x, dy]: [T; 2], p, dx| dx + input_slope(p, x, dy),
            ),
            (true, false) => for_strips(
                c,
                [x, gate, dy],
                params,
                dx,
                #[inline(always)]
                |[x, y, dy]: [T; 3], p, _| input_slope(p, x, gated(y, dy)),
            ),
            (true, true) => for_strips(
                c,
                [x, gate, dy],
                params,
                dx,
                #[inline(always)]
                |[x, y, dy]: [T; 3], p, dx| dx + input_slope(p, x, gated(y, dy)),
            ),
        },
    );
}

/// The gradient that a ReLU with output `y` lets through.
#[inline(always)]
fn gated<T: Real>(y: T, dy: T) -> T {
    if y > T::zero() { dy } else { T::zero() }
}

/// `(dy − mean of dy − (x − mean) · tilt) · scale`.
#[inline(always)]
fn input_slope<T: Real>([mean, center, tilt, scale]: [T; 4], x: T, dy: T) -> T {
    (dy - center - (x - mean) * tilt) * scale
}

#[inline(always)]
fn affine<T: Real>([mean, scale, beta]: [T; 3], x: T) -> T {
    (x - mean) * scale + beta
}

fn normalize<T: Real>(
    cx: &mut Context<T>,
    rows: usize,
    c: usize,
    x: &[T],
    gamma: &[T],
    beta: &[T],
    mean: &[T],
    inv_std: &[T],
    relu: bool,
    y: &mut [T],
) {
    let scale: Vec<T> = gamma.iter().zip(inv_std).map(|(&g, &s)| g * s).collect();
    let params = [mean, &scale[..], beta];
    cx.for_rows(
        rows,
        c,
        (In(x, c), Out(y, c)),
        |_, (In(x, _), Out(y, _)), _| {
            if relu {
                for_strips(
                    c,
                    [x],
                    params,
                    y,
                    #[inline(always)]
                    |[x]: [T; 1], p, _| {
                        let y = affine(p, x);
                        if y < T::zero() { T::zero() } else { y }
                    },
                );
            } else {
                for_strips(
                    c,
                    [x],
                    params,
                    y,
                    #[inline(always)]
                    |[x]: [T; 1], p, _| affine(p, x),
                );
            }
        },
    );
}
