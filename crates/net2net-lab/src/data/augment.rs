//! Random changes to training images that leave their class alone.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::geometry::ResizedCrop;
use super::jitter::ColorJitter;
use super::keyed::below;
use super::normalize::PixelTable;
use super::{DataError, ImageShape};

/// What is done to each image of an epoch, in this order; by default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// A random part of the image instead of all of it; in files, of the image as it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resized_crop: Option<ResizedCrop>,
    /// Random changes of colour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color_jitter: Option<ColorJitter>,
    /// Pads the image with this many black pixels on each side and cuts a random part of the old
    /// size from it.
    pub crop_padding: usize,
    /// Mirrors half of the images, left to right.
    pub flip: bool,
    /// Blackens a square of this side around a random pixel (0: none); at the border the square is
    /// cut off.
    pub cutout: usize,
    /// Mixes each image of a batch with another one, and their labels (mixup): the parameter of the
    /// distribution of their shares, in 0..=1; 0 mixes nothing, 0.2 is usual.
    pub mixup: f64,
}

/// What was drawn for one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Choice {
    /// The crop's first row and column in the padded image, each in `0..=2 × crop_padding`.
    crop: (usize, usize),
    mirrored: bool,
    /// The pixel (row, column) in the middle of the hole.
    hole: (usize, usize),
}

impl Augmentation {
    /// Refuses settings that can leave nothing of an image: padding that lets the crop miss it, a
    /// hole larger than it, shares that are none.
    ///
    /// # Errors
    /// [`DataError::Augmentation`] and [`DataError::Setting`], which say what is possible.
    pub fn check(&self, shape: ImageShape) -> Result<(), DataError> {
        self.check_shares()?;
        let side = shape.height.min(shape.width);
        for (field, found, max) in [
            ("crop_padding", self.crop_padding, side.saturating_sub(1)),
            ("cutout", self.cutout, side),
        ] {
            if found > max {
                return Err(DataError::Augmentation {
                    field,
                    found,
                    max,
                    shape,
                });
            }
        }
        Ok(())
    }

    fn check_shares(&self) -> Result<(), DataError> {
        let refuse = |field, found: f64, wanted| {
            Err(DataError::Setting {
                field,
                found: found.to_string(),
                wanted,
            })
        };
        if let Some(crop) = &self.resized_crop {
            if !(crop.min_area > 0.0 && crop.min_area <= crop.max_area && crop.max_area <= 1.0) {
                let wanted = "must be above 0 and at most max_area, which is at most 1";
                return refuse("min_area", crop.min_area, wanted);
            }
            if !(1.0..=100.0).contains(&crop.max_ratio) {
                return refuse("max_ratio", crop.max_ratio, "must be in 1..=100");
            }
        }
        if !(0.0..=1.0).contains(&self.mixup) {
            return refuse("mixup", self.mixup, "must be in 0..=1");
        }
        if let Some(jitter) = &self.color_jitter {
            for (field, found) in [
                ("brightness", jitter.brightness),
                ("contrast", jitter.contrast),
                ("saturation", jitter.saturation),
            ] {
                if !(0.0..=1.0).contains(&found) {
                    return refuse(field, found, "must be in 0..=1");
                }
            }
            if !(0.0..=0.5).contains(&jitter.hue) {
                return refuse("hue", jitter.hue, "must be in 0..=0.5");
            }
        }
        Ok(())
    }

    /// Whether anything of it is [`apply`](Self::apply)'s to do.
    pub(super) fn moves(&self) -> bool {
        self.crop_padding > 0 || self.flip || self.cutout > 0
    }

    /// Crops with padding, mirrors, cuts out and normalises `image` into `out`, both H×W×C of `shape`. Draws the same number of
    /// words whatever the settings, so that with one seed the crops are the same with and without
    /// flips.
    pub(super) fn apply(
        &self,
        image: &[u8],
        shape: ImageShape,
        table: &PixelTable,
        rng: &mut ChaCha8Rng,
        out: &mut [f32],
    ) {
        let positions = 2 * self.crop_padding + 1;
        let choice = Choice {
            crop: (below(rng, positions), below(rng, positions)),
            mirrored: below(rng, 2) == 1 && self.flip,
            hole: (below(rng, shape.height), below(rng, shape.width)),
        };
        self.render(image, shape, table, choice, out);
    }

