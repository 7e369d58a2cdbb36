//! The sliding window that convolutions and pools share.

use super::{Attribute, Attributes};
use crate::graph::{Extent, Shape};

/// The most axes that a window slides along.
const MOST_AXES: usize = 3;

/// The largest number that an attribute may state; larger ones are broken files.
const MOST: i64 = 1 << 31;

/// Window geometry along one axis (width), two (height, width) or three (depth, height, width).
///
/// What is at its default along all axes is not kept, so that a default window fits any of them
/// and equal windows are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    strides: Vec<usize>,
    pads: Vec<usize>,
    dilations: Vec<usize>,
}

/// A window along one axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowAxis {
    pub(super) stride: usize,
    pub(super) dilation: usize,
    /// Zeros before the first element and after the last one.
    pub(super) pads: [usize; 2],
}

impl WindowAxis {
    /// Elements from the first tap of a kernel to the last one, both counted.
    pub(super) fn reach(&self, kernel: usize) -> Result<usize, String> {
        if kernel == 0 || self.stride == 0 || self.dilation == 0 {
            return Err("kernels, strides and dilations must be at least 1".to_owned());
        }
        let span = self.dilation.checked_mul(kernel - 1);
        span.and_then(|s| s.checked_add(1)).ok_or_else(absurd)
    }

    /// The number of windows along an axis of `input` elements; with `ceil`, one that begins
    /// within them but ends beyond the padding counts too.
    fn slide(&self, input: usize, kernel: usize, ceil: bool) -> Result<usize, String> {
        let span = self.reach(kernel)?;
        let near = input.checked_add(self.pads[0]).ok_or_else(absurd)?;
        let padded = near.checked_add(self.pads[1]).ok_or_else(absurd)?;
        if padded < span {
            return Err(format!(
                "a window of {span} does not fit an input of {padded} (padding included)"
            ));
        }
        let steps = (padded - span) / self.stride;
        let beyond = ceil && !(padded - span).is_multiple_of(self.stride);
        let begin = (steps + 1).checked_mul(self.stride);
        let begins_within = begin.is_some_and(|begin| begin < near);
        Ok(steps + 1 + usize::from(beyond && begins_within))
    }
}

fn absurd() -> String {
    "the window is absurdly large".to_owned()
}

impl Window {
    /// A window that keeps the size of an image under an odd kernel and stride 1.
    pub fn same(kernel: impl AsRef<[usize]>) -> Self {
        let half: Vec<usize> = kernel.as_ref().iter().map(|side| side / 2).collect();
        Window::default().with_pads([&half[..], &half[..]].concat())
    }

    /// The same window with another stride along both axes of images.
    #[must_use]
    pub fn stride(self, stride: usize) -> Self {
        self.with_strides([stride, stride])
    }

    /// The same window with other steps between windows, one for each axis.
    #[must_use]
    pub fn with_strides(self, strides: impl Into<Vec<usize>>) -> Self {
        Window {
            strides: kept(strides.into(), 1),
            ..self
        }
    }

    /// The same window with other numbers of zeros around the input: ONNX's order of all begins,
    /// then all ends (top, left, bottom, right).
    #[must_use]
    pub fn with_pads(self, pads: impl Into<Vec<usize>>) -> Self {
        Window {
            pads: kept(pads.into(), 0),
            ..self
        }
    }

    /// The same window with other steps within it, one for each axis.
    #[must_use]
    pub fn with_dilations(self, dilations: impl Into<Vec<usize>>) -> Self {
        Window {
            dilations: kept(dilations.into(), 1),
            ..self
        }
    }

    /// Steps between windows along each of `axes` axes.
    pub fn strides(&self, axes: usize) -> Vec<usize> {
        (0..axes).map(|axis| at(&self.strides, axis, 1)).collect()
    }

    /// Zeros around the input: `axes` begins, then as many ends.
    pub fn pads(&self, axes: usize) -> Vec<usize> {
        (0..2 * axes).map(|axis| at(&self.pads, axis, 0)).collect()
    }

    /// Steps within a window along each of `axes` axes.
    pub fn dilations(&self, axes: usize) -> Vec<usize> {
        (0..axes).map(|axis| at(&self.dilations, axis, 1)).collect()
    }

