//! The gradients of batch normalisation.

use super::strips::for_strips;
use super::{affine, forward_scale};
use crate::columns::{STRIP_ROWS, strip_sums};
use crate::elementwise::{write, write_zip};
use crate::rows::{In, Out};
use crate::{Context, Real};

/// How much of a residual's gradient is written before it is read again: few enough elements to stay
/// in a core's own caches.
const PASSED_ELEMENTS: usize = 8 * 1024;

/// The gradients of [`super::forward_train`], through the statistics too. `dx` obeys `accumulate`, the
/// parameters' gradients `accumulate_params`; the residual's gradient, if asked for, comes with its own
/// word on that. With `relu`, the gradient passes where the output was above zero. What that was is read from
/// `y`, or if `y` is empty computed once more, which takes that there was no residual.
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
    [gamma, beta]: [&[T]; 2],
    mean: &[T],
    inv_std: &[T],
    relu: bool,
    residual: Option<(&mut [T], bool)>,
    dx: &mut [T],
    accumulate: bool,
    dgamma: &mut [T],
    dbeta: &mut [T],
    accumulate_params: bool,
) {
    assert!(x.len() == rows * c && dy.len() == rows * c && dx.len() == rows * c);
    assert!(
        [gamma, beta, mean, inv_std, dgamma, dbeta]
            .iter()
            .all(|p| p.len() == c)
    );
    let scale = forward_scale(gamma, inv_std);
    let forward = [mean, &scale[..], beta];
    assert!(y.is_empty() || y.len() == rows * c);
    let Some((passed, add)) = residual else {
        let gate = match (relu, y.is_empty()) {
            (false, _) => Gate::Open,
            (true, true) => Gate::Again,
            (true, false) => Gate::Above(y),
        };
        let data = (In(x, c), gate.rows(c), In(dy, c));
        let parts = cx.for_rows(rows, c, data, |_, (In(x, _), above, In(dy, _)), _| {
            gate.of_part(above).sums(c, [x, dy], forward)
        });
        let slopes = Slopes::new(rows, &parts, inv_std);
        slopes.put([dgamma, dbeta], accumulate_params);
        return slopes.input(cx, rows, gate, forward, [x, dy], dx, accumulate);
    };
    assert!(passed.len() == rows * c && (!relu || y.len() == rows * c));
    let y = if relu { y } else { dy }; // any slice of that length will do
    let data = (In(x, c), In(y, c), In(dy, c), Out(&mut *passed, c));
    let parts = cx.for_rows(
        rows,
        c,
        data,
        |_, (In(x, _), In(y, _), In(dy, _), Out(passed, _)), _| {
            pass_and_sum(c, [x, y, dy], relu, passed, add, mean)
        },
    );
    let slopes = Slopes::new(rows, &parts, inv_std);
    slopes.put([dgamma, dbeta], accumulate_params);
    let (gate, dy) = after_passing(y, dy, relu, passed, add);
    slopes.input(cx, rows, gate, forward, [x, dy], dx, accumulate);
}

/// Where a gradient passes on its way back.
#[derive(Clone, Copy)]
enum Gate<'a, T> {
    /// Everywhere.
    Open,
    /// Where what the forward pass computed is above zero: it is computed again.
    Again,
    /// Where these numbers are above zero.
    Above(&'a [T]),
}

impl<'a, T: Real> Gate<'a, T> {
    /// The numbers that it reads, to be dealt out to threads.
    fn rows(self, c: usize) -> Option<In<'a, T>> {
        match self {
            Gate::Above(y) => Some(In(y, c)),
            Gate::Open | Gate::Again => None,
        }
    }

    /// The same gate for a part of the rows.
    fn of_part<'b>(self, rows: Option<In<'b, T>>) -> Gate<'b, T> {
        match (self, rows) {
            (Gate::Above(_), Some(In(y, _))) => Gate::Above(y),
            (Gate::Again, _) => Gate::Again,
            _ => Gate::Open,
        }
    }

    /// `Σ dy` and `Σ dy · (x − mean)` of each channel, of what passes.
    #[inline(always)]
    fn sums(self, c: usize, [x, dy]: [&[T]; 2], forward: [&[T]; 3]) -> [Vec<f64>; 2] {
        let mean = [forward[0]];
        match self {
            Gate::Open => strip_sums(
                c,
                [x, dy],
                mean,
                #[inline(always)]
                |[x, dy]: [T; 2], [mean]: [T; 1]| [dy, dy * (x - mean)],
            ),
            Gate::Again => strip_sums(
                c,
                [x, dy],
                forward,
                #[inline(always)]
                |[x, dy]: [T; 2], p: [T; 3]| {
                    let dy = gated(affine(p, x), dy);
                    [dy, dy * (x - p[0])]
                },
            ),
            Gate::Above(y) => strip_sums(
                c,
                [x, y, dy],
                mean,
                #[inline(always)]
                |[x, y, dy]: [T; 3], [mean]: [T; 1]| {
                    let dy = gated(y, dy);
                    [dy, dy * (x - mean)]
                },
            ),
        }
    }
}