    fn render(
        &self,
        image: &[u8],
        shape: ImageShape,
        table: &PixelTable,
        choice: Choice,
        out: &mut [f32],
    ) {
        let (padding, row_len) = (self.crop_padding, shape.width * shape.channels);
        for (y, row) in out.chunks_exact_mut(row_len).enumerate() {
            let source = (y + choice.crop.0)
                .checked_sub(padding)
                .and_then(|y| image.chunks_exact(row_len).nth(y));
            match source {
                Some(source) => render_row(source, shape, table, padding, choice, row),
                None => table.blacken(row),
            }
        }
        if self.cutout > 0 {
            let rows = reach(choice.hole.0, self.cutout, shape.height);
            let columns = reach(choice.hole.1, self.cutout, shape.width);
            let values = columns.start * shape.channels..columns.end * shape.channels;
            for row in out
                .chunks_exact_mut(row_len)
                .take(rows.end)
                .skip(rows.start)
            {
                table.blacken(&mut row[values.clone()]);
            }
        }
    }
}

/// One row of the crop, whose first column is `choice.crop.1` of the padded image.
fn render_row(
    source: &[u8],
    shape: ImageShape,
    table: &PixelTable,
    padding: usize,
    choice: Choice,
    row: &mut [f32],
) {
    let column = choice.crop.1;
    // The crop reaches over the image by `left` pixels or by `right` ones.
    let left = padding.saturating_sub(column) * shape.channels;
    let right = column.saturating_sub(padding) * shape.channels;
    let (head, rest) = row.split_at_mut(left);
    let (middle, tail) = rest.split_at_mut(source.len() - left - right);
    table.blacken(head);
    table.convert(&source[right..source.len() - left], middle);
    table.blacken(tail);
    if choice.mirrored {
        // Mirrors the values, then puts those of each pixel back in order.
        row.reverse();
        row.chunks_exact_mut(shape.channels)
            .for_each(<[f32]>::reverse);
    }
}

/// The positions in `0..len` that a square of `side` around `middle` covers.
fn reach(middle: usize, side: usize, len: usize) -> std::ops::Range<usize> {
    middle.saturating_sub(side / 2)..(middle + side - side / 2).min(len)
}

#[cfg(test)]
mod tests {
    use super::super::Normalization;
    use super::super::keyed::{Purpose, stream};
    use super::*;

    const SHAPE: ImageShape = ImageShape {
        height: 3,
        width: 3,
        channels: 1,
    };
    #[rustfmt::skip]
    const IMAGE: [u8; 9] = [
        1, 2, 3,
        4, 5, 6,
        7, 8, 9,
    ];

    const FLIP: Augmentation = Augmentation {
        resized_crop: None,
        color_jitter: None,
        crop_padding: 0,
        flip: true,
        cutout: 0,
        mixup: 0.0,
    };

    fn crop(crop_padding: usize) -> Augmentation {
        Augmentation {
            crop_padding,
            ..Augmentation::default()
        }
    }

    /// The rendered image as bytes: with the identity, black is 0.
    fn render(
        augmentation: Augmentation,
        shape: ImageShape,
        image: &[u8],
        choice: Choice,
    ) -> Vec<u8> {
        let table = Normalization::identity(shape.channels)
            .table(shape.channels)
            .unwrap();
        let mut out = vec![f32::NAN; image.len()];
        augmentation.render(image, shape, &table, choice, &mut out);
        out.into_iter()
            .map(|value| (value * 255.0).round() as u8)
            .collect()
    }

    fn choice(crop: (usize, usize), mirrored: bool) -> Choice {
        Choice {
            crop,
            mirrored,
            hole: (0, 0),
        }
    }

    #[test]
    fn nothing_asked_nothing_done() {
        let none = Augmentation::default();
        assert_eq!(render(none, SHAPE, &IMAGE, choice((0, 0), false)), IMAGE);
    }

