//! The sizes of a pooling.

use crate::taps::Axis;

/// The sizes of a two-dimensional pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// Images.
    pub batch: usize,
    /// Rows of pixels that come in.
    pub in_h: usize,
    /// Columns of pixels that come in.
    pub in_w: usize,
    /// Channels.
    pub c: usize,
    /// Rows of pixels that go out.
    pub out_h: usize,
    /// Columns of pixels that go out.
    pub out_w: usize,
    /// Size of the window: rows, columns.
    pub kernel: [usize; 2],
    /// Pixels from one window to the next: down, across.
    pub stride: [usize; 2],
    /// Pixels from one tap of the window to the next: down, across.
    pub dilation: [usize; 2],
    /// Padding around the input: top, left, bottom, right.
    pub pads: [usize; 4],
}

impl PoolShape {
    /// Elements of the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.in_h * self.in_w * self.c
    }

    /// Elements of the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_h * self.out_w * self.c
    }

    pub(super) fn rows(&self) -> Axis {
        self.axis(0, self.in_h, self.out_h)
    }

    pub(super) fn cols(&self) -> Axis {
        self.axis(1, self.in_w, self.out_w)
    }

    fn axis(&self, axis: usize, input: usize, output: usize) -> Axis {
        Axis {
            input,
            output,
            kernel: self.kernel[axis],
            stride: self.stride[axis],
            dilation: self.dilation[axis],
            pad: self.pads[axis],
        }
    }

    pub(super) fn check<T>(&self, x: &[T], y: &[T]) {
        assert!(
            self.kernel
                .iter()
                .chain(&self.stride)
                .chain(&self.dilation)
                .all(|&n| n > 0)
        );
        assert_eq!(x.len(), self.input_len(), "the input of {self:?}");
        assert_eq!(y.len(), self.output_len(), "the output of {self:?}");
    }
}

#[cfg(test)]
impl PoolShape {
    /// A shape whose output follows from the rest.
    pub(super) fn with_output(mut self) -> Self {
        let out = |input: usize, axis: usize| {
            let padded = input + self.pads[axis] + self.pads[axis + 2];
            let reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1;
            padded
                .checked_sub(reach)
                .map_or(0, |room| room / self.stride[axis] + 1)
        };
        (self.out_h, self.out_w) = (out(self.in_h, 0), out(self.in_w, 1));
        self
    }

    /// Seeded small shapes, most of them odd.
    pub(super) fn random(count: u64) -> impl Iterator<Item = Self> {
        (0..count).map(|seed| {
            let mut n = crate::check::sizes(seed);
            let kernel = [n(1..=3), n(1..=3)];
            let pad = |n: &mut dyn FnMut(std::ops::RangeInclusive<usize>) -> usize, k: usize| {
                n(0..=k / 2)
            };
            let pads = [
                pad(&mut n, kernel[0]),
                pad(&mut n, kernel[1]),
                pad(&mut n, kernel[0]),
                pad(&mut n, kernel[1]),
            ];
            Self {
                batch: n(1..=3),
                in_h: n(5..=9),
                in_w: n(5..=9),
                c: [1, 3, 8, 43, 83][n(0..=4)],
                out_h: 0,
                out_w: 0,
                kernel,
                stride: [n(1..=3), n(1..=2)],
                dilation: [n(1..=2), n(1..=2)],
                pads,
            }
            .with_output()
        })
    }

    /// Calls `f(input index, output index, window offset)` for every pair that meets.
    pub(super) fn for_pairs(&self, mut f: impl FnMut(usize, usize, usize)) {
        let (rows, cols) = (self.rows(), self.cols());
        for o in 0..self.output_len() {
            let (channel, pixel) = (o % self.c, o / self.c);
            let (ox, oy) = (pixel % self.out_w, pixel / self.out_w % self.out_h);
            let image = pixel / self.out_w / self.out_h;
            for ky in 0..self.kernel[0] {
                for kx in 0..self.kernel[1] {
                    if let (Some(iy), Some(ix)) = (rows.meets(oy, ky), cols.meets(ox, kx)) {
                        let i = ((image * self.in_h + iy) * self.in_w + ix) * self.c + channel;
                        f(i, o, ky * self.kernel[1] + kx);
                    }
                }
            }
        }
    }
}
