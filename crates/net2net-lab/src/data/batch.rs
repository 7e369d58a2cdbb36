//! Samples side by side, ready for a network, and the plain way to make them: in order and
//! unchanged.

use std::fmt;
use std::ops::Range;
use std::sync::mpsc::Sender;

use super::files::Scratch;
use super::mixup;
use super::normalize::PixelTable;
use super::prefetch::{Prefetch, cores};
use super::{DataError, Dataset, Normalization};

/// A few samples. One that came from a [`Loader`](super::Loader) gives its memory back to it when
/// it is dropped.
#[derive(Default)]
pub struct Batch {
    /// Normalised images, N×H×W×C.
    pub images: Vec<f32>,
    /// The label of each sample.
    pub labels: Vec<u32>,
    /// The position of each sample in its data set.
    pub indices: Vec<usize>,
    /// The position of the batch in its epoch, from 0: resuming at `number + 1` goes on after it.
    pub number: usize,
    /// The share of each image that is its own if it was mixed with the next one (mixup).
    pub(super) share: Option<f32>,
    /// Where the memory goes when the batch is dropped.
    home: Option<Sender<Batch>>,
}

/// A data set in order, in batches of which only the last may be smaller, unless images turn out to
/// be broken: these are left out. See [`Dataset::batches_for_eval`].
#[derive(Debug)]
pub struct EvalBatches<'a> {
    made: Made<'a>,
}

/// How the batches of an evaluation are made.
#[derive(Debug)]
enum Made<'a> {
    /// When they are asked for: converting bytes is faster than handing them over.
    Here {
        dataset: &'a Dataset,
        table: PixelTable,
        batch: usize,
        next: Range<usize>,
    },
    /// Ahead, on all cores: files have to be decoded.
    Ahead(Prefetch<Result<Batch, DataError>>),
}

impl Batch {
    /// The number of samples, at least 1.
    pub fn size(&self) -> usize {
        self.labels.len()
    }

    /// The probabilities of `classes` classes, `[batch, classes]` row-major, if the images were mixed;
    /// otherwise the labels say all.
    pub fn mixed_labels(&self, classes: usize) -> Option<Vec<f32>> {
        self.share
            .map(|share| mixup::mixed_labels(&self.labels, classes, share))
    }

    /// Mixes the images in pairs.
    pub(super) fn mix(&mut self, image_len: usize, share: f32) {
        mixup::mix(&mut self.images, image_len, share);
        self.share = Some(share);
    }

    /// Sends the memory to `home` when the batch is dropped.
    pub(super) fn with_home(mut self, home: Sender<Batch>) -> Self {
        self.home = Some(home);
        self
    }

    /// Replaces the content by `indices` of `dataset`, which exist. `write` makes the values of one
    /// image and says which one it was; one for which it says `None` is left out.
    pub(super) fn refill(
        &mut self,
        dataset: &Dataset,
        number: usize,
        indices: impl ExactSizeIterator<Item = usize>,
        mut write: impl FnMut(usize, &mut [f32]) -> Result<Option<usize>, DataError>,
    ) -> Result<(), DataError> {
        let len = dataset.image_len();
        self.number = number;
        self.share = None;
        self.indices.clear();
        self.labels.clear();
        // Without clearing: every value that stays is overwritten below.
        self.images.resize(indices.len() * len, 0.0);
        for index in indices {
            let at = self.indices.len() * len;
            if let Some(written) = write(index, &mut self.images[at..at + len])? {
                self.indices.push(written);
                self.labels.push(dataset.labels()[written]);
            }
        }
        self.images.truncate(self.indices.len() * len);
        Ok(())
    }

    /// Replaces the content by `indices`, whole and unchanged.
    fn refill_plain(
        &mut self,
        dataset: &Dataset,
        table: &PixelTable,
        number: usize,
        indices: impl ExactSizeIterator<Item = usize>,
        scratch: &mut Scratch,
    ) -> Result<(), DataError> {
        self.refill(dataset, number, indices, |index, values| {
            let image = dataset.view(index, None, scratch)?;
            Ok(image.map(|image| {
                table.convert(&image, values);
                index
            }))
        })
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            // Fails when the loader is gone; then the memory is freed with the error.
            let _ = home.send(std::mem::take(self));
        }
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the images, which would drown a message.
        f.debug_struct("Batch")
            .field("number", &self.number)
            .field("indices", &self.indices)
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}

