//! The gradients of batch normalisation.

use std::ops::Range;

use super::strips::for_strips;
use super::{affine, coefficients, parts_of};
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
    parameters: [&[T]; 2],
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
    let input = InputGradient::new(
        cx, rows, c, x, y, dy, parameters, mean, inv_std, relu, residual,
    );
    input.parameters([dgamma, dbeta], accumulate_params);
    input.write(cx, 0..rows, dx, accumulate);
}

/// `Σ dy` and `Σ dy · (x − mean)` of each channel, of what passes the rectifier: what all gradients need of all rows.
pub struct Sums {
    dy: Vec<f64>,
    dy_x: Vec<f64>,
}

impl Sums {
    /// Of no rows of `c` channels.
    pub fn none(c: usize) -> Self {
        let [dy, dy_x] = [(); 2].map(|()| vec![0.0; c]);
        Self { dy, dy_x }
    }

    /// From `Σ dy` and `Σ dy · (x − mean)` themselves.
    pub fn of<T: Real>(dy: &[T], dy_x: &[T]) -> Self {
        let wide = |sums: &[T]| sums.iter().map(|x| Real::to_f64(*x)).collect();
        Self {
            dy: wide(dy),
            dy_x: wide(dy_x),
        }
    }

    /// Adds rows, normalised by [`super::coefficients`] and, with `relu`, rectified.
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub fn add<T: Real>(
        &mut self,
        cx: &mut Context<T>,
        x: &[T],
        dy: &[T],
        coefficients: &[T],
        relu: bool,
    ) {
        let forward = parts_of(coefficients);
        let (c, gate) = (self.dy.len(), Gate::computed(relu));
        let rows = x.len() / c.max(1);
        assert!(forward[0].len() == c && x.len() == rows * c && dy.len() == x.len());
        let data = (In(x, c), In(dy, c));
        let parts = cx.for_rows(rows, c, data, |_, (In(x, _), In(dy, _)), _| {
            gate.sums(c, [x, dy], forward)
        });
        self.merge(&Self::of_parts(c, parts));
    }

    /// `Σ dy` and `Σ dy · (x − mean)`.
    pub fn write<T: Real>(&self, dy: &mut [T], dy_x: &mut [T]) {
        for (sums, into) in [(&self.dy, dy), (&self.dy_x, dy_x)] {
            for (sum, into) in sums.iter().zip(into) {
                *into = T::from_f64(*sum);
            }
        }
    }

    /// Adds the rows of others.
    pub fn merge(&mut self, other: &Self) {
        for (total, sum) in self.dy.iter_mut().zip(&other.dy) {
            *total += sum;
        }
        for (total, sum) in self.dy_x.iter_mut().zip(&other.dy_x) {
            *total += sum;
        }
    }

    fn of_parts(c: usize, parts: Vec<[Vec<f64>; 2]>) -> Self {
        let mut total = Self::none(c);
        for [dy, dy_x] in parts {
            total.merge(&Self { dy, dy_x });
        }
        total
    }
}

/// The gradient of the input, which can be had a few rows at a time once the sums over all rows are known.
pub struct InputGradient<'a, T> {
    c: usize,
    x: &'a [T],
    /// What comes back, but for what `gate` holds up.
    dy: &'a [T],
    gate: Gate<'a, T>,
    coefficients: Vec<T>,
    slopes: Slopes<T>,
}

