//! Batch normalisation against its definition.

use super::*;
use crate::check::{cast, close, dot, is_gradient, on_all, random, repeatable};

const EPS: f64 = 1e-3;

struct Case {
    rows: usize,
    c: usize,
    x: Vec<f64>,
    gamma: Vec<f64>,
    beta: Vec<f64>,
    /// What is added behind it.
    residual: Option<Vec<f64>>,
    relu: bool,
}

/// With and without what may follow.
fn all(rows: usize, c: usize) -> [Case; 4] {
    [(false, false), (false, true), (true, false), (true, true)].map(|(residual, relu)| Case {
        residual: residual.then(|| random(6, rows * c)),
        relu,
        ..Case::new(rows, c)
    })
}

impl Case {
    fn new(rows: usize, c: usize) -> Self {
        let (gamma, beta) = (random(2, c), random(3, c));
        Self {
            rows,
            c,
            x: random(1, rows * c),
            gamma,
            beta,
            residual: None,
            relu: false,
        }
    }

    fn moments(&self) -> (Vec<f64>, Vec<f64>) {
        let column = |j: usize| (0..self.rows).map(move |i| self.x[i * self.c + j]);
        let count = self.rows as f64;
        let mean: Vec<f64> = (0..self.c)
            .map(|j| column(j).sum::<f64>() / count)
            .collect();
        let square = |j: usize| column(j).map(|x| (x - mean[j]).powi(2)).sum::<f64>() / count;
        (mean.clone(), (0..self.c).map(square).collect())
    }

    fn forward(&self) -> Vec<f64> {
        let (mean, var) = self.moments();
        let y = |(i, x): (usize, &f64)| {
            let j = i % self.c;
            let y = (x - mean[j]) / (var[j] + EPS).sqrt() * self.gamma[j] + self.beta[j];
            let y = y + self.residual.as_ref().map_or(0.0, |residual| residual[i]);
            if self.relu { y.max(0.0) } else { y }
        };
        self.x.iter().enumerate().map(y).collect()
    }
}

#[test]
fn forward_is_the_definition_in_training_and_evaluation() {
    for (rows, c) in [(1, 3), (6, 1), (2000, 43), (300, 64)] {
        for case in all(rows, c) {
            let (m, v) = case.moments();
            on_all!(|cx, T| {
                let [x, gamma, beta] = [&case.x, &case.gamma, &case.beta].map(|x| cast::<T>(x));
                let residual = case.residual.as_ref().map(|residual| cast::<T>(residual));
                let (residual, relu) = (residual.as_deref(), case.relu);
                let [mut mean, mut inv, mut var] = [(); 3].map(|()| vec![T::default(); c]);
                let y = repeatable(|| {
                    let mut y = vec![T::default(); rows * c];
                    forward_train(
                        &mut cx, rows, c, &x, &gamma, &beta, EPS, residual, relu, &mut y,
                        &mut mean, &mut inv, &mut var,
                    );
                    y
                });
                close(&y, &case.forward());
                close(&mean, &m);
                close(&var, &v);
                let mut y = y;
                forward_eval(
                    &mut cx, rows, c, &x, &gamma, &beta, &mean, &var, EPS, residual, relu, &mut y,
                );
                close(&y, &case.forward());
            });
        }
    }
}

/// The gradients of input, scale, shift and residual (that of an absent one, or one that is not `asked` for,
/// is empty), each added to `before` if there is any.
fn gradients<T: Real>(
    cx: &mut Context<T>,
    case: &Case,
    dy: &[f64],
    before: Option<f64>,
    asked: bool,
) -> [Vec<T>; 4] {
    let (rows, c, relu) = (case.rows, case.c, case.relu);
    let [x, gamma, beta, dy] = [&case.x, &case.gamma, &case.beta, dy].map(cast::<T>);
    let residual = case.residual.as_ref().map(|residual| cast::<T>(residual));
    let zeros = |n: usize| vec![T::from_f64(before.unwrap_or(9.0)); n];
    let [mut mean, mut inv, mut var] = [c; 3].map(zeros);
    let mut y = zeros(rows * c);
    let added = residual.as_deref();
    forward_train(
        cx, rows, c, &x, &gamma, &beta, EPS, added, relu, &mut y, &mut mean, &mut inv, &mut var,
    );
    let [mut dx, mut dgamma, mut dbeta] = [rows * c, c, c].map(zeros);
    let residual = residual.map(|residual| residual.len());
    let y = if relu && residual.is_some() {
        &y[..]
    } else {
        &[]
    };
    let mut dresidual = zeros(residual.filter(|_| asked).unwrap_or(0));
    let add = before.is_some();
    let passed = (!dresidual.is_empty()).then_some((&mut dresidual[..], add));
    backward(
        cx,
        rows,
        c,
        &x,
        y,
        &dy,
        [&gamma, &beta],
        &mean,
        &inv,
        relu,
        passed,
        &mut dx,
        add,
        &mut dgamma,
        &mut dbeta,
        add,
    );
    [dx, dgamma, dbeta, dresidual]
}

