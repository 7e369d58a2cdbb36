//! A validated set of labelled images, and ways to choose parts of it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::DataError;
use super::files::{Files, Scratch};
use super::geometry::{ResizedCrop, Window};
use super::keyed::{Purpose, permutation, shuffle, stream};
use super::source::Entry;
use crate::hex::hex;

/// The shape of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Values of a pixel: 1 for gray, 3 for RGB.
    pub channels: usize,
}

impl ImageShape {
    /// Values in one image; `None` if the product overflows.
    pub fn checked_len(self) -> Option<usize> {
        self.height
            .checked_mul(self.width)?
            .checked_mul(self.channels)
    }
}

impl From<ImageShape> for [usize; 3] {
    /// Rows, columns and channels.
    fn from(shape: ImageShape) -> Self {
        [shape.height, shape.width, shape.channels]
    }
}

impl From<[usize; 3]> for ImageShape {
    /// Of rows, columns and channels.
    fn from([height, width, channels]: [usize; 3]) -> Self {
        ImageShape {
            height,
            width,
            channels,
        }
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}×{}", self.height, self.width, self.channels)
    }
}

/// Labelled images: as bytes in NHWC order, or in files that are decoded each time they are wanted.
/// Valid by construction and immutable; a clone shares the pixels.
#[derive(Clone, PartialEq, Eq)]
pub struct Dataset {
    name: String,
    shape: ImageShape,
    pixels: Pixels,
    labels: Arc<[u32]>,
    classes: Vec<String>,
}

/// Where the pixels are.
#[derive(Clone, PartialEq, Eq)]
enum Pixels {
    /// N×H×W×C bytes.
    Memory(Arc<[u8]>),
    Files(Files),
}

/// The two parts of a data set: what a network learns from, and what it is judged by. Same shape,
/// same classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splits {
    /// The training part.
    pub train: Dataset,
    /// The validation part, never trained on.
    pub validation: Dataset,
}

impl Splits {
    /// Joins two parts.
    ///
    /// # Errors
    /// [`DataError::SplitMismatch`] if their images differ in shape or their classes differ.
    pub fn new(train: Dataset, validation: Dataset) -> Result<Self, DataError> {
        let what = if train.shape != validation.shape {
            "the shape of their images"
        } else if train.classes != validation.classes {
            "their classes"
        } else {
            return Ok(Self { train, validation });
        };
        Err(DataError::SplitMismatch {
            train: train.name,
            validation: validation.name,
            what,
        })
    }
}

impl Dataset {
    /// A data set of `labels.len()` images of `shape`, whose bytes are in NHWC order, with one name
    /// for each class.
    ///
    /// # Errors
    /// [`DataError::Empty`] if there are no samples, no classes or no pixels in an image,
    /// [`DataError::PixelCount`] if the bytes are not as many as the shape and the labels say,
    /// [`DataError::LabelOutOfRange`] if a label has no class.
    pub fn new(
        name: impl Into<String>,
        shape: ImageShape,
        images: impl Into<Arc<[u8]>>,
        labels: impl Into<Arc<[u32]>>,
        classes: Vec<String>,
    ) -> Result<Self, DataError> {
        let (name, images, labels) = (name.into(), images.into(), labels.into());
        let set = Self {
            name,
            shape,
            pixels: Pixels::Memory(images),
            labels,
            classes,
        };
        set.checked()
    }

    /// A data set of images that stay in their files and are brought to `shape` when they are wanted;
    /// up to `broken_share` of them may be broken.
    pub(super) fn in_files(
        name: String,
        shape: ImageShape,
        images: Vec<Entry>,
        labels: Vec<u32>,
        classes: Vec<String>,
        broken_share: f64,
    ) -> Result<Self, DataError> {
        let set = Self {
            pixels: Pixels::Files(Files::new(&name, images, shape, broken_share)),
            name,
            shape,
            labels: labels.into(),
            classes,
        };
        set.checked()
    }

