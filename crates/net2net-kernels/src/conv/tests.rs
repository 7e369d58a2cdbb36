//! All convolutions against the loop that defines them.

use super::*;
use crate::check::{cast, close, dot, is_gradient, on_all, random, repeatable, sizes};

/// Calls `f(x index, w index, y index)` for each product of the convolution.
pub(super) fn for_products(s: &ConvShape, mut f: impl FnMut(usize, usize, usize)) {
    let (rows, cols, n_in) = (s.rows(), s.cols(), s.group_in());
    for y in 0..s.output_len() {
        let (o, pixel) = (y % s.out_c, y / s.out_c);
        let (ox, oy) = (pixel % s.out_w, pixel / s.out_w % s.out_h);
        let image = pixel / s.out_w / s.out_h;
        for tap in 0..s.kernel[0] * s.kernel[1] {
            let (ky, kx) = (tap / s.kernel[1], tap % s.kernel[1]);
            let (Some(iy), Some(ix)) = (rows.meets(oy, ky), cols.meets(ox, kx)) else {
                continue;
            };
            for i in 0..n_in {
                let channel = o / s.group_out() * n_in + i;
                let x = ((image * s.in_h + iy) * s.in_w + ix) * s.in_c + channel;
                f(x, (tap * n_in + i) * s.out_c + o, y);
            }
        }
    }
}

pub(super) fn naive_forward(s: &ConvShape, x: &[f64], w: &[f64], bias: &[f64]) -> Vec<f64> {
    let mut y: Vec<f64> = (0..s.output_len()).map(|i| bias[i % s.out_c]).collect();
    for_products(s, |i, j, k| y[k] += x[i] * w[j]);
    y
}