    pub(super) fn read(attributes: &mut Attributes) -> Result<Self, String> {
        Ok(Window::default()
            .with_strides(read_sizes(attributes, "strides", 1)?)
            .with_pads(read_sizes(attributes, "pads", 0)?)
            .with_dilations(read_sizes(attributes, "dilations", 1)?))
    }

    pub(super) fn write(&self, attributes: &mut Attributes) {
        write_sizes(attributes, "strides", &self.strides);
        write_sizes(attributes, "pads", &self.pads);
        write_sizes(attributes, "dilations", &self.dilations);
    }

    /// The window along axis `axis` of `axes`.
    pub(super) fn axis(&self, axis: usize, axes: usize) -> WindowAxis {
        WindowAxis {
            stride: at(&self.strides, axis, 1),
            dilation: at(&self.dilations, axis, 1),
            pads: [at(&self.pads, axis, 0), at(&self.pads, axes + axis, 0)],
        }
    }

    /// Refuses a window that is made for another number of axes.
    pub(super) fn check(&self, axes: usize) -> Result<(), String> {
        for (name, values, wanted) in [
            ("strides", &self.strides, axes),
            ("pads", &self.pads, 2 * axes),
            ("dilations", &self.dilations, axes),
        ] {
            if !values.is_empty() && values.len() != wanted {
                return Err(format!(
                    "{name} must have {wanted} entries for this input, not {}",
                    values.len()
                ));
            }
        }
        Ok(())
    }

    /// The output's sizes for an input's and a kernel; see [`WindowAxis::slide`].
    pub(super) fn slide(
        &self,
        input: &[usize],
        kernel: &[usize],
        ceil: bool,
    ) -> Result<Vec<usize>, String> {
        self.check(input.len())?;
        if kernel.len() != input.len() {
            return Err(format!(
                "a kernel of {kernel:?} has not the input's {} spatial axes",
                input.len()
            ));
        }
        let axes = input.iter().zip(kernel).enumerate();
        axes.map(|(axis, (size, side))| self.axis(axis, input.len()).slide(*size, *side, ceil))
            .collect()
    }
}

fn at(values: &[usize], index: usize, default: usize) -> usize {
    values.get(index).copied().unwrap_or(default)
}

/// The values, unless all are the default.
fn kept(values: Vec<usize>, default: usize) -> Vec<usize> {
    match values.iter().all(|value| *value == default) {
        true => Vec::new(),
        false => values,
    }
}

/// Takes a list of at most two numbers for each axis that a window can have; empty if it is absent.
pub(super) fn read_sizes(
    attributes: &mut Attributes,
    key: &str,
    least: usize,
) -> Result<Vec<usize>, String> {
    let values = attributes.ints(key)?.unwrap_or_default();
    if values.len() > 2 * MOST_AXES {
        return Err(format!("attribute `{key}` has too many entries"));
    }
    let size = |value: i64| match usize::try_from(value) {
        Ok(size) if size >= least && value <= MOST => Ok(size),
        _ => Err(format!(
            "attribute `{key}` must hold numbers between {least} and {MOST}, not {value}"
        )),
    };
    values.into_iter().map(size).collect()
}

/// Writes a list unless it is empty.
pub(super) fn write_sizes(attributes: &mut Attributes, key: &str, sizes: &[usize]) {
    if !sizes.is_empty() {
        let values = sizes.iter().map(|size| *size as i64).collect();
        attributes.insert(key, Attribute::Ints(values));
    }
}

/// The channels and the one to three spatial sizes of a batch of signals, images or volumes.
pub(super) fn image_sizes(shape: &Shape) -> Result<(usize, Vec<usize>), String> {
    let wanted = || {
        format!("the input must have shape [N, channels, …] with 1 to 3 further axes, not {shape}")
    };
    let [_, Extent::Fixed(channels), spatial @ ..] = shape.extents() else {
        return Err(wanted());
    };
    if spatial.is_empty() || spatial.len() > MOST_AXES {
        return Err(wanted());
    }
    let sizes: Option<Vec<usize>> = spatial.iter().map(|extent| extent.fixed()).collect();
    Ok((*channels, sizes.ok_or_else(wanted)?))
}

/// Channels and spatial sizes in one, for [`Shape::with_inner`].
pub(super) fn image_of(channels: usize, sizes: Vec<usize>) -> Vec<usize> {
    let mut inner = vec![channels];
    inner.extend(sizes);
    inner
}
