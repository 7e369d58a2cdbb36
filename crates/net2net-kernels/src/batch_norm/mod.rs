//! Batch normalisation over `rows × c`, in the same pass with the residual and the ReLU that follow it.
//!
//! `y = relu((x − mean) · inv_std · gamma + beta + residual)` for each of `c` channels, with
//! `inv_std = 1 / √(var + eps)`; both, the residual (He et al. 2016) and the ReLU, only if wanted. Rows are
//! all pixels of all images.

mod backward;
mod moments;
mod strips;
#[cfg(test)]
mod tests;

pub use backward::{InputGradient, Sums, backward};
pub use moments::Moments;
use strips::for_strips;

use crate::rows::{In, Out};
use crate::{Context, Real};

/// Normalises by the statistics of this batch and leaves them in `mean`, `inv_std` and
/// `var_biased` (each `c` long; the variance divides by `rows`). Then adds the residual, and with
/// `relu`, `y` is `max(y, 0)`.
///
/// The statistics are exact to rounding in `f32` also where the mean dwarfs the deviation: deviations
/// are those from the mean of the rows before (of the first ones from that of the first 64), and merged in `f64`.
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
    residual: Option<&[T]>,
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
    let mut moments = Moments::none(c);
    moments.add(cx, x);
    moments.statistics(eps, [mean, inv_std, var_biased]);
    normalize(
        cx, rows, c, x, gamma, beta, mean, inv_std, residual, relu, y,
    );
}

/// Normalises by given statistics and adds the residual. With `relu`, `y` is then `max(y, 0)`.
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
    residual: Option<&[T]>,
    relu: bool,
    y: &mut [T],
) {
    assert!(x.len() == rows * c && y.len() == rows * c);
    assert!([gamma, beta, mean, var].iter().all(|p| p.len() == c));
    let inv_std: Vec<T> = var
        .iter()
        .map(|&v| T::from_f64(1.0 / (v.to_f64() + eps).sqrt()))
        .collect();
    normalize(
        cx, rows, c, x, gamma, beta, mean, &inv_std, residual, relu, y,
    );
}

/// What normalising does to each channel: `(x − mean) · scale + beta`, as the means, the scales and the shifts in a line.
pub fn coefficients<T: Real>(mean: &[T], inv_std: &[T], gamma: &[T], beta: &[T]) -> Vec<T> {
    let scale = gamma.iter().zip(inv_std).map(|(&g, &s)| g * s);
    mean.iter()
        .copied()
        .chain(scale)
        .chain(beta.iter().copied())
        .collect()
}

/// The three parts of [`coefficients`].
fn parts_of<T>(coefficients: &[T]) -> [&[T]; 3] {
    let c = coefficients.len() / 3;
    assert_eq!(coefficients.len(), 3 * c, "three coefficients a channel");
    let (mean, rest) = coefficients.split_at(c);
    let (scale, beta) = rest.split_at(c);
    [mean, scale, beta]
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
    residual: Option<&[T]>,
    relu: bool,
    y: &mut [T],
) {
    assert!(x.len() == rows * c && y.len() == rows * c);
    assert!([gamma, beta, mean, inv_std].iter().all(|p| p.len() == c));
    apply(
        cx,
        x,
        &coefficients(mean, inv_std, gamma, beta),
        residual,
        relu,
        y,
    );
}

/// Normalises any number of rows by [`coefficients`], adds the residual, and with `relu` rectifies.
///
/// # Panics
/// If the lengths do not fit together.
pub fn apply<T: Real>(
    cx: &mut Context<T>,
    x: &[T],
    coefficients: &[T],
    residual: Option<&[T]>,
    relu: bool,
    y: &mut [T],
) {
    let params = parts_of(coefficients);
    let c = params[0].len();
    let rows = x.len() / c.max(1);
    assert!(x.len() == rows * c && y.len() == x.len());
    assert!(residual.is_none_or(|residual| residual.len() == y.len()));
    if relu {
        affine_rows(
            cx,
            rows,
            c,
            x,
            params,
            residual,
            y,
            #[inline(always)]
            |y| if y < T::zero() { T::zero() } else { y },
        );
    } else {
        affine_rows(
            cx,
            rows,
            c,
            x,
            params,
            residual,
            y,
            #[inline(always)]
            |y| y,
        );
    }
}

/// `y = finish((x − mean) · scale + beta + residual)`.
#[inline(always)]
fn affine_rows<T: Real>(
    cx: &mut Context<T>,
    rows: usize,
    c: usize,
    x: &[T],
    params: [&[T]; 3],
    residual: Option<&[T]>,
    y: &mut [T],
    finish: impl Fn(T) -> T + Sync,
) {
    let residual = residual.map(|residual| In(residual, c));
    let data = (In(x, c), residual, Out(y, c));
    cx.for_rows(
        rows,
        c,
        data,
        |_, (In(x, _), residual, Out(y, _)), _| match residual {
            Some(In(residual, _)) => for_strips(
                c,
                [x, residual],
                params,
                y,
                #[inline(always)]
                |[x, residual]: [T; 2], p, _| finish(affine(p, x) + residual),
            ),
            None => for_strips(
                c,
                [x],
                params,
                y,
                #[inline(always)]
                |[x]: [T; 1], p, _| finish(affine(p, x)),
            ),
        },
    );
}