    /// Refuses what is no data set.
    fn checked(self) -> Result<Self, DataError> {
        let shape = self.shape;
        for (what, count) in [
            ("samples", self.labels.len()),
            ("classes", self.classes.len()),
            ("rows", shape.height),
            ("columns", shape.width),
            ("channels", shape.channels),
        ] {
            if count == 0 {
                return Err(DataError::Empty {
                    dataset: self.name,
                    what,
                });
            }
        }
        let expected = shape
            .checked_len()
            .and_then(|len| len.checked_mul(self.labels.len()));
        let found = match &self.pixels {
            Pixels::Memory(bytes) => Some(bytes.len()),
            Pixels::Files(files) => shape
                .checked_len()
                .and_then(|len| len.checked_mul(files.images().len())),
        };
        if expected.is_none() || expected != found {
            return Err(DataError::PixelCount {
                dataset: self.name,
                found: found.unwrap_or(usize::MAX),
                samples: self.labels.len(),
                shape,
            });
        }
        let classes = self.classes.len();
        let stray = self
            .labels
            .iter()
            .position(|&label| label as usize >= classes);
        match stray {
            Some(index) => Err(DataError::LabelOutOfRange {
                index,
                label: self.labels[index],
                origin: self.name,
                classes,
            }),
            None => Ok(self),
        }
    }

    /// What the set is called in messages and reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same set under another name.
    pub fn with_name(self, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }

    /// The shape of each image.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// The number of samples, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "never empty, by construction")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Values in one image: `height × width × channels`.
    pub fn image_len(&self) -> usize {
        // The product was checked with the number of samples.
        self.shape.height * self.shape.width * self.shape.channels
    }

    /// All pixels: N×H×W×C bytes; `None` if they are in files.
    pub fn images(&self) -> Option<&[u8]> {
        match &self.pixels {
            Pixels::Memory(bytes) => Some(bytes),
            Pixels::Files(_) => None,
        }
    }

    /// One image: H×W×C bytes; `None` past the end, or if it is in a file.
    pub fn image(&self, index: usize) -> Option<&[u8]> {
        self.images()?.chunks_exact(self.image_len()).nth(index)
    }

    /// Whether images are decoded each time they are wanted.
    pub fn is_in_files(&self) -> bool {
        matches!(self.pixels, Pixels::Files(_))
    }

    /// The broken images that were come upon so far, each with the reason, by name. Images that are
    /// kept in memory are good.
    pub fn broken(&self) -> Vec<(String, String)> {
        match &self.pixels {
            Pixels::Memory(_) => Vec::new(),
            Pixels::Files(files) => files.broken(),
        }
    }

