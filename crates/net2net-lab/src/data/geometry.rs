//! Which part of an image is used, and how it gets to the size that a network reads.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::ImageShape;
use super::keyed::{below, unit};

/// Crops of random size and proportions, brought to the size that the network reads (Szegedy et al.
/// 2015), as `RandomResizedCrop` of torchvision.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResizedCrop {
    /// The least share of the image's area.
    pub min_area: f64,
    /// The greatest share of the image's area.
    pub max_area: f64,
    /// The greatest proportion of the longer side to the shorter one.
    pub max_ratio: f64,
}

impl Default for ResizedCrop {
    fn default() -> Self {
        Self {
            min_area: 0.08,
            max_area: 1.0,
            max_ratio: 4.0 / 3.0,
        }
    }
}

/// A rectangle of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Window {
    /// The largest rectangle around the middle of an image that has the proportions of `shape`, its
    /// sides times `share`.
    pub(super) fn centre(width: usize, height: usize, shape: ImageShape, share: f64) -> Self {
        let (w, h) = (width as f64, height as f64);
        let scale = (w / shape.width as f64).min(h / shape.height as f64) * share;
        let (part_w, part_h) = (scale * shape.width as f64, scale * shape.height as f64);
        Window {
            left: (w - part_w) / 2.0,
            top: (h - part_h) / 2.0,
            width: part_w,
            height: part_h,
        }
    }

    /// A random one. Ten are drawn at most, as an area and its proportions may not fit; then it is
    /// the middle of the image, as wide or as high as the proportions allow.
    pub(super) fn random(
        crop: &ResizedCrop,
        width: usize,
        height: usize,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let (w, h) = (width as f64, height as f64);
        let log_ratio = crop.max_ratio.ln();
        for _ in 0..10 {
            let area = w * h * (crop.min_area + unit(rng) * (crop.max_area - crop.min_area));
            let ratio = ((2.0 * unit(rng) - 1.0) * log_ratio).exp();
            let part_w = (area * ratio).sqrt().round() as usize;
            let part_h = (area / ratio).sqrt().round() as usize;
            if (1..=width).contains(&part_w) && (1..=height).contains(&part_h) {
                return Window {
                    left: below(rng, width - part_w + 1) as f64,
                    top: below(rng, height - part_h + 1) as f64,
                    width: part_w as f64,
                    height: part_h as f64,
                };
            }
        }
        let part_w = w.min((h * crop.max_ratio).round());
        let part_h = h.min((w * crop.max_ratio).round());
        Window {
            left: ((w - part_w) / 2.0).round(),
            top: ((h - part_h) / 2.0).round(),
            width: part_w,
            height: part_h,
        }
    }

    /// How much smaller (1, 2, 4 or 8 times) the image may be decoded so that the rectangle still has
    /// at least the pixels of `shape`.
    pub(super) fn shrink(&self, shape: ImageShape) -> usize {
        let spare = (self.width / shape.width as f64).min(self.height / shape.height as f64);
        [8, 4, 2]
            .into_iter()
            .find(|&part| spare >= part as f64)
            .unwrap_or(1)
    }

    /// The same rectangle of the image at another size.
    fn scaled(&self, x: f64, y: f64, width: f64, height: f64) -> Self {
        // Rounding must not carry it over the border.
        let left = (self.left * x).clamp(0.0, width);
        let top = (self.top * y).clamp(0.0, height);
        Window {
            left,
            top,
            width: (self.width * x).min(width - left),
            height: (self.height * y).min(height - top),
        }
    }
}

/// Resamples rectangles; keeps its buffers.
#[derive(Default)]
pub(super) struct Resampler {
    resizer: Resizer,
}

impl Resampler {
    /// The rectangle `window` of an image, bilinear with antialiasing, as bytes of `shape`. `window`
    /// is in pixels of the image of `whole` (width, height), of which `pixels`, an image of `size`, may
    /// be a smaller form.
    ///
    /// `None` only if the pixels are fewer than size and channels say, or a side is beyond 32 bits.
    pub(super) fn resample(
        &mut self,
        pixels: &[u8],
        size: (usize, usize),
        whole: (usize, usize),
        window: Window,
        shape: ImageShape,
    ) -> Option<Vec<u8>> {
        let (width, height) = (size.0 as f64, size.1 as f64);
        let window = window.scaled(
            width / whole.0 as f64,
            height / whole.1 as f64,
            width,
            height,
        );
        // Said here, since what works for any kind of pixels would be compiled for all of them.
        match shape.channels {
            1 => self.typed::<U8>(pixels, size, window, shape),
            3 => self.typed::<U8x3>(pixels, size, window, shape),
            _ => None,
        }
    }

    fn typed<P: PixelTrait>(
        &mut self,
        pixels: &[u8],
        size: (usize, usize),
        window: Window,
        shape: ImageShape,
    ) -> Option<Vec<u8>> {
        let side = |side: usize| u32::try_from(side).ok();
        let source = TypedImageRef::<P>::from_buffer(side(size.0)?, side(size.1)?, pixels).ok()?;
        let mut bytes = vec![0; shape.width * shape.height * shape.channels];
        let (width, height) = (side(shape.width)?, side(shape.height)?);
        let mut target = TypedImage::<P>::from_buffer(width, height, &mut bytes).ok()?;
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
            .crop(window.left, window.top, window.width, window.height);
        let resized = self.resizer.resize_typed(&source, &mut target, &options);
        resized.ok()?;
        Some(bytes)
    }
}
