//! Convolution along up to three axes: planes of two, convolved one by one and summed along the
//! third.
//!
//! Activations are `[batch][depth][height][width][channel]`, filters
//! `[kernel_d][kernel_h][kernel_w][in_c / groups][out_c]`. With one plane on either side it is the
//! two-dimensional convolution itself, and costs nothing more.

use super::{
    ConvShape, Finish, any_forward, backward_data as plane_data, backward_weight as plane_weight,
    forward_add,
};
use crate::taps::Axis;
use crate::{Context, Real};

/// The sizes of a convolution of volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeShape {
    /// The two inner axes; its `batch` counts volumes.
    pub plane: ConvShape,
    /// Planes that come in.
    pub in_d: usize,
    /// Planes that go out.
    pub out_d: usize,
    /// Planes of the filter.
    pub kernel_d: usize,
    /// Planes from one window to the next.
    pub stride_d: usize,
    /// Planes from one tap of the filter to the next.
    pub dilation_d: usize,
    /// Planes of zeros before the first one.
    pub pad_d: usize,
}

/// Where one product of planes reads and writes.
struct Meeting {
    input: usize,
    output: usize,
    tap: usize,
}

impl VolumeShape {
    /// Output pixels of all volumes.
    pub fn output_pixels(&self) -> usize {
        self.plane.batch * self.out_d * self.plane.out_h * self.plane.out_w
    }

    fn is_flat(&self) -> bool {
        [self.in_d, self.out_d, self.kernel_d] == [1; 3] && self.pad_d == 0
    }

    /// The convolution of one plane.
    fn one(&self) -> ConvShape {
        ConvShape {
            batch: 1,
            ..self.plane
        }
    }

    /// Every pair of planes that meet, in a fixed order.
    fn meetings(&self) -> Vec<Meeting> {
        let axis = Axis {
            input: self.in_d,
            output: self.out_d,
            kernel: self.kernel_d,
            stride: self.stride_d,
            dilation: self.dilation_d,
            pad: self.pad_d,
        };
        let taps = axis.inputs_of_outputs();
        let mut meetings = Vec::new();
        for volume in 0..self.plane.batch {
            for oz in 0..self.out_d {
                meetings.extend(taps.of(oz).iter().map(|&(iz, tap)| Meeting {
                    input: volume * self.in_d + iz,
                    output: volume * self.out_d + oz,
                    tap,
                }));
            }
        }
        meetings
    }

    fn check<T>(&self, x: &[T], w: &[T], y: &[T]) {
        let s = &self.plane;
        assert!(self.kernel_d > 0 && self.stride_d > 0 && self.dilation_d > 0);
        assert_eq!(x.len(), s.input_len() * self.in_d, "the input of {self:?}");
        assert_eq!(
            w.len(),
            s.filter_len() * self.kernel_d,
            "the filter of {self:?}"
        );
        assert_eq!(
            y.len(),
            s.output_len() * self.out_d,
            "the output of {self:?}"
        );
    }
}

/// The part of plane `at`, of `len` elements.
fn part<T>(data: &[T], at: usize, len: usize) -> &[T] {
    &data[at * len..][..len]
}

/// `y = finish(x ∗ w)`, or `y = finish(y + x ∗ w)` without a scale and a residual.
///
/// # Panics
/// If a slice has not the length that `s` says, or the sizes of `s` contradict each other.
pub fn forward<T: Real>(
    cx: &mut Context<T>,
    s: &VolumeShape,
    x: &[T],
    w: &[T],
    finish: Finish<'_, T>,
    y: &mut [T],
    accumulate: bool,
) {
    s.check(x, w, y);
    if s.is_flat() {
        s.plane.check(x, w, y);
        return any_forward(cx, &s.plane, x, w, finish, y, accumulate);
    }
    if !accumulate {
        y.fill(T::zero());
    }
    let one = s.one();
    let (inputs, filter, outputs) = (one.input_len(), one.filter_len(), one.output_len());
    for m in s.meetings() {
        let y = &mut y[m.output * outputs..][..outputs];
        forward_add(
            cx,
            &one,
            part(x, m.input, inputs),
            part(w, m.tap, filter),
            y,
        );
    }
    finish.apply(s.plane.out_c, 0, y);
}