    /// One image of the set in its shape: whole, or a random crop of it. `None` if it is broken.
    ///
    /// # Errors
    /// Where it is in a file, those of reading it; see [`DataError::TooManyBroken`].
    pub(super) fn view(
        &self,
        index: usize,
        crop: Option<(&ResizedCrop, &mut ChaCha8Rng)>,
        scratch: &mut Scratch,
    ) -> Result<Option<Cow<'_, [u8]>>, DataError> {
        if let Pixels::Files(files) = &self.pixels {
            return Ok(files.read(index, crop, scratch)?.map(Cow::Owned));
        }
        let image = self.image(index);
        let Some((crop, rng)) = crop else {
            return Ok(image.map(Cow::Borrowed));
        };
        let size = (self.shape.width, self.shape.height);
        let window = Window::random(crop, size.0, size.1, rng);
        let cut = |image| {
            scratch
                .resampler
                .resample(image, size, size, window, self.shape)
        };
        Ok(image.and_then(cut).map(Cow::Owned))
    }

    /// The label of each sample, below the number of classes.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The name of each class, at least one.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The number of samples of each class.
    pub fn histogram(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for &label in self.labels.iter() {
            counts[label as usize] += 1;
        }
        counts
    }

    /// The samples at `indices`, in that order; repeats are kept. Copies their pixels.
    ///
    /// # Errors
    /// [`DataError::NoSuchSample`] if an index is past the end, [`DataError::Empty`] if there are
    /// none.
    pub fn subset(&self, indices: &[usize]) -> Result<Self, DataError> {
        self.check_indices(indices)?;
        let pixels = match &self.pixels {
            Pixels::Memory(_) => {
                let images = indices.iter().filter_map(|&index| self.image(index));
                Pixels::Memory(images.collect::<Vec<_>>().concat().into())
            }
            Pixels::Files(files) => Pixels::Files(files.choose(indices)),
        };
        let part = Self {
            pixels,
            labels: indices.iter().map(|&index| self.labels[index]).collect(),
            ..self.clone()
        };
        part.checked()
    }

    /// The first `count` samples.
    ///
    /// # Errors
    /// [`DataError::SampleCount`] if `count` is 0 or more than there are.
    pub fn take(&self, count: usize) -> Result<Self, DataError> {
        self.check_count(count, self.len())?;
        let indices: Vec<usize> = (0..count).collect();
        self.subset(&indices)
    }

    /// A random choice of `count` samples, as evenly over the classes as these allow, in the order
    /// of the set.
    ///
    /// With one seed, a larger choice contains each smaller one: so data can grow.
    ///
    /// # Errors
    /// [`DataError::SampleCount`] if `count` is 0 or more than there are.
    pub fn take_balanced(&self, count: usize, seed: u64) -> Result<Self, DataError> {
        self.subset(&self.balanced(count, seed)?)
    }

    /// The places of the samples that [`Dataset::take_balanced`] takes.
    ///
    /// # Errors
    /// [`DataError::SampleCount`] if `count` is 0 or more than there are.
    pub fn balanced(&self, count: usize, seed: u64) -> Result<Vec<usize>, DataError> {
        self.check_count(count, self.len())?;
        let mut by_class = vec![Vec::new(); self.classes.len()];
        for (index, &label) in self.labels.iter().enumerate() {
            by_class[label as usize].push(index);
        }
        for (class, members) in by_class.iter_mut().enumerate() {
            shuffle(
                members,
                &mut stream(seed, Purpose::Balance, class as u64, 0),
            );
        }
        // One of each class in turn; a class that has run out is passed over.
        let rounds = by_class.iter().map(Vec::len).max().unwrap_or(0);
        let in_turn = (0..rounds).flat_map(|round| {
            by_class
                .iter()
                .filter_map(move |members| members.get(round))
        });
        let mut chosen: Vec<usize> = in_turn.take(count).copied().collect();
        chosen.sort_unstable();
        Ok(chosen)
    }

    /// Sets `validation` random samples aside; both parts keep the order of the set.
    ///
    /// # Errors
    /// [`DataError::SampleCount`] if either part would be empty.
    pub fn split(&self, validation: usize, seed: u64) -> Result<Splits, DataError> {
        self.check_count(validation, self.len() - 1)?;
        let mut order = permutation(self.len(), &mut stream(seed, Purpose::Split, 0, 0));
        let (aside, rest) = order.split_at_mut(validation);
        aside.sort_unstable();
        rest.sort_unstable();
        Splits::new(
            self.subset(rest)?.with_name(format!("{}/train", self.name)),
            self.subset(aside)?
                .with_name(format!("{}/validation", self.name)),
        )
    }

    /// The SHA-256 of the shape, the pixels and the labels, in hexadecimal: two sets with the same
    /// one are the same data, whatever they and their classes are called. Of images in files it is the
    /// names and lengths that count instead of the pixels, as reading all of them may take hours.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new_with_prefix("net2net dataset 1\n");
        for size in [
            self.len(),
            self.shape.height,
            self.shape.width,
            self.shape.channels,
        ] {
            hash.update((size as u64).to_le_bytes());
        }
        match &self.pixels {
            Pixels::Memory(bytes) => hash.update(bytes),
            Pixels::Files(files) => {
                for entry in files.images() {
                    hash.update(entry.name.as_bytes());
                    // A byte that is part of no name.
                    hash.update([0]);
                    hash.update(entry.len.to_le_bytes());
                }
            }
        }
        for label in self.labels.iter() {
            hash.update(label.to_le_bytes());
        }
        hex(hash.finalize())
    }

    /// Refuses an index past the end.
    pub(super) fn check_indices(&self, indices: &[usize]) -> Result<(), DataError> {
        match indices.iter().find(|&&index| index >= self.len()) {
            Some(&index) => Err(DataError::NoSuchSample {
                dataset: self.name.clone(),
                index,
                len: self.len(),
            }),
            None => Ok(()),
        }
    }

    fn check_count(&self, found: usize, max: usize) -> Result<(), DataError> {
        if (1..=max).contains(&found) {
            return Ok(());
        }
        Err(DataError::SampleCount {
            dataset: self.name.clone(),
            found,
            max,
        })
    }
}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the pixels, which would drown a message.
        f.debug_struct("Dataset")
            .field("name", &self.name)
            .field("len", &self.len())
            .field("shape", &self.shape)
            .field("classes", &self.classes)
            .finish_non_exhaustive()
    }
}
