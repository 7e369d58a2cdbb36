//! The sliding window that convolutions and pools share.

use super::Attributes;

/// Window geometry in two dimensions, (height, width).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Step between windows.
    pub strides: [usize; 2],
    /// Zeros added at top, left, bottom and right (ONNX's order of begins, then ends).
    pub pads: [usize; 4],
    /// Step within a window.
    pub dilations: [usize; 2],
}

impl Default for Window {
    fn default() -> Self {
        Window {
            strides: [1, 1],
            pads: [0; 4],
            dilations: [1, 1],
        }
    }
}

impl Window {
    /// A window that keeps the size of an image under an odd kernel and stride 1.
    pub fn same(kernel: [usize; 2]) -> Self {
        let [h, w] = [kernel[0] / 2, kernel[1] / 2];
        Window {
            pads: [h, w, h, w],
            ..Window::default()
        }
    }

    /// The same window with another stride along both axes.
    #[must_use]
    pub fn stride(self, stride: usize) -> Self {
        Window {
            strides: [stride, stride],
            ..self
        }
    }

    pub(super) fn read(attributes: &mut Attributes) -> Result<Self, String> {
        Ok(Window {
            strides: attributes.sizes("strides", [1, 1], 1)?,
            pads: attributes.sizes("pads", [0; 4], 0)?,
            dilations: attributes.sizes("dilations", [1, 1], 1)?,
        })
    }

    pub(super) fn write(&self, attributes: &mut Attributes) {
        attributes.put_sizes("strides", self.strides, [1, 1]);
        attributes.put_sizes("pads", self.pads, [0; 4]);
        attributes.put_sizes("dilations", self.dilations, [1, 1]);
    }

    /// The output's (height, width) for an input's and a kernel.
    pub(super) fn slide(
        &self,
        input: [usize; 2],
        kernel: [usize; 2],
    ) -> Result<[usize; 2], String> {
        let mut output = [0; 2];
        for axis in 0..2 {
            if kernel[axis] == 0 || self.strides[axis] == 0 || self.dilations[axis] == 0 {
                return Err("kernels, strides and dilations must be at least 1".to_owned());
            }
            let span = self.dilations[axis]
                .checked_mul(kernel[axis] - 1)
                .and_then(|s| s.checked_add(1));
            let padded = input[axis]
                .checked_add(self.pads[axis])
                .and_then(|s| s.checked_add(self.pads[axis + 2]));
            let (Some(span), Some(padded)) = (span, padded) else {
                return Err("the window is absurdly large".to_owned());
            };
            if padded < span {
                return Err(format!(
                    "a window of {span} does not fit an input of {padded} (padding included)"
                ));
            }
            output[axis] = (padded - span) / self.strides[axis] + 1;
        }
        Ok(output)
    }
}
