//! Broadcasting against its definition.

use super::*;
use crate::check::{cast, close, dot, on_all, random};

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
        for op in [Binary::Add, Binary::Mul] {
            let y: Vec<f64> = pairs
                .iter()
                .map(|&(i, j)| {
                    if op == Binary::Add {
                        a[i] + b[j]
                    } else {
                        a[i] * b[j]
                    }
                })
                .collect();
            let mut da = vec![0.0; a.len()];
            for (&(i, j), dy) in pairs.iter().zip(&dy) {
                da[i] += if op == Binary::Add { *dy } else { dy * b[j] };
            }
            if op == Binary::Mul {
                assert!((dot(&y, &dy) - dot(&a, &da)).abs() < 1e-9, "case {case}");
            }
            on_all!(|cx, T| {
                let (ta, tb, dy) = (cast::<T>(&a), cast::<T>(&b), cast::<T>(&dy));
                let mut actual = vec![T::default(); y.len()];
                broadcast_binary(&mut cx, op, &ta, a_shape, &tb, b_shape, &mut actual);
                close(&actual, &y);
                let mut actual = ta.clone();
                broadcast_binary_backward(
                    &mut cx,
                    op,
                    &dy,
                    &tb,
                    b_shape,
                    a_shape,
                    &mut actual,
                    true,
                );
                close(
                    &actual,
                    &da.iter().zip(&a).map(|(a, b)| a + b).collect::<Vec<_>>(),
                );
                broadcast_binary_backward(
                    &mut cx,
                    op,
                    &dy,
                    &tb,
                    b_shape,
                    a_shape,
                    &mut actual,
                    false,
                );
                close(&actual, &da);
            });
        }
    }
}