impl<'a, T: Real> InputGradient<'a, T> {
    /// The first pass of [`backward`], which sums over all rows and writes the residual's gradient.
    ///
    /// # Panics
    /// If a slice has not the length that its name says.
    pub fn new(
        cx: &mut Context<T>,
        rows: usize,
        c: usize,
        x: &'a [T],
        y: &'a [T],
        dy: &'a [T],
        [gamma, beta]: [&[T]; 2],
        mean: &[T],
        inv_std: &[T],
        relu: bool,
        residual: Option<(&'a mut [T], bool)>,
    ) -> Self {
        assert!(x.len() == rows * c && dy.len() == rows * c);
        assert!([gamma, beta, mean, inv_std].iter().all(|p| p.len() == c));
        assert!(y.is_empty() || y.len() == rows * c);
        let coefficients = coefficients(mean, inv_std, gamma, beta);
        let forward = parts_of(&coefficients);
        let (parts, gate, dy) = match residual {
            None => {
                let gate = match (relu, y.is_empty()) {
                    (true, false) => Gate::Above(y),
                    _ => Gate::computed(relu),
                };
                let data = (In(x, c), gate.rows(c), In(dy, c));
                let parts = cx.for_rows(rows, c, data, |_, (In(x, _), above, In(dy, _)), _| {
                    gate.of_part(above).sums(c, [x, dy], forward)
                });
                (parts, gate, dy)
            }
            Some((passed, add)) => {
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
                let (gate, dy) = after_passing(y, dy, relu, passed, add);
                (parts, gate, dy)
            }
        };
        let sums = Sums::of_parts(c, parts);
        Self {
            c,
            x,
            dy,
            gate,
            slopes: Slopes::new(rows, &sums, inv_std),
            coefficients,
        }
    }

    /// The same where the sums over all `rows` rows are known; `coefficients` are those of [`super::coefficients`].
    ///
    /// # Panics
    /// If a slice has not the length that its name says.
    pub fn of_sums(
        rows: usize,
        x: &'a [T],
        dy: &'a [T],
        coefficients: Vec<T>,
        inv_std: &[T],
        relu: bool,
        sums: &Sums,
    ) -> Self {
        let c = inv_std.len();
        assert!(x.len() == rows * c && dy.len() == rows * c);
        assert!(coefficients.len() == 3 * c && sums.dy.len() == c && sums.dy_x.len() == c);
        Self {
            c,
            x,
            dy,
            gate: Gate::computed(relu),
            slopes: Slopes::new(rows, sums, inv_std),
            coefficients,
        }
    }

    /// Writes or adds the gradients of `gamma` and `beta`.
    ///
    /// # Panics
    /// If they are not as long as there are channels.
    pub fn parameters(&self, gradients: [&mut [T]; 2], accumulate: bool) {
        assert!(gradients.iter().all(|gradient| gradient.len() == self.c));
        self.slopes.put(gradients, accumulate);
    }

    /// Writes or adds the gradient of these rows of the input.
    ///
    /// # Panics
    /// If there are no such rows, or `dx` is not as long as they are.
    pub fn write(&self, cx: &mut Context<T>, rows: Range<usize>, dx: &mut [T], accumulate: bool) {
        let part = rows.start * self.c..rows.end * self.c;
        assert_eq!(dx.len(), part.len(), "the gradient of the input");
        let gate = match self.gate {
            Gate::Above(y) => Gate::Above(&y[part.clone()]),
            gate => gate,
        };
        let forward = parts_of(&self.coefficients);
        let data = [&self.x[part.clone()], &self.dy[part]];
        self.slopes
            .input(cx, rows.len(), gate, forward, data, dx, accumulate);
    }
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
    /// Where a rectifier, if there is one, lets something through: it is computed again.
    fn computed(relu: bool) -> Self {
        match relu {
            true => Gate::Again,
            false => Gate::Open,
        }
    }

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
    /// From the sums of all rows.
    fn new(rows: usize, sums: &Sums, inv_std: &[T]) -> Self {
        let empty = || Vec::with_capacity(inv_std.len());
        let mut slopes = Slopes {
            dgamma: empty(),
            dbeta: empty(),
            center: empty(),
            tilt: empty(),
        };
        let count = (rows as f64).max(1.0);
        for (j, &inv_std) in inv_std.iter().enumerate() {
            let (dy_sum, dy_x_sum, inv_std) = (sums.dy[j], sums.dy_x[j], inv_std.to_f64());
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
