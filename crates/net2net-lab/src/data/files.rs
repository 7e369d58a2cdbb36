//! Images that stay in their files and are decoded each time they are wanted.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rand_chacha::ChaCha8Rng;

use super::decode::{decode, probe};
use super::geometry::{Resampler, ResizedCrop, Window};
use super::source::Entry;
use super::{DataError, ImageShape};

/// The share of an image's middle that evaluation looks at: as 224 of 256 pixels, which is what
/// ImageNet's networks are judged by.
const CENTRE: f64 = 224.0 / 256.0;

/// Encoded images. A clone shares the list and the count of those that are broken.
#[derive(Clone)]
pub(super) struct Files {
    images: Arc<[Entry]>,
    shape: ImageShape,
    broken: Arc<Broken>,
}

/// Which images turned out to be broken, and how many may.
#[derive(Debug)]
struct Broken {
    dataset: String,
    total: usize,
    share: f64,
    /// Why, by name.
    found: Mutex<BTreeMap<String, String>>,
}

/// What a thread that decodes keeps from image to image.
#[derive(Default)]
pub(super) struct Scratch {
    encoded: Vec<u8>,
    pub(super) resampler: Resampler,
}

impl Files {
    /// Files that are brought to `shape`; up to `share` of them may be broken.
    pub(super) fn new(dataset: &str, images: Vec<Entry>, shape: ImageShape, share: f64) -> Self {
        let broken = Broken {
            dataset: dataset.to_owned(),
            total: images.len(),
            share,
            found: Mutex::default(),
        };
        Self {
            images: images.into(),
            shape,
            broken: Arc::new(broken),
        }
    }

    /// The same files in another choice and order, with a count of broken ones of their own.
    pub(super) fn choose(&self, indices: &[usize]) -> Self {
        let images = indices.iter().map(|&index| self.images[index].clone());
        let broken = &self.broken;
        Self::new(&broken.dataset, images.collect(), self.shape, broken.share)
    }

    pub(super) fn images(&self) -> &[Entry] {
        &self.images
    }

    /// One image in the shape of the set: its middle, or a crop that `rng` chooses. `None` if it is
    /// broken, which is noted.
    ///
    /// # Errors
    /// [`DataError::TooManyBroken`] if it is one broken image too many, [`DataError::Changed`] and
    /// [`DataError::Read`] if its file is not what it was.
    pub(super) fn read(
        &self,
        index: usize,
        crop: Option<(&ResizedCrop, &mut ChaCha8Rng)>,
        scratch: &mut Scratch,
    ) -> Result<Option<Vec<u8>>, DataError> {
        let entry = &self.images[index];
        entry.read(&mut scratch.encoded)?;
        let bytes = scratch.encoded.as_slice();
        let decoded = probe(bytes).and_then(|header| {
            let whole = (header.width, header.height);
            let window = match crop {
                Some((crop, rng)) => Window::random(crop, whole.0, whole.1, rng),
                None => Window::centre(whole.0, whole.1, self.shape, CENTRE),
            };
            let shrink = window.shrink(self.shape);
            Ok((decode(bytes, self.shape.channels, shrink)?, whole, window))
        });
        match decoded {
            Ok((picture, whole, window)) => {
                let size = (picture.width, picture.height);
                let resampler = &mut scratch.resampler;
                Ok(resampler.resample(&picture.pixels, size, whole, window, self.shape))
            }
            Err(fault) => {
                self.broken.note(&entry.name, fault.to_string())?;
                Ok(None)
            }
        }
    }

    /// The broken images found so far, and why each is, sorted by name.
    pub(super) fn broken(&self) -> Vec<(String, String)> {
        let found = self
            .broken
            .found
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        found.clone().into_iter().collect()
    }
}

impl Broken {
    fn note(&self, name: &str, why: String) -> Result<(), DataError> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.insert(name.to_owned(), why);
        check_share(&self.dataset, &found, self.total, self.share)
    }
}

/// Refuses more broken images than a share of all of them.
pub(super) fn check_share(
    dataset: &str,
    broken: &BTreeMap<String, String>,
    total: usize,
    share: f64,
) -> Result<(), DataError> {
    match broken.first_key_value() {
        Some((name, why)) if broken.len() as f64 > share * total as f64 => {
            Err(DataError::TooManyBroken {
                dataset: dataset.to_owned(),
                broken: broken.len(),
                total,
                share,
                first: format!("{name} {why}"),
            })
        }
        _ => Ok(()),
    }
}

impl PartialEq for Files {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.images == other.images
    }
}

impl Eq for Files {}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files")
            .field("len", &self.images.len())
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}
