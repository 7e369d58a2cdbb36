//! The gradients of batch normalisation.

use super::strips::for_strips;
use crate::columns::{STRIP_ROWS, strip_sums};
use crate::elementwise::{write, write_zip};
use crate::rows::{In, Out};
use crate::{Context, Real};

/// How much of a residual's gradient is written before it is read again: few enough elements to stay
/// in a core's own caches.
const PASSED_ELEMENTS: usize = 8 * 1024;

/// The gradients of [`super::forward_train`], through the statistics too. `dx` obeys `accumulate`, the
/// parameters' gradients `accumulate_params`; the residual's gradient, if asked for, comes with its own
/// word on that. With `relu`, `y` is the forward output, and the gradient passes where `y > 0`; without,
/// `y` is not read and may be empty.
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
    residual: Option<(&mut [T], bool)>,
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
    let flow = Flow { c, relu };
    let Some((passed, add)) = residual else {
        let data = (In(x, c), In(gate, c), In(dy, c));
        let parts = cx.for_rows(rows, c, data, |_, (In(x, _), In(gate, _), In(dy, _)), _| {
            flow.sums(x, gate, dy, mean)
        });
        let slopes = Slopes::new(rows, &parts, gamma, inv_std);
        slopes.put([dgamma, dbeta], accumulate_params);
        return slopes.input(cx, rows, flow, mean, [x, gate, dy], dx, accumulate);
    };
    assert!(passed.len() == rows * c);
    let data = (In(x, c), In(gate, c), In(dy, c), Out(&mut *passed, c));
    let parts = cx.for_rows(
        rows,
        c,
        data,
        |_, (In(x, _), In(gate, _), In(dy, _), Out(passed, _)), _| {
            flow.pass_and_sum([x, gate, dy], passed, add, mean)
        },
    );
    let slopes = Slopes::new(rows, &parts, gamma, inv_std);
    slopes.put([dgamma, dbeta], accumulate_params);
    if add {
        slopes.input(cx, rows, flow, mean, [x, gate, dy], dx, accumulate);
    } else {
        // What went to the residual is what comes through the ReLU.
        let flow = Flow { relu: false, ..flow };
        slopes.input(cx, rows, flow, mean, [x, passed, passed], dx, accumulate);
    }
}

/// How the output's gradient comes in: rows of `c` channels, through a ReLU or not.
#[derive(Clone, Copy)]
struct Flow {
    c: usize,
    relu: bool,
}

impl Flow {
    /// `Σ dy` and `Σ dy · (x − mean)` of each channel, of what passes the ReLU.
    #[inline(always)]
    fn sums<T: Real>(self, x: &[T], gate: &[T], dy: &[T], mean: &[T]) -> [Vec<f64>; 2] {
        if self.relu {
            strip_sums(
                self.c,
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
                self.c,
                [x, dy],
                [mean],
                #[inline(always)]
                |[x, dy]: [T; 2], [mean]: [T; 1]| [dy, dy * (x - mean)],
            )
        }
    }

    /// Hands the gradient on to the residual, and sums what is still in the cache.
    fn pass_and_sum<T: Real>(
        self,
        [x, gate, dy]: [&[T]; 3],
        passed: &mut [T],
        add: bool,
        mean: &[T],
    ) -> [Vec<f64>; 2] {
        let mut totals = [(); 2].map(|()| vec![0.0; self.c]);
        let strips = (PASSED_ELEMENTS / (STRIP_ROWS * self.c.max(1))).max(1);
        let len = (strips * STRIP_ROWS * self.c).max(1);
        let chunks = x.chunks(len).zip(gate.chunks(len)).zip(dy.chunks(len));
        for (((x, gate), dy), passed) in chunks.zip(passed.chunks_mut(len)) {
            self.pass(gate, dy, passed, add);
            let sums = if add {
                self.sums(x, gate, dy, mean)
            } else {
                Flow { relu: false, ..self }.sums(x, passed, passed, mean)
            };
            for (total, sum) in totals.iter_mut().flatten().zip(sums.iter().flatten()) {
                *total += sum;
            }
        }
        totals
    }

    /// `passed = dy` where it passes the ReLU, or `passed += dy`.
    fn pass<T: Real>(self, gate: &[T], dy: &[T], passed: &mut [T], add: bool) {
        match (self.relu, add) {
            (true, _) => write_zip(
                add,
                gate,
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
}

/// What the gradients are made of, for each channel.
struct Slopes<T> {
    dgamma: Vec<T>,
    dbeta: Vec<T>,
    center: Vec<T>,
    tilt: Vec<T>,
    scale: Vec<T>,
}

impl<T: Real> Slopes<T> {
    /// From the sums of all parts.
    fn new(rows: usize, parts: &[[Vec<f64>; 2]], gamma: &[T], inv_std: &[T]) -> Self {
        let empty = || Vec::with_capacity(gamma.len());
        let mut slopes = Slopes {
            dgamma: empty(),
            dbeta: empty(),
            center: empty(),
            tilt: empty(),
            scale: empty(),
        };
        let count = (rows as f64).max(1.0);
        for (j, (&gamma, &inv_std)) in gamma.iter().zip(inv_std).enumerate() {
            let sum = |n: usize| parts.iter().map(|part| part[n][j]).sum::<f64>();
            let (dy_sum, dy_x_sum, inv_std) = (sum(0), sum(1), inv_std.to_f64());
            slopes.dbeta.push(T::from_f64(dy_sum));
            slopes.dgamma.push(T::from_f64(dy_x_sum * inv_std));
            slopes.center.push(T::from_f64(dy_sum / count));
            let tilt = dy_x_sum * inv_std * inv_std / count;
            slopes.tilt.push(T::from_f64(tilt));
            slopes.scale.push(T::from_f64(inv_std * gamma.to_f64()));
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
        flow: Flow,
        mean: &[T],
        [x, gate, dy]: [&[T]; 3],
        dx: &mut [T],
        accumulate: bool,
    ) {
        let c = flow.c;
        let params = [mean, &self.center[..], &self.tilt[..], &self.scale[..]];
        let data = (In(x, c), In(gate, c), In(dy, c), Out(dx, c));
        cx.for_rows(
            rows,
            c,
            data,
            |_, (In(x, _), In(gate, _), In(dy, _), Out(dx, _)), _| match (flow.relu, accumulate) {
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