impl Dataset {
    /// The images at `indices`, normalised and otherwise unchanged: N×H×W×C. Repeats are kept. In the
    /// place of one that is broken stands the next good one.
    ///
    /// # Errors
    /// [`DataError::NoSuchSample`] if an index is past the end, [`DataError::BatchSize`] if there
    /// are more than fit in memory, [`DataError::Normalization`] if it is not one for these images.
    pub fn batch_f32(
        &self,
        indices: &[usize],
        normalization: &Normalization,
    ) -> Result<Vec<f32>, DataError> {
        self.check_indices(indices)?;
        // In bytes, as indices may repeat: the set itself fits in memory.
        let max = isize::MAX as usize / size_of::<f32>() / self.image_len();
        if indices.len() > max {
            return Err(DataError::BatchSize {
                dataset: self.name().to_owned(),
                batch: indices.len(),
                max,
            });
        }
        let table = normalization.table(self.shape().channels)?;
        let (mut batch, mut scratch) = (Batch::default(), Scratch::default());
        batch.refill(self, 0, indices.iter().copied(), |index, values| {
            self.good(index, |index| {
                let image = self.view(index, None, &mut scratch)?;
                Ok(image.map(|image| table.convert(&image, values)))
            })
        })?;
        Ok(std::mem::take(&mut batch.images))
    }

    /// Tries `make` at `index` and, as long as it finds a broken image, at the next; returns the one
    /// that was good.
    pub(super) fn good(
        &self,
        index: usize,
        mut make: impl FnMut(usize) -> Result<Option<()>, DataError>,
    ) -> Result<Option<usize>, DataError> {
        for index in (index..self.len()).chain(0..index) {
            if make(index)?.is_some() {
                return Ok(Some(index));
            }
        }
        Err(DataError::Empty {
            dataset: self.name().to_owned(),
            what: "images that can be decoded",
        })
    }

    /// All samples in order, normalised and otherwise unchanged, `batch` at a time; the last batch
    /// may be smaller.
    ///
    /// # Errors
    /// [`DataError::BatchSize`] if `batch` is 0, [`DataError::Normalization`] if it is not one for
    /// these images, [`DataError::WorkerStart`] if the system gives no thread.
    pub fn batches_for_eval(
        &self,
        normalization: &Normalization,
        batch: usize,
    ) -> Result<EvalBatches<'_>, DataError> {
        if batch == 0 {
            return Err(DataError::BatchSize {
                dataset: self.name().to_owned(),
                batch,
                max: self.len(),
            });
        }
        let table = normalization.table(self.shape().channels)?;
        let next = 0..self.len().div_ceil(batch);
        let made = if self.is_in_files() {
            Made::Ahead(Prefetch::start(next, cores(), || {
                let (dataset, table) = (self.clone(), table.clone());
                let mut scratch = Scratch::default();
                move |number| evaluated(&dataset, &table, batch, number, &mut scratch)
            })?)
        } else {
            Made::Here {
                dataset: self,
                table,
                batch,
                next,
            }
        };
        Ok(EvalBatches { made })
    }
}

/// One batch of an evaluation.
fn evaluated(
    dataset: &Dataset,
    table: &PixelTable,
    batch: usize,
    number: usize,
    scratch: &mut Scratch,
) -> Result<Batch, DataError> {
    let first = number * batch;
    let samples = first..dataset.len().min(first.saturating_add(batch));
    let mut made = Batch::default();
    made.refill_plain(dataset, table, number, samples, scratch)?;
    Ok(made)
}

impl Iterator for EvalBatches<'_> {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let made = match &mut self.made {
                Made::Here {
                    dataset,
                    table,
                    batch,
                    next,
                } => {
                    let number = next.next()?;
                    evaluated(dataset, table, *batch, number, &mut Scratch::default())
                }
                Made::Ahead(batches) => batches.next()?.and_then(|batch| batch),
            };
            // All of a batch may be broken.
            if made.as_ref().map_or(true, |batch| batch.size() > 0) {
                return Some(made);
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.made {
            Made::Here { next, .. } => next.size_hint(),
            Made::Ahead(batches) => (0, batches.size_hint().1),
        }
    }
}
