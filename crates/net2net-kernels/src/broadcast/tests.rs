//! Broadcasting against its definition.

use super::*;
use crate::check::{cast, close, is_gradient, on_all, random};

/// For each element of the result, the elements of the operands.
fn pairs(a: &[usize], b: &[usize]) -> Vec<(usize, usize)> {
    let shape: Vec<usize> = a
        .iter()
        .zip(b)
        .map(|(&a, &b)| if a == 1 { b } else { a })
        .collect();
    let at = |operand: &[usize], mut i: usize| {
        let (mut at, mut stride) = (0, 1);
        for (&n, &own) in shape.iter().zip(operand).rev() {
            at += i % n % own * stride;
            stride *= own;
            i /= n;
        }
        at
    };
    (0..len(&shape)).map(|i| (at(a, i), at(b, i))).collect()
}

#[test]
fn values_and_gradients_are_those_of_the_naive_loop() {
    let cases: [(&[usize], &[usize]); 12] = [
        (&[], &[]),
        (&[4, 5], &[4, 5]),
        (&[3, 50, 300], &[3, 50, 300]),
        (&[4, 5], &[1, 1]),
        (&[3, 7, 6, 40], &[1, 1, 1, 40]),
        (&[3, 7, 6, 40], &[3, 1, 1, 40]),
        (&[3, 7, 6, 40], &[3, 7, 6, 1]),
        (&[3, 7, 6, 5], &[1, 7, 1, 1]),
        (&[3, 7, 1, 5], &[1, 7, 6, 1]),
        (&[1, 4], &[5, 1]),
        (&[1, 3, 1, 2], &[4, 1, 3, 1]),
        (&[0, 3], &[1, 3]),
    ];
    for (case, (a_shape, b_shape)) in cases
        .into_iter()
        .flat_map(|(a, b)| [(a, b), (b, a)])
        .enumerate()
    {
        let pairs = pairs(a_shape, b_shape);
        let (a, b) = (random(1, len(a_shape)), random(2, len(b_shape)));
        let dy = random(3, pairs.len());
        for op in Binary::ALL {
            // Powers of positive numbers, and divisors that are not near 0.
            let moved = |xs: &[f64]| xs.iter().map(|x| 1.5 + x).collect::<Vec<f64>>();
            let (a, b) = match op {
                Binary::Pow | Binary::Div => (moved(&a), moved(&b)),
                _ => (a.clone(), b.clone()),
            };
            let y: Vec<f64> = pairs.iter().map(|&(i, j)| op.value(a[i], b[j])).collect();
            let mut gradients = [vec![0.0; a.len()], vec![0.0; b.len()]];
            for (&(i, j), dy) in pairs.iter().zip(&dy) {
                let [da, db] = op.slopes(a[i], b[j]);
                gradients[0][i] += dy * da;
                gradients[1][j] += dy * db;
            }
            on_all!(|cx, T| {
                let (ta, tb, dy) = (cast::<T>(&a), cast::<T>(&b), cast::<T>(&dy));
                let mut actual = vec![T::default(); y.len()];
                broadcast_binary(&mut cx, op, &ta, a_shape, &tb, b_shape, &mut actual);
                close(&actual, &y);
                let operands = if op.is_linear() {
                    [&[][..]; 2]
                } else {
                    [&ta[..], &tb[..]]
                };
                for (own, expected) in gradients.iter().enumerate() {
                    let before = [&a, &b][own];
                    let sums: Vec<f64> = expected.iter().zip(before).map(|(x, y)| x + y).collect();
                    let mut actual = cast::<T>(before);
                    for (accumulate, expected) in [(true, &sums), (false, expected)] {
                        broadcast_binary_backward(
                            &mut cx,
                            op,
                            own,
                            &dy,
                            operands,
                            [a_shape, b_shape],
                            &mut actual,
                            accumulate,
                        );
                        assert!(!actual.iter().any(|x| x.is_nan()), "case {case}, {op:?}");
                        close(&actual, expected);
                    }
                }
            });
        }
    }
}