/// Hands the gradient on to the residual, and sums what is still in the cache.
fn pass_and_sum<T: Real>(
    c: usize,
    [x, y, dy]: [&[T]; 3],
    relu: bool,
    passed: &mut [T],
    add: bool,
    mean: &[T],
) -> [Vec<f64>; 2] {
    let mut totals = [(); 2].map(|()| vec![0.0; c]);
    let strips = (PASSED_ELEMENTS / (STRIP_ROWS * c.max(1))).max(1);
    let len = (strips * STRIP_ROWS * c).max(1);
    let chunks = x.chunks(len).zip(y.chunks(len)).zip(dy.chunks(len));
    for (((x, y), dy), passed) in chunks.zip(passed.chunks_mut(len)) {
        pass(y, dy, relu, passed, add);
        let (gate, dy) = after_passing(y, dy, relu, passed, add);
        let sums = gate.sums(c, [x, dy], [mean; 3]);
        for (total, sum) in totals.iter_mut().flatten().zip(sums.iter().flatten()) {
            *total += sum;
        }
    }
    totals
}

/// What is left to do once the residual has its gradient: if that is its own, it is what came through the ReLU.
fn after_passing<'a, T>(
    y: &'a [T],
    dy: &'a [T],
    relu: bool,
    passed: &'a [T],
    add: bool,
) -> (Gate<'a, T>, &'a [T]) {
    match (add, relu) {
        (false, _) => (Gate::Open, passed),
        (true, false) => (Gate::Open, dy),
        (true, true) => (Gate::Above(y), dy),
    }
}

/// `passed = dy` where it passes the ReLU, or `passed += dy`.
fn pass<T: Real>(y: &[T], dy: &[T], relu: bool, passed: &mut [T], add: bool) {
    match (relu, add) {
        (true, _) => write_zip(
            add,
            y,
            dy,
            passed,
            #[inline(always)]
            |y, dy| gated(y, dy),
        ),
        (false, true) => write(
            true,
            dy,
            passed,
            #[inline(always)]
            |dy| dy,
        ),
        (false, false) => passed.copy_from_slice(dy),
    }
}

/// What the gradients are made of, for each channel.
struct Slopes<T> {
    dgamma: Vec<T>,
    dbeta: Vec<T>,
    center: Vec<T>,
    tilt: Vec<T>,
}

impl<T: Real> Slopes<T> {
    /// From the sums of all parts.
    fn new(rows: usize, parts: &[[Vec<f64>; 2]], inv_std: &[T]) -> Self {
        let empty = || Vec::with_capacity(inv_std.len());
        let mut slopes = Slopes {
            dgamma: empty(),
            dbeta: empty(),
            center: empty(),
            tilt: empty(),
        };
        let count = (rows as f64).max(1.0);
        for (j, &inv_std) in inv_std.iter().enumerate() {
            let sum = |n: usize| parts.iter().map(|part| part[n][j]).sum::<f64>();
            let (dy_sum, dy_x_sum, inv_std) = (sum(0), sum(1), inv_std.to_f64());
            slopes.dbeta.push(T::from_f64(dy_sum));
            slopes.dgamma.push(T::from_f64(dy_x_sum * inv_std));
            slopes.center.push(T::from_f64(dy_sum / count));
            let tilt = dy_x_sum * inv_std * inv_std / count;
            slopes.tilt.push(T::from_f64(tilt));
        }
        slopes
    }

    /// Writes or adds the gradients of `gamma` and `beta`.
    fn put(&self, gradients: [&mut [T]; 2], accumulate: bool) {
        for (gradient, fresh) in gradients.into_iter().zip([&self.dgamma, &self.dbeta]) {
            for (total, x) in gradient.iter_mut().zip(fresh) {
                *total = if accumulate { *total + *x } else { *x };
            }
        }
    }

    /// The gradient of the input.
    fn input(
        &self,
        cx: &mut Context<T>,
        rows: usize,
        gate: Gate<'_, T>,
        [mean, scale, beta]: [&[T]; 3],
        [x, dy]: [&[T]; 2],
        dx: &mut [T],
        accumulate: bool,
    ) {
        let c = x.len() / rows.max(1);
        let params = [mean, &self.center[..], &self.tilt[..], scale];
        let again = [params[0], params[1], params[2], params[3], beta];
        let data = (In(x, c), gate.rows(c), In(dy, c), Out(dx, c));
        cx.for_rows(
            rows,
            c,
            data,
            |_, (In(x, _), above, In(dy, _), Out(dx, _)), _| match gate.of_part(above) {
                Gate::Above(y) => put(
                    c,
                    [x, y, dy],
                    params,
                    dx,
                    accumulate,
                    #[inline(always)]
                    |[x, y, dy]: [T; 3], p| input_slope(p, x, gated(y, dy)),
                ),
                Gate::Again => put(
                    c,
                    [x, dy],
                    again,
                    dx,
                    accumulate,
                    #[inline(always)]
                    |[x, dy]: [T; 2], [mean, center, tilt, scale, beta]: [T; 5]| {
                        let dy = gated(affine([mean, scale, beta], x), dy);
                        input_slope([mean, center, tilt, scale], x, dy)
                    },
                ),
                Gate::Open => put(
                    c,
                    [x, dy],
                    params,
                    dx,
                    accumulate,
                    #[inline(always)]
                    |[x, dy]: [T; 2], p| input_slope(p, x, dy),
                ),
            },
        );
    }
}

/// `out = f(…)` over rows, or `out += f(…)`.
#[inline(always)]
fn put<T: Real, const K: usize, const P: usize>(
    c: usize,
    matrices: [&[T]; K],
    params: [&[T]; P],
    out: &mut [T],
    accumulate: bool,
    f: impl Fn([T; K], [T; P]) -> T,
) {
    if accumulate {
        for_strips(
            c,
            matrices,
            params,
            out,
            #[inline(always)]
            |elements, p, out| out + f(elements, p),
        );
    } else {
        for_strips(
            c,
            matrices,
            params,
            out,
            #[inline(always)]
            |elements, p, _| f(elements, p),
        );
    }
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
