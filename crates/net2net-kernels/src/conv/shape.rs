//! The sizes of a convolution.

use crate::taps::Axis;

/// The sizes of a two-dimensional convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Rows of pixels that come in.
    pub in_h: usize,
    /// Columns of pixels that come in.
    pub in_w: usize,
    /// Channels that come in.
    pub in_c: usize,
    /// Rows of pixels that go out.
    pub out_h: usize,
    /// Columns of pixels that go out.
    pub out_w: usize,
    /// Channels that go out.
    pub out_c: usize,
    /// Size of the filter: rows, columns.
    pub kernel: [usize; 2],
    /// Pixels from one window to the next: down, across.
    pub stride: [usize; 2],
    /// Pixels from one tap of the filter to the next: down, across.
    pub dilation: [usize; 2],
    /// Zeros around the input: top, left, bottom, right.
    pub pads: [usize; 4],
    /// Groups of channels that do not see each other; divides `in_c` and `out_c`.
    pub groups: usize,
}

impl ConvShape {
    /// A shape whose `out_h` and `out_w` follow from the rest, as in PyTorch: windows that do not
    /// fit are left out. They are 0 where not even one fits.
    pub fn with_output(mut self) -> Self {
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

    /// Elements of the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.in_h * self.in_w * self.in_c
    }

    /// Elements of the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_h * self.out_w * self.out_c
    }

    /// Elements of the filter.
    pub fn filter_len(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.group_in() * self.out_c
    }

    /// Channels of a group that come in.
    pub(super) fn group_in(&self) -> usize {
        self.in_c / self.groups
    }

    /// Channels of a group that go out.
    pub(super) fn group_out(&self) -> usize {
        self.out_c / self.groups
    }

    /// Whether each channel is filtered by itself into one channel.
    pub(super) fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.in_c && self.groups == self.out_c
    }

    /// Whether each output pixel sees only the input pixel in its place.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1]
            && self.stride == [1, 1]
            && self.pads == [0; 4]
            && (self.in_h, self.in_w) == (self.out_h, self.out_w)
    }

    /// The convolution of `dy` that gives `dx`, if there is one: at stride 1, unless the padding
    /// is wider than the filter reaches.
    pub(super) fn turned(&self) -> Option<Self> {
        if self.stride != [1, 1] {
            return None;
        }
        let reach = [0, 1].map(|axis| self.dilation[axis] * (self.kernel[axis] - 1));
        let top = reach[0].checked_sub(self.pads[0])?;
        let left = reach[1].checked_sub(self.pads[1])?;
        Some(Self {
            in_h: self.out_h,
            in_w: self.out_w,
            in_c: self.out_c,
            out_h: self.in_h,
            out_w: self.in_w,
            out_c: self.in_c,
            // How far the window may go over the far edges follows from the other sizes.
            pads: [top, left, reach[0], reach[1]],
            ..*self
        })
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

    pub(super) fn check<T>(&self, x: &[T], w: &[T], y: &[T]) {
        assert!(self.groups > 0, "no groups");
        assert!(self.in_c.is_multiple_of(self.groups) && self.out_c.is_multiple_of(self.groups));
        assert!(
            self.kernel
                .iter()
                .chain(&self.stride)
                .chain(&self.dilation)
                .all(|&n| n > 0)
        );
        assert_eq!(x.len(), self.input_len(), "the input of {self:?}");
        assert_eq!(w.len(), self.filter_len(), "the filter of {self:?}");
        assert_eq!(y.len(), self.output_len(), "the output of {self:?}");
    }
}