#[test]
fn slopes_are_finite_differences() {
    let (a, b) = (random(1, 50), random(2, 50));
    for op in Binary::ALL {
        for (a, b) in a.iter().map(|a| a + 1.5).zip(&b) {
            let [da, db] = op.slopes(a, *b);
            is_gradient(&[a, *b], &[da, db], |x| op.value(x[0], x[1]));
        }
    }
    // A negative number has whole powers, and no slope along the exponent.
    assert_eq!(Binary::Pow.slopes(-2.0, 3.0), [12.0, 0.0]);
    assert_eq!(Binary::Pow.slopes(0.0, 0.0), [0.0, 0.0]);
    assert_eq!(Binary::Pow.slopes(2.0, 0.0), [0.0, 2f64.ln()]);
}

#[test]
fn comparisons_and_logic_are_ones_and_zeros() {
    let all = |a, b| {
        Binary::ALL[5..]
            .iter()
            .map(|op| op.value::<f64>(a, b) as i32)
            .collect()
    };
    let found: [Vec<i32>; 3] = [all(2.0, 3.0), all(3.0, 3.0), all(1.0, 0.0)];
    assert_eq!(found[0], [3, 2, 0, 0, 0, 1, 1, 1, 1]);
    assert_eq!(found[1], [3, 3, 1, 0, 1, 0, 1, 1, 1]);
    assert_eq!(found[2], [1, 0, 0, 1, 1, 0, 0, 0, 1]);
    assert!(Binary::Max.value(f64::NAN, 1.0).is_nan() && Binary::Min.value(1.0, f64::NAN).is_nan());
}

#[test]
fn a_choice_and_its_gradients_are_those_of_the_definition() {
    let cases: [[&[usize]; 4]; 4] = [
        [&[4, 5], &[4, 5], &[4, 5], &[4, 5]],
        [&[3, 1, 1, 8], &[1, 7, 1, 8], &[3, 7, 6, 1], &[3, 7, 6, 8]],
        [&[1, 1], &[5, 1], &[1, 4], &[5, 4]],
        [&[40, 1, 30], &[1, 1, 1], &[1, 20, 30], &[40, 20, 30]],
    ];
    for [c_shape, a_shape, b_shape, full] in cases {
        let at = |shape: &[usize]| pairs(shape, full).into_iter().map(|(i, _)| i);
        let condition: Vec<f64> = random(1, len(c_shape)).iter().map(|x| x.max(0.0)).collect();
        let (a, b) = (random(2, len(a_shape)), random(3, len(b_shape)));
        let dy = random(4, len(full));
        let (mut y, mut da, mut db) = (Vec::new(), vec![0.0; a.len()], vec![0.0; b.len()]);
        let places = at(c_shape).zip(at(a_shape).zip(at(b_shape)));
        for ((c, (i, j)), dy) in places.zip(&dy) {
            let chosen = condition[c] != 0.0;
            y.push(if chosen { a[i] } else { b[j] });
            *if chosen { &mut da[i] } else { &mut db[j] } += dy;
        }
        on_all!(|cx, T| {
            let [tc, ta, tb, dy] = [&condition, &a, &b, &dy].map(|xs| cast::<T>(xs));
            let mut actual = vec![T::default(); y.len()];
            let shapes = [c_shape, a_shape, b_shape];
            select(&mut cx, [&tc, &ta, &tb], shapes, full, &mut actual);
            close(&actual, &y);
            for (first, shape, expected) in [(true, a_shape, &da), (false, b_shape, &db)] {
                let mut actual = vec![T::from_f64(1.0); expected.len()];
                for (accumulate, by) in [(true, 1.0), (false, 0.0)] {
                    let (c, dy) = ((&tc[..], c_shape), (&dy[..], full));
                    select_backward(&mut cx, first, c, dy, shape, &mut actual, accumulate);
                    close(
                        &actual,
                        &expected.iter().map(|x| x + by).collect::<Vec<_>>(),
                    );
                }
            }
        });
    }
}
