//! Batches for training: shuffled, augmented, normalised, ready before they are asked for.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use super::files::Scratch;
use super::keyed::{Purpose, permutation, stream};
use super::mixup;
use super::normalize::PixelTable;
use super::prefetch::{Prefetch, cores};
use super::{Augmentation, Batch, DataError, Dataset, Normalization};

/// How the batches of an epoch are made. It has no state: an epoch is a function of its number and
/// of what is given here.
#[derive(Clone, Debug)]
pub struct Loader {
    /// Shared with the threads of the epochs.
    recipe: Arc<Recipe>,
    drop_last: bool,
    threads: usize,
}

/// The batches of an epoch, in order. Made ahead on other threads, which end with the last batch or
/// when this is dropped.
///
/// An item is an error if images could not be read, or if a thread panicked
/// ([`DataError::WorkerPanicked`]).
#[derive(Debug)]
pub struct Epoch {
    batches: Prefetch<Result<Batch, DataError>>,
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
            threads: if dataset.is_in_files() { cores() } else { 1 },
        })
    }

    /// On how many threads batches are made; by default on one, and on all cores where images have to
    /// be decoded. The batches are the same for any number.
    pub fn threads(self, threads: usize) -> Self {
        Self { threads, ..self }
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
        let work = Arc::new(Work::new(Arc::clone(&self.recipe), epoch));
        Ok(Epoch {
            batches: Prefetch::start(first..batches, self.threads, || {
                let (work, mut scratch) = (Arc::clone(&work), Scratch::default());
                move |number| work.make(number, &mut scratch)
            })?,
        })
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.batches.next()?.and_then(|batch| batch))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.batches.size_hint()
    }
}

/// What the threads of one epoch work with.
struct Work {
    recipe: Arc<Recipe>,
    epoch: u64,
    /// The samples of the epoch, in its order.
    order: Vec<usize>,
    /// Batches whose samples have been used come back here, for their memory.
    returned: Mutex<Receiver<Batch>>,
    home: Sender<Batch>,
}

impl Work {
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
            returned: Mutex::new(returned),
            home,
        }
    }

    fn make(&self, number: usize, scratch: &mut Scratch) -> Result<Batch, DataError> {
        let recipe = &*self.recipe;
        let first = number * recipe.batch;
        let last = self.order.len().min(first + recipe.batch);
        let samples = self.order[first..last].iter().copied();
        let returned = self.returned.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = returned.try_recv().unwrap_or_default();
        drop(returned);
        batch.refill(&recipe.dataset, number, samples, |index, values| {
            let dataset = &recipe.dataset;
            dataset.good(index, |index| self.write(index, values, scratch))
        })?;
        let alpha = recipe.augmentation.mixup;
        if alpha > 0.0 {
            let mut rng = stream(recipe.seed, Purpose::Mix, self.epoch, number as u64);
            batch.mix(recipe.dataset.image_len(), mixup::share(&mut rng, alpha));
        }
        Ok(batch.with_home(self.home.clone()))
    }

    /// One augmented sample; `None` if it is broken.
    fn write(
        &self,
        index: usize,
        values: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<Option<()>, DataError> {
        let recipe = &*self.recipe;
        let shape = recipe.dataset.shape();
        let draw = |purpose| stream(recipe.seed, purpose, self.epoch, index as u64);
        let mut crop_stream = draw(Purpose::Crop);
        let crop = recipe.augmentation.resized_crop.as_ref();
        let crop = crop.map(|crop| (crop, &mut crop_stream));
        let Some(mut image) = recipe.dataset.view(index, crop, scratch)? else {
            return Ok(None);
        };
        if let Some(jitter) = &recipe.augmentation.color_jitter {
            jitter.apply(image.to_mut(), shape.channels, &mut draw(Purpose::Jitter));
        }
        if recipe.augmentation.moves() {
            let mut rng = draw(Purpose::Augment);
            let augmentation = &recipe.augmentation;
            augmentation.apply(&image, shape, &recipe.table, &mut rng, values);
        } else {
            recipe.table.convert(&image, values);
        }
        Ok(Some(()))
    }
}
