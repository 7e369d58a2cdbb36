//! Winograd's convolution against the definition, in both precisions.

use super::super::direct;
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

/// A convolution's operands, and what it and its weight gradient are by definition.
struct Case {
    s: ConvShape,
    x: Vec<f64>,
    w: Vec<f64>,
    shift: Vec<f64>,
    dy: Vec<f64>,
    bare: Vec<f64>,
    dw: Vec<f64>,
}

impl Case {
    fn new(seed: u64, s: ConvShape) -> Case {
        let (x, w) = (
            random(seed, s.input_len()),
            random(seed + 10, s.filter_len()),
        );
        let dy = random(seed + 30, s.output_len());
        let mut dw = vec![0.0; w.len()];
        for_products(&s, |i, j, k| dw[j] += dy[k] * x[i]);
        Case {
            bare: naive_forward(&s, &x, &w, &vec![0.0; s.out_c]),
            shift: random(seed + 20, s.out_c),
            s,
            x,
            w,
            dy,
            dw,
        }
    }

    /// The outputs with a scale and a shift, which are the same, a residual, which is `dy`, and a ReLU.
    fn finished(&self) -> Vec<f64> {
        let outputs = self.bare.iter().zip(&self.dy).enumerate();
        let finish = |(i, (y, residual)): (usize, (&f64, &f64))| {
            let shift = self.shift[i % self.s.out_c];
            (y * shift + shift + residual).max(0.0)
        };
        outputs.map(finish).collect()
    }

    fn check<T: Real, const M: usize, const A: usize>(&self, cx: &mut Context<T>) {
        let s = &self.s;
        let [x, w, dy, shift] =
            [&self.x, &self.w, &self.dy, &self.shift].map(|numbers| cast::<T>(numbers));
        let mut y = repeatable(|| {
            let mut y = vec![T::from_f64(3.0); dy.len()];
            forward_by::<T, M, A>(cx, s, &x, &w, Finish::default(), &mut y, false);
            y
        });
        close(&y, &self.bare);
        forward_by::<T, M, A>(cx, s, &x, &w, Finish::default(), &mut y, true);
        close(&y, &plus(&self.bare, &self.bare));
        let finish = Finish {
            scale: Some(&shift),
            shift: Some(&shift),
            residual: Some(&dy),
            rectified: true,
        };
        forward_by::<T, M, A>(cx, s, &x, &w, finish, &mut y, false);
        close(&y, &self.finished());
        let slope = repeatable(|| {
            let mut slope = vec![T::default(); w.len()];
            let parts = backward_weight_by::<T, M, A>(cx, s, &x, &dy);
            cx.sum_scratch(parts, &mut slope, false);
            slope
        });
        close(&slope, &self.dw);
    }
}

#[test]
fn outputs_and_weight_gradients_agree_with_the_definition() {
    for (seed, s) in (1u64..).zip(shapes()) {
        let case = Case::new(seed, s);
        on_all!(|cx, T| {
            case.check::<T, 2, 4>(&mut cx);
            case.check::<T, 4, 6>(&mut cx);
        });
    }
}

#[test]
fn rounding_errors_are_about_those_of_a_plain_sum() {
    let s = square(12, 12, 64, 32, 3);
    let case = Case::new(7, s);
    let (x, w) = (cast::<f32>(&case.x), cast::<f32>(&case.w));
    let exact = {
        let wide = |numbers: &[f32]| numbers.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        naive_forward(&s, &wide(&x), &wide(&w), &vec![0.0; s.out_c])
    };
    let error = |run: &mut dyn FnMut(&mut [f32])| {
        let mut y = vec![0.0; exact.len()];
        run(&mut y);
        let squares = y
            .iter()
            .zip(&exact)
            .map(|(y, e)| (f64::from(*y) - e).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let mut cx = Context::<f32>::new(1).unwrap();
    let finish = Finish::default();
    let plain = error(&mut |y| direct::forward(&mut cx, &s, &x, &w, finish, y, false));
    let small = error(&mut |y| forward_by::<f32, 2, 4>(&mut cx, &s, &x, &w, finish, y, false));
    let large = error(&mut |y| forward_by::<f32, 4, 6>(&mut cx, &s, &x, &w, finish, y, false));
    assert!(
        small < 2.0 * plain && large < 4.0 * plain,
        "{plain} {small} {large}"
    );
}

#[test]
fn tiles_are_large_where_they_fit_and_are_many() {
    let s = |side, channels, batch| ConvShape {
        batch,
        ..square(side, side, channels, channels, 3)
    };
    assert!(large_tiles(&s(32, 64, 16)) && large_tiles(&s(8, 64, 64)));
    // Over the edges, few, and with many channels.
    assert!(!large_tiles(&s(6, 16, 64)));
    assert!(!large_tiles(&s(8, 64, 8)));
    assert!(!large_tiles(&s(32, 256, 64)));
    let few = s(8, 64, 16);
    assert!(large_tiles_of_weights(&few, 2) && !large_tiles_of_weights(&few, 4));
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
