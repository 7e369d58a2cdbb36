//! Random changes of brightness, contrast, saturation and hue.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::decode::luma;
use super::keyed::unit;

/// How far colours move, in this order; 0 leaves them. As `ColorJitter` of torchvision, but for its
/// random order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColorJitter {
    /// Values are multiplied by a factor in `1 − brightness ..= 1 + brightness`.
    pub brightness: f64,
    /// Distances from the image's mean gray are multiplied by a factor in `1 ± contrast`.
    pub contrast: f64,
    /// Distances from the pixel's gray are multiplied by a factor in `1 ± saturation`; nothing for
    /// gray images.
    pub saturation: f64,
    /// The hue turns by up to this share of the circle, at most 0.5; nothing for gray images.
    pub hue: f64,
}

impl ColorJitter {
    /// Changes an image of 1 or 3 channels in place. Draws four words whatever the settings.
    pub(super) fn apply(&self, image: &mut [u8], channels: usize, rng: &mut ChaCha8Rng) {
        let mut draw = |spread: f64| (2.0 * unit(rng) - 1.0) * spread;
        let brightness = (1.0 + draw(self.brightness)) as f32;
        let contrast = (1.0 + draw(self.contrast)) as f32;
        let saturation = (1.0 + draw(self.saturation)) as f32;
        let hue = draw(self.hue) as f32;
        if self.brightness > 0.0 {
            blend(image, 0.0, brightness);
        }
        if self.contrast > 0.0 {
            blend(image, mean_gray(image, channels), contrast);
        }
        if channels != 3 {
            return;
        }
        if self.saturation > 0.0 {
            for pixel in image.chunks_exact_mut(3) {
                let gray = f32::from(luma(pixel));
                blend(pixel, gray, saturation);
            }
        }
        if self.hue > 0.0 {
            image
                .chunks_exact_mut(3)
                .for_each(|pixel| turn_hue(pixel, hue));
        }
    }
}

/// Moves values away from `from` (or towards it).
fn blend(values: &mut [u8], from: f32, factor: f32) {
    for value in values {
        // The cast clamps to 0..=255.
        *value = (from + (f32::from(*value) - from) * factor + 0.5) as u8;
    }
}

fn mean_gray(image: &[u8], channels: usize) -> f32 {
    let sum: u64 = match channels {
        3 => image.chunks_exact(3).map(|p| u64::from(luma(p))).sum(),
        _ => image.iter().map(|&value| u64::from(value)).sum(),
    };
    let pixels = (image.len() / channels).max(1);
    (sum as f64 / pixels as f64).round() as f32
}

/// Turns the hue of an RGB pixel; its value and saturation (of HSV) stay.
fn turn_hue(pixel: &mut [u8], turn: f32) {
    let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(f32::from);
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let span = max - min;
    if span == 0.0 {
        return;
    }
    let sector = if max == r {
        (g - b) / span
    } else if max == g {
        (b - r) / span + 2.0
    } else {
        (r - g) / span + 4.0
    };
    let hue = (sector + 6.0 * turn).rem_euclid(6.0);
    // Each channel is the same trapezoid over the circle, a third of it apart.
    for (value, offset) in pixel.iter_mut().zip([5.0, 3.0, 1.0]) {
        let at = (offset + hue).rem_euclid(6.0);
        let share = at.min(4.0 - at).clamp(0.0, 1.0);
        *value = (max - span * share + 0.5) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::super::keyed::{Purpose, stream};
    use super::*;

    fn turned(pixel: [u8; 3], turn: f32) -> [u8; 3] {
        let mut turned = pixel;
        turn_hue(&mut turned, turn);
        turned
    }

    #[test]
    fn hue_goes_round() {
        assert_eq!(turned([200, 10, 10], 1.0 / 3.0), [10, 200, 10]);
        assert_eq!(turned([200, 10, 10], 2.0 / 3.0), [10, 10, 200]);
        assert_eq!(turned([200, 10, 10], 0.5), [10, 200, 200]);
        assert_eq!(turned([200, 90, 10], 0.0), [200, 90, 10]);
        assert_eq!(turned([7, 7, 7], 0.3), [7, 7, 7]);
    }

    #[test]
    fn blending_moves_away_from_gray_and_clamps() {
        let mut image = [0, 100, 200];
        blend(&mut image, 100.0, 2.0);
        assert_eq!(image, [0, 100, 255]);
        let mut image = [0, 100, 200];
        blend(&mut image, 0.0, 0.5);
        assert_eq!(image, [0, 50, 100]);
    }

    #[test]
    fn settings_change_what_they_name_and_nothing_else() {
        let original = [200, 40, 60, 10, 90, 250];
        let jittered = |jitter: ColorJitter, seed| {
            let mut image = original;
            jitter.apply(&mut image, 3, &mut stream(seed, Purpose::Jitter, 0, 0));
            image
        };
        let none = ColorJitter::default();
        assert_eq!(jittered(none, 1), original);
        let hue = ColorJitter { hue: 0.2, ..none };
        for seed in 0..20 {
            let image = jittered(hue, seed);
            for (pixel, before) in image.chunks(3).zip(original.chunks(3)) {
                let range = |p: &[u8]| (*p.iter().max().unwrap(), *p.iter().min().unwrap());
                assert_eq!(range(pixel), range(before));
            }
        }
        let contrast = ColorJitter {
            contrast: 0.5,
            ..none
        };
        let images: std::collections::BTreeSet<_> =
            (0..20).map(|seed| jittered(contrast, seed)).collect();
        assert!(images.len() > 15, "factors differ");
    }
}