#[test]
fn gradients_are_finite_differences() {
    for case in all(9, 10) {
        let dy = random(4, 90);
        let mut cx = Context::<f64>::new(1).unwrap();
        let [dx, dgamma, dbeta, dresidual] = gradients(&mut cx, &case, &dy, None, true);
        let with = |x: &[f64], gamma: &[f64], beta: &[f64], residual: Option<&[f64]>| {
            let case = Case {
                x: x.into(),
                gamma: gamma.into(),
                beta: beta.into(),
                residual: residual.map(<[f64]>::to_vec),
                relu: case.relu,
                ..Case::new(9, 10)
            };
            dot(&dy, &case.forward())
        };
        let (x, gamma, beta, residual) = (
            &case.x[..],
            &case.gamma[..],
            &case.beta[..],
            case.residual.as_deref(),
        );
        is_gradient(x, &dx, |x| with(x, gamma, beta, residual));
        is_gradient(gamma, &dgamma, |gamma| with(x, gamma, beta, residual));
        is_gradient(beta, &dbeta, |beta| with(x, gamma, beta, residual));
        if let Some(residual) = residual {
            is_gradient(residual, &dresidual, |residual| {
                with(x, gamma, beta, Some(residual))
            });
        }
    }
}

#[test]
fn gradients_agree_between_types_and_threads_and_accumulate() {
    let dy = random(4, 1500 * 43);
    for case in all(1500, 43) {
        let mut one = Context::<f64>::new(1).unwrap();
        let expected = gradients(&mut one, &case, &dy, None, true);
        on_all!(|cx, T| {
            for before in [None, Some(0.5)] {
                let add = before.unwrap_or(0.0);
                let expected = expected
                    .each_ref()
                    .map(|all| all.iter().map(|x| x + add).collect::<Vec<_>>());
                for (asked, compared) in [(true, 4), (false, 3)] {
                    let actual: [Vec<T>; 4] = gradients(&mut cx, &case, &dy, before, asked);
                    for (actual, expected) in actual.iter().zip(&expected).take(compared) {
                        close(actual, expected);
                    }
                }
            }
        });
    }
}

/// `E[x²] − E[x]²` would have no digit left here.
#[test]
fn a_small_deviation_around_a_large_mean_keeps_its_digits() {
    let rows = 50_000;
    let x: Vec<f32> = random(5, rows)
        .iter()
        .map(|x| (4096.0 + x) as f32)
        .collect();
    let exact = Case {
        rows,
        c: 1,
        x: cast::<f64>(&x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>()),
        gamma: vec![1.0],
        beta: vec![0.0],
        residual: None,
        relu: false,
    };
    let (_, var) = exact.moments();
    let mut cx = Context::<f32>::new(2).unwrap();
    let (mut y, mut mean, mut inv, mut actual) = (vec![0.0; rows], [0.0], [0.0], [0.0]);
    forward_train(
        &mut cx,
        rows,
        1,
        &x,
        &[1.0],
        &[0.0],
        0.0,
        None,
        false,
        &mut y,
        &mut mean,
        &mut inv,
        &mut actual,
    );
    assert!(
        (f64::from(actual[0]) - var[0]).abs() < 1e-5 * var[0],
        "{} of {}",
        actual[0],
        var[0]
    );
}

/// Forward and backward a few rows at a time, with the sums of all rows in between.
#[test]
fn a_few_rows_at_a_time_give_what_all_at_once_give() {
    let (rows, c, step) = (700, 43, 130);
    for relu in [false, true] {
        let case = Case {
            relu,
            ..Case::new(rows, c)
        };
        let dy = random(4, rows * c);
        let mut one = Context::<f64>::new(1).unwrap();
        let all = gradients::<f64>(&mut one, &case, &dy, None, false);
        on_all!(|cx, T| {
            let [x, gamma, beta, dy] =
                [&case.x, &case.gamma, &case.beta, &dy].map(|x| cast::<T>(x));
            let mut moments = Moments::none(c);
            for x in x.chunks(step * c) {
                let mut some = Moments::none(c);
                some.add(&mut cx, x);
                moments.merge(&some);
            }
            let [mut mean, mut inv, mut var] = [(); 3].map(|()| vec![T::default(); c]);
            moments.statistics(EPS, [&mut mean, &mut inv, &mut var]);
            let coefficients = coefficients(&mean, &inv, &gamma, &beta);
            let mut y = vec![T::default(); rows * c];
            let mut sums = Sums::none(c);
            let parts = x.chunks(step * c).zip(y.chunks_mut(step * c));
            for ((x, y), dy) in parts.zip(dy.chunks(step * c)) {
                apply(&mut cx, x, &coefficients, None, relu, y);
                let mut some = Sums::none(c);
                some.add(&mut cx, x, dy, &coefficients, relu);
                sums.merge(&some);
            }
            close(&y, &case.forward());
            let [mut scale, mut shift] = [(); 2].map(|()| vec![T::default(); c]);
            sums.write(&mut shift, &mut scale);
            let sums = Sums::of(&shift, &scale);
            let input = InputGradient::of_sums(rows, &x, &dy, coefficients, &inv, relu, &sums);
            let [mut dx, mut dgamma, mut dbeta] =
                [rows * c, c, c].map(|len| vec![T::default(); len]);
            input.parameters([&mut dgamma, &mut dbeta], false);
            for (part, dx) in dx.chunks_mut(step * c).enumerate() {
                let first = part * step;
                input.write(&mut cx, first..first + dx.len() / c, dx, false);
            }
            for (some, all) in [&dx, &dgamma, &dbeta].into_iter().zip(&all) {
                close(some, all);
            }
        });
    }
}