/// Adds a bias to each pixel.
pub fn add_bias<T: Real>(bias: &[T], y: &mut [T]) {
    for pixel in y.chunks_exact_mut(bias.len().max(1)) {
        pixel.iter_mut().zip(bias).for_each(|(y, &b)| *y += b);
    }
}

/// The gradient with respect to the input: `dx = dy ∗ᵀ w`.
///
/// # Panics
/// If a slice has not the length that `s` says, or the sizes of `s` contradict each other.
pub fn backward_data<T: Real>(
    cx: &mut Context<T>,
    s: &VolumeShape,
    dy: &[T],
    w: &[T],
    dx: &mut [T],
    accumulate: bool,
) {
    s.check(dx, w, dy);
    if s.is_flat() {
        return plane_data(cx, &s.plane, dy, w, dx, accumulate);
    }
    if !accumulate {
        dx.fill(T::zero());
    }
    let one = s.one();
    let (inputs, filter, outputs) = (one.input_len(), one.filter_len(), one.output_len());
    for m in s.meetings() {
        let dx = &mut dx[m.input * inputs..][..inputs];
        let (dy, w) = (part(dy, m.output, outputs), part(w, m.tap, filter));
        plane_data(cx, &one, dy, w, dx, true);
    }
}

/// The gradient with respect to the filter: `dw = xᵀ ∗ dy`.
///
/// # Panics
/// If a slice has not the length that `s` says, or the sizes of `s` contradict each other.
pub fn backward_weight<T: Real>(
    cx: &mut Context<T>,
    s: &VolumeShape,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
    accumulate: bool,
) {
    s.check(x, dw, dy);
    if s.is_flat() {
        return plane_weight(cx, &s.plane, x, dy, dw, accumulate);
    }
    if !accumulate {
        dw.fill(T::zero());
    }
    let one = s.one();
    let (inputs, filter, outputs) = (one.input_len(), one.filter_len(), one.output_len());
    for m in s.meetings() {
        let dw = &mut dw[m.tap * filter..][..filter];
        let (x, dy) = (part(x, m.input, inputs), part(dy, m.output, outputs));
        plane_weight(cx, &one, x, dy, dw, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, dot, on_all, random};

    fn shapes() -> Vec<VolumeShape> {
        let plane = |in_c, out_c, groups, stride, dilation, pads| {
            ConvShape {
                batch: 2,
                in_h: 4,
                in_w: 5,
                in_c,
                out_h: 0,
                out_w: 0,
                out_c,
                kernel: [2, 3],
                stride,
                dilation,
                pads,
                groups,
            }
            .with_output()
        };
        let volume = |plane, in_d, kernel_d, stride_d, dilation_d, pad_d: usize| VolumeShape {
            plane,
            in_d,
            out_d: (in_d + 2 * pad_d - dilation_d * (kernel_d - 1) - 1) / stride_d + 1,
            kernel_d,
            stride_d,
            dilation_d,
            pad_d,
        };
        let simple = plane(2, 3, 1, [1, 1], [1, 1], [0; 4]);
        let odd = plane(4, 6, 2, [2, 1], [1, 2], [1, 2, 0, 1]);
        let deep = plane(3, 3, 3, [1, 1], [1, 1], [1, 1, 1, 1]);
        vec![
            volume(simple, 1, 1, 1, 1, 0),
            volume(simple, 3, 2, 1, 1, 0),
            volume(odd, 4, 3, 2, 1, 1),
            volume(odd, 5, 2, 1, 2, 1),
            volume(deep, 3, 3, 1, 1, 1),
            volume(deep, 1, 1, 1, 1, 0),
        ]
    }

    /// `f(input, filter, output)` for every product of the definition.
    fn for_products(s: &VolumeShape, mut f: impl FnMut(usize, usize, usize)) {
        let p = &s.plane;
        let (n_in, n_out) = (p.in_c / p.groups, p.out_c / p.groups);
        let meets = |o: usize, tap: usize, stride: usize, dilation: usize, pad, len: usize| {
            (o * stride + tap * dilation)
                .checked_sub(pad)
                .filter(|i: &usize| *i < len)
        };
        for o in 0..p.output_len() * s.out_d {
            let (oc, pixel) = (o % p.out_c, o / p.out_c);
            let (ox, oy) = (pixel % p.out_w, pixel / p.out_w % p.out_h);
            let (oz, n) = (
                pixel / p.out_w / p.out_h % s.out_d,
                pixel / p.out_w / p.out_h / s.out_d,
            );
            for tap in 0..s.kernel_d * p.kernel[0] * p.kernel[1] {
                let (kx, ky) = (tap % p.kernel[1], tap / p.kernel[1] % p.kernel[0]);
                let kz = tap / p.kernel[1] / p.kernel[0];
                let iz = meets(oz, kz, s.stride_d, s.dilation_d, s.pad_d, s.in_d);
                let iy = meets(oy, ky, p.stride[0], p.dilation[0], p.pads[0], p.in_h);
                let ix = meets(ox, kx, p.stride[1], p.dilation[1], p.pads[1], p.in_w);
                let (Some(iz), Some(iy), Some(ix)) = (iz, iy, ix) else {
                    continue;
                };
                for i in 0..n_in {
                    let channel = oc / n_out * n_in + i;
                    let at = ((n * s.in_d + iz) * p.in_h + iy) * p.in_w + ix;
                    f(at * p.in_c + channel, (tap * n_in + i) * p.out_c + oc, o);
                }
            }
        }
    }

    #[test]
    fn volumes_and_their_gradients_are_those_of_the_naive_loop() {
        for (seed, s) in shapes().iter().enumerate() {
            let seed = seed as u64;
            let (x, w) = (
                random(seed, s.plane.input_len() * s.in_d),
                random(seed + 10, s.plane.filter_len() * s.kernel_d),
            );
            let (dy, bias) = (
                random(seed + 20, s.plane.output_len() * s.out_d),
                random(seed + 30, s.plane.out_c),
            );
            let mut y = vec![0.0; dy.len()];
            let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
            for_products(s, |i, f, o| {
                y[o] += x[i] * w[f];
                dx[i] += dy[o] * w[f];
                dw[f] += dy[o] * x[i];
            });
            assert!((dot(&y, &dy) - dot(&x, &dx)).abs() < 1e-9);
            let (bare, product_of) = (y.clone(), bias.clone());
            add_bias(&bias, &mut y);
            on_all!(|cx, T| {
                let (tx, tw, tdy) = (cast::<T>(&x), cast::<T>(&w), cast::<T>(&dy));
                let mut actual = vec![T::from_f64(7.0); y.len()];
                let bias = cast::<T>(&bias);
                let finish = Finish {
                    shift: Some(&bias[..]),
                    ..Finish::default()
                };
                forward(&mut cx, s, &tx, &tw, finish, &mut actual, false);
                close(&actual, &y);
                forward(&mut cx, s, &tx, &tw, finish, &mut actual, true);
                close(&actual, &y.iter().map(|y| 2.0 * y).collect::<Vec<_>>());
                for residual in [None, Some(&tdy[..])] {
                    let rectified = Finish {
                        scale: Some(&bias[..]),
                        shift: None,
                        residual,
                        rectified: true,
                    };
                    forward(&mut cx, s, &tx, &tw, rectified, &mut actual, false);
                    let finished = |(i, y): (usize, &f64)| {
                        let added = residual.map_or(0.0, |_| dy[i]);
                        (y * product_of[i % s.plane.out_c] + added).max(0.0)
                    };
                    close(
                        &actual,
                        &bare.iter().enumerate().map(finished).collect::<Vec<_>>(),
                    );
                }
                for accumulate in [false, true] {
                    let times = if accumulate { 2.0 } else { 1.0 };
                    let twice = |d: &[f64]| d.iter().map(|d| times * d).collect::<Vec<_>>();
                    let mut actual = cast::<T>(&dx);
                    backward_data(&mut cx, s, &tdy, &tw, &mut actual, accumulate);
                    close(&actual, &twice(&dx));
                    let mut actual = cast::<T>(&dw);
                    backward_weight(&mut cx, s, &tx, &tdy, &mut actual, accumulate);
                    close(&actual, &twice(&dw));
                }
            });
        }
    }
}
