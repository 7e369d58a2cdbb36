//! Labelled images: reading, choosing, normalising, augmenting and serving them in batches.
//!
//! The way of a pixel: an IDX file ([`idx`]) or the embedded [`fashion_mini`] becomes a [`Dataset`]
//! of bytes; a [`Normalization`] measured on the training part and an [`Augmentation`] turn the
//! bytes of a sample into `f32`; a [`Loader`] does so ahead of the training step and hands over
//! [`Batch`]es in NHWC order.
//!
//! **Invariant:** every random choice is a function of an explicit seed and of what it is for (the
//! epoch, the sample), never of what was drawn before. So a run that resumes in the middle of an
//! epoch sees the same bits as one that never stopped, and the number of threads does not matter.
//!
//! **Invariant:** a [`Dataset`] that exists is valid: it is not empty, its sizes agree and each
//! label has a class.
//!
//! ```
//! use net2net_lab::data::{Augmentation, Loader, Normalization, fashion_mini};
//!
//! let splits = fashion_mini()?;
//! let normalization = Normalization::measure(&splits.train);
//! let augmentation = Augmentation { crop_padding: 2, flip: true, ..Augmentation::default() };
//! let (batch, seed, shuffle) = (128, 7, true);
//! let loader = Loader::new(&splits.train, &normalization, augmentation, batch, seed, shuffle)?;
//! for batch in loader.epoch(0)?.take(2) {
//!     let batch = batch?;
//!     assert_eq!(batch.images.len(), batch.size() * 28 * 28);
//! }
//! # Ok::<(), net2net_lab::data::DataError>(())
//! ```

mod augment;
mod batch;
mod dataset;
mod error;
mod fashion;
mod folder;
pub mod idx;
mod keyed;
mod loader;
mod normalize;
mod prefetch;

pub use augment::Augmentation;
pub use batch::{Batch, EvalBatches};
pub use dataset::{Dataset, ImageShape, Splits};
pub use error::DataError;
pub use fashion::{FASHION_CLASSES, fashion_mini};
pub use folder::idx_folder;
pub use loader::{Epoch, Loader};
pub use normalize::Normalization;
