//! Samples side by side, ready for a network, and the plain way to make them: in order, unchanged,
//! on this thread.

use std::fmt;
use std::ops::Range;
use std::sync::mpsc::Sender;

use super::normalize::PixelTable;
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
    /// Where the memory goes when the batch is dropped.
    home: Option<Sender<Batch>>,
}

/// A data set in order, in batches of which only the last may be smaller; see
/// [`Dataset::batches_for_eval`].
#[derive(Clone, Debug)]
pub struct EvalBatches<'a> {
    dataset: &'a Dataset,
    table: PixelTable,
    batch: usize,
    next: Range<usize>,
}

impl Batch {
    /// The number of samples, at least 1.
    pub fn size(&self) -> usize {
        self.labels.len()
    }

    /// Sends the memory to `home` when the batch is dropped.
    pub(super) fn with_home(mut self, home: Sender<Batch>) -> Self {
        self.home = Some(home);
        self
    }

    /// Replaces the content by `indices` of `dataset`, which exist; `write` makes the values of one
    /// image (index, bytes, values).
    pub(super) fn refill(
        &mut self,
        dataset: &Dataset,
        number: usize,
        indices: impl IntoIterator<Item = usize>,
        mut write: impl FnMut(usize, &[u8], &mut [f32]),
    ) {
        self.number = number;
        self.indices.clear();
        self.indices.extend(indices);
        self.labels.clear();
        self.labels
            .extend(self.indices.iter().map(|&index| dataset.labels()[index]));
        // Without clearing: every value is overwritten below.
        self.images
            .resize(self.indices.len() * dataset.image_len(), 0.0);
        for (&index, values) in self
            .indices
            .iter()
            .zip(self.images.chunks_exact_mut(dataset.image_len()))
        {
            if let Some(image) = dataset.image(index) {
                write(index, image, values);
            }
        }
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
    /// The images at `indices`, normalised and otherwise unchanged: N×H×W×C. Repeats are kept.
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
        let mut batch = Batch::default();
        batch.refill(self, 0, indices.iter().copied(), |_, image, values| {
            table.convert(image, values)
        });
        Ok(std::mem::take(&mut batch.images))
    }

    /// All samples in order, normalised and otherwise unchanged, `batch` at a time; the last batch
    /// may be smaller.
    ///
    /// # Errors
    /// [`DataError::BatchSize`] if `batch` is 0, [`DataError::Normalization`] if it is not one for
    /// these images.
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
        Ok(EvalBatches {
            dataset: self,
            table,
            batch,
            next: 0..self.len().div_ceil(batch),
        })
    }
}

impl Iterator for EvalBatches<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let number = self.next.next()?;
        let first = number * self.batch;
        let samples = first..self.dataset.len().min(first.saturating_add(self.batch));
        let mut batch = Batch::default();
        batch.refill(self.dataset, number, samples, |_, image, values| {
            self.table.convert(image, values)
        });
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.next.size_hint()
    }
}

impl ExactSizeIterator for EvalBatches<'_> {}
