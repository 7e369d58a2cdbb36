//! Batches for training: shuffled, augmented, normalised, ready before they are asked for.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use super::keyed::{Purpose, permutation, stream};
use super::normalize::PixelTable;
use super::prefetch::Prefetch;
use super::{Augmentation, Batch, DataError, Dataset, Normalization};

/// How the batches of an epoch are made. It has no state: an epoch is a function of its number and
/// of what is given here.
#[derive(Clone, Debug)]
pub struct Loader {
    /// Shared with the threads of the epochs.
    recipe: Arc<Recipe>,
    drop_last: bool,
}

/// The batches of an epoch, in order. Made ahead on another thread, which ends with the last batch
/// or when this is dropped.
///
/// An item is an error only if that thread panicked ([`DataError::WorkerPanicked`]); it is then the
/// last one.
#[derive(Debug)]
pub struct Epoch {
    batches: Prefetch<Batch>,
}

#[derive(Debug)]
struct Recipe {
    dataset: Dataset,
    table: PixelTable,
    augmentation: Augmentation,
    batch: usize,
    seed: u64,
    shuffle: bool,
}

impl Loader {
    /// Batches of `batch` samples of `dataset`, of which the last of an epoch may be smaller. The
    /// order (if `shuffle`) is keyed by seed and epoch, the augmentation of a sample by seed, epoch
    /// and its position in the data set.
    ///
    /// # Errors
    /// [`DataError::BatchSize`] if `batch` is 0 or larger than the data set,
    /// [`DataError::Normalization`] and [`DataError::Augmentation`] if they are not for these
    /// images.
    pub fn new(
        dataset: &Dataset,
        normalization: &Normalization,
        augmentation: Augmentation,
        batch: usize,
        seed: u64,
        shuffle: bool,
    ) -> Result<Self, DataError> {
        if !(1..=dataset.len()).contains(&batch) {
            return Err(DataError::BatchSize {
                dataset: dataset.name().to_owned(),
                batch,
                max: dataset.len(),
            });
        }
        let table = normalization.table(dataset.shape().channels)?;
        augmentation.check(dataset.shape())?;
        let recipe = Recipe {
            dataset: dataset.clone(),
            table,
            augmentation,
            batch,
            seed,
            shuffle,
        };
        Ok(Self {
            recipe: Arc::new(recipe),
            drop_last: false,
        })
    }

    /// Whether a last batch that would be smaller is left out. With `shuffle` other samples are
    /// left out in each epoch.
    pub fn drop_last(self, drop_last: bool) -> Self {
        Self { drop_last, ..self }
    }

    /// Batches in an epoch, at least 1.
    pub fn batches_per_epoch(&self) -> usize {
        let (samples, batch) = (self.recipe.dataset.len(), self.recipe.batch);
        if self.drop_last {
            samples / batch
        } else {
            samples.div_ceil(batch)
        }
    }

    /// Starts an epoch.
    ///
    /// # Errors
    /// [`DataError::WorkerStart`] if the system gives no thread.
    pub fn epoch(&self, epoch: u64) -> Result<Epoch, DataError> {
        self.epoch_from(epoch, 0)
    }

    /// Starts an epoch at its batch `first`, without making those before it: the same bits as
    /// [`epoch`](Self::epoch) gives from there on. The number of batches itself is allowed and
    /// gives none.
    ///
    /// # Errors
    /// [`DataError::NoSuchBatch`] if the epoch ends before, [`DataError::WorkerStart`] if the
    /// system gives no thread.
    pub fn epoch_from(&self, epoch: u64, first: usize) -> Result<Epoch, DataError> {
        let batches = self.batches_per_epoch();
        if first > batches {
            return Err(DataError::NoSuchBatch { first, batches });
        }
        let mut worker = Worker::new(Arc::clone(&self.recipe), epoch);
        Ok(Epoch {
            batches: Prefetch::start(first..batches, move |number| worker.make(number))?,
        })
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batches.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.batches.size_hint()
    }
}

/// What the thread of one epoch works with.
struct Worker {
    recipe: Arc<Recipe>,
    epoch: u64,
    /// The samples of the epoch, in its order.
    order: Vec<usize>,
    /// Batches whose samples have been used come back here, for their memory.
    returned: Receiver<Batch>,
    home: Sender<Batch>,
}

impl Worker {
    fn new(recipe: Arc<Recipe>, epoch: u64) -> Self {
        let samples = recipe.dataset.len();
        let order = if recipe.shuffle {
            permutation(samples, &mut stream(recipe.seed, Purpose::Order, epoch, 0))
        } else {
            (0..samples).collect()
        };
        let (home, returned) = mpsc::channel();
        Self {
            recipe,
            epoch,
            order,
            returned,
            home,
        }
    }

    fn make(&mut self, number: usize) -> Batch {
        let recipe = &*self.recipe;
        let shape = recipe.dataset.shape();
        let samples = self
            .order
            .iter()
            .copied()
            .skip(number * recipe.batch)
            .take(recipe.batch);
        let mut batch = self.returned.try_recv().unwrap_or_default();
        batch.refill(&recipe.dataset, number, samples, |index, image, values| {
            if recipe.augmentation == Augmentation::default() {
                recipe.table.convert(image, values);
            } else {
                let mut rng = stream(recipe.seed, Purpose::Augment, self.epoch, index as u64);
                recipe
                    .augmentation
                    .apply(image, shape, &recipe.table, &mut rng, values);
            }
        });
        batch.with_home(self.home.clone())
    }
}