pub(super) fn plus(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn check(seed: u64, s: &ConvShape) {
    let (x, w) = (
        random(seed, s.input_len()),
        random(seed + 1, s.filter_len()),
    );
    let (bias, dy) = (random(seed + 2, s.out_c), random(seed + 3, s.output_len()));
    let y = naive_forward(s, &x, &w, &bias);
    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
    for_products(s, |i, j, k| {
        dx[i] += dy[k] * w[j];
        dw[j] += dy[k] * x[i];
    });
    let mut db = vec![0.0; s.out_c];
    dy.iter()
        .enumerate()
        .for_each(|(i, d)| db[i % s.out_c] += d);
    if x.len() + w.len() < 300 {
        is_gradient(&x, &dx, |x| dot(&dy, &naive_forward(s, x, &w, &bias)));
        is_gradient(&w, &dw, |w| dot(&dy, &naive_forward(s, &x, w, &bias)));
    }
    let no_bias = naive_forward(s, &x, &w, &vec![0.0; s.out_c]);
    let scale = random(seed + 4, s.out_c);
    let channels = no_bias.iter().enumerate().map(|(i, y)| (i % s.out_c, y));
    let scaled_y: Vec<f64> = channels.map(|(o, y)| scale[o] * y + bias[o]).collect();
    on_all!(|cx, T| {
        let (tx, tw, tdy) = (cast::<T>(&x), cast::<T>(&w), cast::<T>(&dy));
        let mut out = vec![T::from_f64(3.0); y.len()];
        let (bias, scale) = (cast::<T>(&bias), cast::<T>(&scale));
        for rectified in [false, true] {
            let rectify = |y: &[f64]| match rectified {
                true => y.iter().map(|y| y.max(0.0)).collect(),
                false => y.to_vec(),
            };
            let shifted = Finish {
                shift: Some(&bias),
                rectified,
                ..Finish::default()
            };
            forward(&mut cx, s, &tx, &tw, shifted, &mut out);
            close(&out, &rectify(&y));
            let mut sum = cast::<T>(&dy);
            any_forward(&mut cx, s, &tx, &tw, shifted, &mut sum, true);
            close(&sum, &rectify(&plus(&y, &dy)));
            let scaled = Finish {
                scale: Some(&scale),
                ..shifted
            };
            forward(&mut cx, s, &tx, &tw, scaled, &mut out);
            close(&out, &rectify(&scaled_y));
            let joined = Finish {
                residual: Some(&tdy),
                ..scaled
            };
            forward(&mut cx, s, &tx, &tw, joined, &mut out);
            close(&out, &rectify(&plus(&scaled_y, &dy)));
            let bare = Finish {
                rectified,
                ..Finish::default()
            };
            forward(&mut cx, s, &tx, &tw, bare, &mut out);
            close(&out, &rectify(&no_bias));
        }

        let mut out = repeatable(|| {
            let mut out = cast::<T>(&x);
            backward_data(&mut cx, s, &tdy, &tw, &mut out, true);
            out
        });
        close(&out, &plus(&dx, &x));
        backward_data(&mut cx, s, &tdy, &tw, &mut out, false);
        close(&out, &dx);

        let mut out = repeatable(|| {
            let mut out = cast::<T>(&w);
            backward_weight(&mut cx, s, &tx, &tdy, &mut out, true);
            out
        });
        close(&out, &plus(&dw, &w));
        backward_weight(&mut cx, s, &tx, &tdy, &mut out, false);
        close(&out, &dw);

        let mut out = vec![T::default(); db.len()];
        backward_bias(
            &mut cx,
            s.batch * s.out_h * s.out_w,
            s.out_c,
            &tdy,
            &mut out,
            false,
        );
        close(&out, &db);
    });
}

fn random_shape(seed: u64) -> ConvShape {
    let mut n = sizes(seed);
    let groups = [1, 1, 2, 3, 6][n(0..=4)];
    let (n_in, n_out) = ([1, 2, 5][n(0..=2)], [1, 1, 3][n(0..=2)]);
    ConvShape {
        batch: n(1..=3),
        in_h: n(1..=9),
        in_w: n(1..=9),
        in_c: groups * n_in,
        out_h: 0,
        out_w: 0,
        out_c: groups * n_out,
        kernel: [n(1..=3), n(1..=3)],
        stride: [n(1..=2), n(1..=3)],
        dilation: [n(1..=2), n(1..=2)],
        pads: [n(0..=2), n(0..=2), n(0..=2), n(0..=2)],
        groups,
    }
    .with_output()
}

#[test]
fn random_shapes_agree_with_the_definition() {
    for seed in 0..150 {
        check(seed, &random_shape(seed));
    }
}

pub(super) fn square(
    batch: usize,
    size: usize,
    in_c: usize,
    out_c: usize,
    kernel: usize,
) -> ConvShape {
    ConvShape {
        batch,
        in_h: size,
        in_w: size,
        in_c,
        out_h: 0,
        out_w: 0,
        out_c,
        kernel: [kernel; 2],
        stride: [1; 2],
        dilation: [1; 2],
        pads: [kernel / 2; 4],
        groups: 1,
    }
    .with_output()
}

#[test]
fn shapes_of_real_networks_agree_with_the_definition() {
    let same = square(3, 14, 16, 24, 3);
    check(1, &same);
    check(
        2,
        &ConvShape {
            dilation: [2; 2],
            pads: [2; 4],
            ..same
        },
    );
    check(
        3,
        &ConvShape {
            pads: [0; 4],
            ..same
        }
        .with_output(),
    );
    check(
        4,
        &ConvShape {
            pads: [3, 0, 1, 4],
            ..same
        }
        .with_output(),
    );
    check(
        5,
        &ConvShape {
            stride: [2; 2],
            ..same
        }
        .with_output(),
    );
    check(
        6,
        &ConvShape {
            stride: [1, 2],
            ..same
        }
        .with_output(),
    );
    check(6, &square(8, 6, 16, 32, 3));
    check(7, &square(2, 15, 33, 17, 1));
    check(
        8,
        &ConvShape {
            stride: [2; 2],
            ..square(2, 15, 33, 17, 1)
        }
        .with_output(),
    );
    check(
        9,
        &ConvShape {
            kernel: [1, 7],
            pads: [0, 3, 0, 3],
            ..same
        },
    );
    check(
        10,
        &ConvShape {
            kernel: [7, 1],
            pads: [3, 0, 3, 0],
            ..square(2, 12, 48, 8, 1)
        },
    );
    check(
        11,
        &ConvShape {
            in_c: 48,
            out_c: 48,
            groups: 48,
            ..same
        },
    );
    check(
        12,
        &ConvShape {
            in_c: 48,
            out_c: 48,
            groups: 48,
            stride: [2; 2],
            ..same
        }
        .with_output(),
    );
    check(
        13,
        &ConvShape {
            in_c: 64,
            out_c: 32,
            groups: 2,
            ..same
        },
    );
    check(
        14,
        &ConvShape {
            stride: [2; 2],
            pads: [3; 4],
            ..square(1, 30, 3, 16, 7)
        }
        .with_output(),
    );
    // Wide enough that one image is several blocks.
    check(15, &square(1, 70, 40, 3, 3));
}

#[test]
fn tiles_that_are_full_and_tiles_that_are_not_agree_with_the_definition() {
    for (seed, (in_c, out_c)) in [(16, 16), (3, 32), (8, 40), (17, 33), (24, 4), (9, 64)]
        .into_iter()
        .enumerate()
    {
        let seed = 100 + 10 * seed as u64;
        check(seed, &square(2, 9, in_c, out_c, 3));
        check(seed + 1, &square(5, 4, in_c, out_c, 1));
        let strided = ConvShape {
            stride: [2, 1],
            dilation: [1, 2],
            ..square(3, 8, in_c, out_c, 3)
        };
        check(seed + 2, &strided.with_output());
    }
    // Blocks of several images, of which threads begin and end within one.
    check(200, &square(7, 3, 16, 16, 3));
    // Filters of several parts.
    check(201, &square(1, 5, 400, 48, 3));
}

#[test]
fn windows_of_three_pixels_across_agree_with_the_definition() {
    for (seed, (in_c, out_c)) in [(8, 16), (23, 40), (16, 7)].into_iter().enumerate() {
        let seed = 400 + 10 * seed as u64;
        check(seed, &square(2, 8, in_c, out_c, 3));
        let tall = ConvShape {
            kernel: [5, 3],
            stride: [2, 1],
            dilation: [2, 1],
            pads: [3, 0, 1, 2],
            ..square(2, 15, in_c, out_c, 3)
        };
        check(seed + 1, &tall.with_output());
        // Threads that begin within an image.
        check(seed + 3, &square(3, 8, in_c, 40, 3));
        // Rows in several blocks.
        check(seed + 2, &square(1, 40, in_c, out_c, 3));
    }
}

#[test]
fn many_channels_of_single_pixels_agree_with_the_definition() {
    check(500, &square(2, 5, 64, 80, 1));
    check(501, &square(1, 30, 70, 64, 1));
}

#[test]
fn depthwise_tiles_agree_with_the_definition() {
    for (seed, c) in [8, 16, 32, 48, 72].into_iter().enumerate() {
        let seed = 300 + 10 * seed as u64;
        let same = ConvShape {
            in_c: c,
            out_c: c,
            groups: c,
            ..square(3, 9, c, c, 3)
        };
        check(seed, &same);
        let strided = ConvShape {
            stride: [2, 1],
            pads: [0, 1, 2, 1],
            ..same
        };
        check(seed + 1, &strided.with_output());
        let large = ConvShape {
            kernel: [5, 3],
            dilation: [1, 2],
            pads: [2; 4],
            ..same
        };
        check(seed + 2, &large.with_output());
    }
}

#[test]
fn no_images_and_windows_that_do_not_fit_are_empty() {
    check(1, &square(0, 5, 3, 4, 3));
    check(
        2,
        &ConvShape {
            pads: [0; 4],
            ..square(2, 2, 3, 4, 3)
        }
        .with_output(),
    );
}
