//! Winograd's convolution against the definition, in both precisions.

use super::super::tests::{for_products, naive_forward, plus, square};
use super::*;
use crate::check::{cast, close, on_all, random, repeatable};

/// Even and odd sizes, whole vectors of channels and not, and zeros on some sides only.
fn shapes() -> Vec<ConvShape> {
    let even = square(8, 6, 16, 24, 3);
    let odd = |in_h, in_w, in_c, out_c, pads| {
        ConvShape {
            in_h,
            in_w,
            in_c,
            out_c,
            pads,
            ..even
        }
        .with_output()
    };
    vec![
        even,
        odd(5, 9, 17, 33, [1; 4]),
        odd(9, 4, 40, 16, [0, 2, 1, 1]),
        odd(3, 3, 18, 18, [0; 4]),
        odd(8, 2, 32, 19, [2, 1, 0, 3]),
    ]
}

#[test]
fn outputs_and_weight_gradients_agree_with_the_definition() {
    for (seed, s) in (1u64..).zip(&shapes()) {
        let (x, w) = (
            random(seed, s.input_len()),
            random(seed + 10, s.filter_len()),
        );
        let (shift, dy) = (
            random(seed + 20, s.out_c),
            random(seed + 30, s.output_len()),
        );
        let bare = naive_forward(s, &x, &w, &vec![0.0; s.out_c]);
        let finished: Vec<f64> = bare
            .iter()
            .zip(&dy)
            .enumerate()
            .map(|(i, (y, residual))| {
                let shift = shift[i % s.out_c];
                (y * shift + shift + residual).max(0.0)
            })
            .collect();
        let mut dw = vec![0.0; w.len()];
        for_products(s, |i, j, k| dw[j] += dy[k] * x[i]);
        on_all!(|cx, T| {
            let [x, w, dy, shift] = [&x, &w, &dy, &shift].map(|numbers| cast::<T>(numbers));
            let y = repeatable(|| {
                let mut y = vec![T::from_f64(3.0); dy.len()];
                forward(&mut cx, s, &x, &w, Finish::default(), &mut y, false);
                y
            });
            close(&y, &bare);
            let mut y = y;
            forward(&mut cx, s, &x, &w, Finish::default(), &mut y, true);
            close(&y, &plus(&bare, &bare));
            let finish = Finish {
                scale: Some(&shift),
                shift: Some(&shift),
                residual: Some(&dy),
                rectified: true,
            };
            forward(&mut cx, s, &x, &w, finish, &mut y, false);
            close(&y, &finished);
            let slope = repeatable(|| {
                let mut slope = vec![T::default(); w.len()];
                let parts = backward_weight(&mut cx, s, &x, &dy);
                cx.sum_scratch(parts, &mut slope, false);
                slope
            });
            close(&slope, &dw);
        });
    }
}

#[test]
fn it_is_for_f32_with_channels_and_images_enough() {
    let s = square(8, 6, 16, 32, 3);
    assert!(suits::<f32>(&s, 2));
    assert!(!suits::<f32>(&s, 3) && !suits::<f64>(&s, 2));
    for unfit in [
        square(8, 6, 12, 48, 3),
        square(8, 6, 48, 12, 3),
        square(8, 6, 16, 24, 3),
        square(8, 6, 33, 33, 3),
        square(8, 6, 16, 32, 1),
        square(8, 5, 16, 32, 3),
        ConvShape {
            stride: [1, 2],
            ..s
        },
        ConvShape {
            dilation: [2, 1],
            ..s
        },
    ] {
        assert!(!suits::<f32>(&unfit, 1), "{unfit:?}");
    }
}
