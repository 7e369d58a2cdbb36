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

    fn forward(&self, relu: bool) -> Vec<f64> {
        let (mean, var) = self.moments();
        let y = |(i, x): (usize, &f64)| {
            let j = i % self.c;
            let y = (x - mean[j]) / (var[j] + EPS).sqrt() * self.gamma[j] + self.beta[j];
            if relu { y.max(0.0) } else { y }
        };
        self.x.iter().enumerate().map(y).collect()
    }
}

#[test]
fn forward_is_the_definition_in_training_and_evaluation() {
    for (rows, c) in [(1, 3), (6, 1), (2000, 43), (300, 64)] {
        let case = Case::new(rows, c);
        let (m, v) = case.moments();
        for relu in [false, true] {
            on_all!(|cx, T| {
                let (x, gamma, beta) = (
                    cast::<T>(&case.x),
                    cast::<T>(&case.gamma),
                    cast::<T>(&case.beta),
                );
                let [mut mean, mut inv, mut var] = [(); 3].map(|()| vec![T::default(); c]);
                let y = repeatable(|| {
                    let mut y = vec![T::default(); rows * c];
                    forward_train(
                        &mut cx, rows, c, &x, &gamma, &beta, EPS, relu, &mut y, &mut mean,
                        &mut inv, &mut var,
                    );
                    y
                });
                close(&y, &case.forward(relu));
                close(&mean, &m);
                close(&var, &v);
                let mut y = y;
                forward_eval(
                    &mut cx, rows, c, &x, &gamma, &beta, &mean, &var, EPS, relu, &mut y,
                );
                close(&y, &case.forward(relu));
            });
        }
    }
}

fn gradients<T: Real>(
    cx: &mut Context<T>,
    case: &Case,
    dy: &[f64],
    relu: bool,
    before: Option<f64>,
) -> [Vec<T>; 3] {
    let (rows, c) = (case.rows, case.c);
    let [x, gamma, beta, dy] = [&case.x, &case.gamma, &case.beta, dy].map(cast::<T>);
    let zeros = |n: usize| vec![T::from_f64(before.unwrap_or(9.0)); n];
    let [mut mean, mut inv, mut var] = [c; 3].map(zeros);
    let mut y = zeros(rows * c);
    forward_train(
        cx, rows, c, &x, &gamma, &beta, EPS, relu, &mut y, &mut mean, &mut inv, &mut var,
    );
    let [mut dx, mut dgamma, mut dbeta] = [rows * c, c, c].map(zeros);
    let add = before.is_some();
    let y = if relu { &y[..] } else { &[] };
    backward(
        cx,
        rows,
        c,
        &x,
        y,
        &dy,
        &gamma,
        &mean,
        &inv,
        relu,
        &mut dx,
        add,
        &mut dgamma,
        &mut dbeta,
        add,
    );
    [dx, dgamma, dbeta]
}

#[test]
fn gradients_are_finite_differences() {
    for relu in [false, true] {
        let case = Case::new(9, 10);
        let dy = random(4, 90);
        let mut cx = Context::<f64>::new(1).unwrap();
        let [dx, dgamma, dbeta] = gradients(&mut cx, &case, &dy, relu, None);
        let with = |x: &[f64], gamma: &[f64], beta: &[f64]| {
            let case = Case {
                x: x.into(),
                gamma: gamma.into(),
                beta: beta.into(),
                ..Case::new(9, 10)
            };
            dot(&dy, &case.forward(relu))
        };
        is_gradient(&case.x, &dx, |x| with(x, &case.gamma, &case.beta));
        is_gradient(&case.gamma, &dgamma, |gamma| {
            with(&case.x, gamma, &case.beta)
        });
        is_gradient(&case.beta, &dbeta, |beta| with(&case.x, &case.gamma, beta));
    }
}

#[test]
fn gradients_agree_between_types_and_threads_and_accumulate() {
    let case = Case::new(1500, 43);
    let dy = random(4, 1500 * 43);
    for relu in [false, true] {
        let mut one = Context::<f64>::new(1).unwrap();
        let expected = gradients(&mut one, &case, &dy, relu, None);
        on_all!(|cx, T| {
            for before in [None, Some(0.5)] {
                let actual: [Vec<T>; 3] = gradients(&mut cx, &case, &dy, relu, before);
                for (actual, expected) in actual.iter().zip(&expected) {
                    let add = before.unwrap_or(0.0);
                    close(
                        actual,
                        &expected.iter().map(|x| x + add).collect::<Vec<_>>(),
                    );
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