    #[test]
    fn flip_mirrors_each_row() {
        assert_eq!(
            render(FLIP, SHAPE, &IMAGE, choice((0, 0), true)),
            [3, 2, 1, 6, 5, 4, 9, 8, 7]
        );
    }

    #[test]
    fn flip_keeps_the_order_of_channels() {
        let shape = ImageShape {
            height: 1,
            width: 2,
            channels: 3,
        };
        assert_eq!(
            render(FLIP, shape, &[1, 2, 3, 4, 5, 6], choice((0, 0), true)),
            [4, 5, 6, 1, 2, 3]
        );
    }

    #[test]
    fn crop_in_the_middle_changes_nothing() {
        let crop = crop(1);
        assert_eq!(render(crop, SHAPE, &IMAGE, choice((1, 1), false)), IMAGE);
    }

    #[test]
    fn crop_at_the_first_corner_moves_down_and_right() {
        let crop = crop(1);
        assert_eq!(
            render(crop, SHAPE, &IMAGE, choice((0, 0), false)),
            [0, 0, 0, 0, 1, 2, 0, 4, 5]
        );
    }

    #[test]
    fn crop_at_the_last_corner_moves_up_and_left() {
        let crop = crop(2);
        assert_eq!(
            render(crop, SHAPE, &IMAGE, choice((4, 4), false)),
            [9, 0, 0, 0, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn crop_comes_before_flip() {
        let both = Augmentation {
            flip: true,
            ..crop(1)
        };
        assert_eq!(
            render(both, SHAPE, &IMAGE, choice((1, 0), true)),
            [2, 1, 0, 5, 4, 0, 8, 7, 0]
        );
    }

    #[test]
    fn cutout_is_cut_off_at_the_border() {
        let cutout = |side| Augmentation {
            cutout: side,
            ..crop(0)
        };
        let hole = |hole| Choice {
            crop: (0, 0),
            mirrored: false,
            hole,
        };
        assert_eq!(
            render(cutout(1), SHAPE, &IMAGE, hole((1, 1))),
            [1, 2, 3, 4, 0, 6, 7, 8, 9]
        );
        assert_eq!(
            render(cutout(2), SHAPE, &IMAGE, hole((1, 1))),
            [0, 0, 3, 0, 0, 6, 7, 8, 9]
        );
        assert_eq!(
            render(cutout(3), SHAPE, &IMAGE, hole((0, 2))),
            [1, 0, 0, 4, 0, 0, 7, 8, 9]
        );
    }

    #[test]
    fn padding_is_black_before_normalisation() {
        let normalization = Normalization {
            mean: vec![0.5, 0.25],
            std: vec![0.5, 0.125],
        };
        let table = normalization.table(2).unwrap();
        let shape = ImageShape {
            height: 1,
            width: 2,
            channels: 2,
        };
        let crop = crop(1);
        let mut out = [0.0; 4];
        crop.render(
            &[255, 255, 0, 0],
            shape,
            &table,
            choice((1, 0), false),
            &mut out,
        );
        assert_eq!(out, [-1.0, -2.0, 1.0, 6.0]);
    }

    #[test]
    fn every_choice_is_reached_and_a_flip_does_not_move_the_crop() {
        let table = Normalization::identity(1).table(1).unwrap();
        let draw = |augmentation: Augmentation, sample| {
            let mut out = [0.0; 9];
            augmentation.apply(
                &IMAGE,
                SHAPE,
                &table,
                &mut stream(1, Purpose::Augment, 0, sample),
                &mut out,
            );
            out.map(|value| (value * 255.0).round() as u8)
        };
        let plain = crop(1);
        let flipped = Augmentation {
            flip: true,
            ..plain
        };
        let mut seen = std::collections::BTreeSet::new();
        let mut mirrored = 0;
        for sample in 0..1_000 {
            let [crop, other] = [plain, flipped].map(|augmentation| draw(augmentation, sample));
            let mut mirror = crop;
            mirror.chunks_exact_mut(3).for_each(<[u8]>::reverse);
            assert!(other == crop || other == mirror);
            mirrored += usize::from(other == mirror);
            seen.insert(crop);
        }
        assert_eq!(seen.len(), 9, "three rows by three columns");
        assert!((400..600).contains(&mirrored), "{mirrored}");
    }
}
