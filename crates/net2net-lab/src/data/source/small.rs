//! Small images: decoded once, on all cores, and kept in memory.

use std::collections::BTreeMap;

use super::super::decode::{ImageFault, Picture, decode};
use super::super::files::check_share;
use super::super::geometry::{Resampler, Window};
use super::super::prefetch::{Prefetch, cores};
use super::super::{DataError, Dataset, ImageShape};
use super::arrange::Part;
use super::{LEFT_OUT, SourceOptions};

/// Images that one thread takes at a time.
const CHUNK: usize = 256;

/// A few decoded images: their bytes one after the other, the places of those that are good, and
/// what is wrong with the others.
type Decoded = Result<(Vec<u8>, Vec<usize>, Vec<(String, String)>), DataError>;

/// Decodes all images; leaves out those that are broken, and says which.
pub(super) fn decode_all(
    name: &str,
    part: Part,
    shape: ImageShape,
    classes: Vec<String>,
    options: &SourceOptions,
) -> Result<(Dataset, Vec<String>), DataError> {
    let total = part.images.len();
    let images = part.images;
    let chunks = total.div_ceil(CHUNK);
    let decoded = Prefetch::start(0..chunks, cores(), move || {
        let images = images.clone();
        let (mut encoded, mut resampler) = (Vec::new(), Resampler::default());
        move |chunk| -> Decoded {
            let (mut bytes, mut good, mut broken) = (Vec::new(), Vec::new(), Vec::new());
            let range = chunk * CHUNK..total.min((chunk + 1) * CHUNK);
            for (at, entry) in range.clone().zip(&images[range]) {
                entry.read(&mut encoded)?;
                let pixels = decode(&encoded, shape.channels, 1)
                    .and_then(|picture| whole(&mut resampler, picture, shape));
                match pixels {
                    Ok(pixels) => {
                        bytes.extend(pixels);
                        good.push(at);
                    }
                    Err(fault) => broken.push((entry.name.clone(), fault.to_string())),
                }
            }
            Ok((bytes, good, broken))
        }
    })?;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    let mut faults = BTreeMap::new();
    for chunk in decoded {
        let (bytes, good, broken) = chunk??;
        pixels.extend(bytes);
        labels.extend(good.into_iter().map(|at| part.labels[at]));
        faults.extend(broken);
    }
    check_share(name, &faults, total, options.broken_share)?;
    let notes = faults
        .into_iter()
        .map(|(image, why)| format!("{image} {why}; {LEFT_OUT}"))
        .collect();
    Ok((Dataset::new(name, shape, pixels, labels, classes)?, notes))
}

/// The whole image in a shape: cut in the middle where its proportions are others.
fn whole(
    resampler: &mut Resampler,
    picture: Picture,
    shape: ImageShape,
) -> Result<Vec<u8>, ImageFault> {
    if (picture.height, picture.width) == (shape.height, shape.width) {
        return Ok(picture.pixels);
    }
    let size = (picture.width, picture.height);
    let window = Window::centre(size.0, size.1, shape, 1.0);
    resampler
        .resample(&picture.pixels, size, size, window, shape)
        .ok_or_else(|| ImageFault::Damaged("it cannot be resized".to_owned()))
}

/// A set in memory with images of another shape, if it is another one.
pub(super) fn shaped(set: Dataset, shape: ImageShape) -> Result<Dataset, DataError> {
    let found = set.shape();
    if found == shape {
        return Ok(set);
    }
    if found.channels != shape.channels || shape.height != shape.width {
        return Err(DataError::Layout {
            folder: set.name().into(),
            reason: format!(
                "has images of {found} where those before were {shape}; bring them to that size and number of colours"
            ),
        });
    }
    resized(&set, shape.height)
}

/// A set in memory with square images of another side.
pub(super) fn resized(set: &Dataset, side: usize) -> Result<Dataset, DataError> {
    let from = set.shape();
    let shape = ImageShape {
        height: side,
        width: side,
        channels: from.channels,
    };
    let mut resampler = Resampler::default();
    let mut pixels = Vec::new();
    for index in 0..set.len() {
        let picture = Picture {
            width: from.width,
            height: from.height,
            pixels: set.image(index).unwrap_or_default().to_vec(),
        };
        let image = whole(&mut resampler, picture, shape);
        pixels.extend(image.map_err(|fault| DataError::Image {
            image: format!("{}, image {index}", set.name()),
            fault,
        })?);
    }
    let (labels, classes) = (set.labels().to_vec(), set.classes().to_vec());
    Dataset::new(set.name(), shape, pixels, labels, classes)
}
