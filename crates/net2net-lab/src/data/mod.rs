//! Labelled images: reading, choosing, normalising, augmenting and serving them in batches.
//!
//! The way of a pixel: [`open`] finds out what a folder or an archive holds, and it becomes a
//! [`Dataset`] of bytes, or of files that are decoded each time they are wanted; so does the embedded
//! [`fashion_mini`]. A [`Normalization`] measured on the training part and an [`Augmentation`] turn
//! the bytes of a sample into `f32`; a [`Loader`] does so ahead of the training step, on as many
//! threads as it takes, and hands over [`Batch`]es in NHWC order.
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
//! let normalization = Normalization::measure(&splits.train)?;
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
mod decode;
mod error;
mod fashion;
mod files;
mod folder;
mod geometry;
pub mod idx;
mod inspect;
mod jitter;
mod keyed;
mod loader;
mod mixture;
mod mixup;
mod normalize;
pub(crate) mod pack;
mod prefetch;
mod sheet;
mod source;

pub use augment::Augmentation;
pub use batch::{Batch, EvalBatches};
pub use dataset::{Dataset, ImageShape, Splits};
pub use decode::{Format, Header, ImageFault, MAX_PIXELS, probe};
pub use error::DataError;
pub use fashion::{FASHION_CLASSES, fashion_mini};
pub use folder::idx_folder;
pub use geometry::ResizedCrop;
pub use inspect::{ClassCount, Duplicate, Inspection, ModeCount, SizeCount, inspect};
pub use jitter::ColorJitter;
pub use loader::{Epoch, Loader};
pub use mixture::{Mixture, Share};
pub use normalize::Normalization;
pub use sheet::render as contact_sheet;
pub(crate) use source::{Arrivals, Newcomer, decoded, open_decoded};
pub use source::{Opened, SourceOptions, open};
