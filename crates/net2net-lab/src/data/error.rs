//! Everything that can be wrong with data, each with what was found, what was expected and what to
//! do.

use std::io;
use std::path::PathBuf;

use super::{ImageFault, ImageShape};

/// Why data could not be read, chosen or served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused to open or read a file or a folder.
    #[error("cannot read {}: check that it exists and may be read", file.display())]
    Read {
        /// The file or folder.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// A gzip stream is cut short, fails its checksum or is followed by bytes that are no gzip.
    #[error("{}: the gzip stream is damaged or cut short; fetch the file again", file.display())]
    Gzip {
        /// The compressed file.
        file: PathBuf,
        /// What the decoder said.
        source: io::Error,
    },

    /// A pack or a mixture is damaged, or does not belong to the others.
    #[error("{}: not a sound pack of images: {reason}", file.display())]
    Pack {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },

    /// The first four bytes are not those of the kind of IDX file that was asked for.
    #[error(
        "{}: starts with {found:#010x}, an IDX file of {wanted} starts with {expected:#010x}; \
         check that images and labels are not swapped", file.display()
    )]
    WrongMagic {
        /// The file.
        file: PathBuf,
        /// The number it starts with.
        found: u32,
        /// The number it should start with.
        expected: u32,
        /// What was asked for: images or labels.
        wanted: &'static str,
    },

    /// A file ends before its header or before the data that the header declares.
    #[error(
        "{}: holds {found} bytes (uncompressed) where {expected} are expected; \
         fetch the file again", file.display()
    )]
    Truncated {
        /// The file.
        file: PathBuf,
        /// Bytes found, after decompression.
        found: u64,
        /// Bytes expected: the header, and the data where the header could be read.
        expected: u64,
    },

    /// A file goes on after the data that its header declares. How far is not looked at: it may be
    /// a decompression bomb.
    #[error(
        "{}: goes on after the {expected} bytes (uncompressed) that its header declares; \
         fetch the file again",
        file.display()
    )]
    TrailingBytes {
        /// The file.
        file: PathBuf,
        /// Bytes expected, header included.
        expected: u64,
    },

    /// A header declares a dimension of zero.
    #[error("{}: declares the sizes {sizes:?}; each must be at least 1", file.display())]
    ZeroSize {
        /// The file.
        file: PathBuf,
        /// The declared sizes.
        sizes: Vec<u32>,
    },

    /// A header declares more data than the reader accepts.
    #[error(
        "{}: declares the sizes {sizes:?}, more than the {cap} bytes that are read at most; \
         split the file", file.display()
    )]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The declared sizes.
        sizes: Vec<u32>,
        /// The most bytes that are accepted.
        cap: u64,
    },

    /// A file of images and its file of labels hold different numbers of samples.
    #[error(
        "{} holds {images} images and {} holds {labels} labels; take both from the same source",
        images_file.display(), labels_file.display()
    )]
    CountMismatch {
        /// The file of images.
        images_file: PathBuf,
        /// Images in it.
        images: usize,
        /// The file of labels.
        labels_file: PathBuf,
        /// Labels in it.
        labels: usize,
    },

    /// A label has no class.
    #[error(
        "{origin}: label {label} of sample {index} is not below the number of classes, {classes}; \
         correct the labels or add the classes"
    )]
    LabelOutOfRange {
        /// The file or data set that holds the label.
        origin: String,
        /// The position of the sample.
        index: usize,
        /// The label found.
        label: u32,
        /// The number of classes.
        classes: usize,
    },

    /// A folder lacks one of the four files of a data set.
    #[error("{}: holds no file {name} or {name}.gz; put it there", folder.display())]
    MissingFile {
        /// The folder.
        folder: PathBuf,
        /// The name that is missing.
        name: String,
    },

    /// A folder holds more than one data set.
    #[error(
        "{}: holds several data sets, {}; keep one in the folder",
        folder.display(), candidates.join(", ")
    )]
    SeveralDatasets {
        /// The folder.
        folder: PathBuf,
        /// The files of training images found, sorted.
        candidates: Vec<String>,
    },

    /// A data set would have no samples, no classes or images without pixels.
    #[error("data set {dataset}: has no {what}; at least one is needed")]
    Empty {
        /// The data set.
        dataset: String,
        /// What it has none of.
        what: &'static str,
    },

    /// The pixels of a data set are not as many as its labels and the shape of its images say.
    #[error(
        "data set {dataset}: {found} bytes of pixels for {samples} images of {shape}; \
         give one byte for each pixel and channel"
    )]
    PixelCount {
        /// The data set.
        dataset: String,
        /// Bytes given.
        found: usize,
        /// Labels given.
        samples: usize,
        /// The shape of one image.
        shape: ImageShape,
    },

    /// The training and the validation part of a data set cannot be used by one network.
    #[error("{train} and {validation} differ in {what}; take both from the same source")]
    SplitMismatch {
        /// The training part.
        train: String,
        /// The validation part.
        validation: String,
        /// In what they differ: the shape of the images or the classes.
        what: &'static str,
    },

    /// A sample was asked for that a data set does not have.
    #[error("data set {dataset}: sample {index} was asked for, it has {len}")]
    NoSuchSample {
        /// The data set.
        dataset: String,
        /// The position asked for.
        index: usize,
        /// The number of samples.
        len: usize,
    },

    /// A number of samples was asked for that a data set cannot give.
    #[error("data set {dataset}: {found} samples were asked for; ask for 1 to {max}")]
    SampleCount {
        /// The data set.
        dataset: String,
        /// The number asked for.
        found: usize,
        /// The most that can be asked for.
        max: usize,
    },

    /// A normalisation is not one for these images: a mean and a standard deviation for each
    /// channel, finite, the latter above 0.
    #[error("normalization: {reason}; measure it on the training set")]
    Normalization {
        /// What is wrong with it.
        reason: String,
    },

    /// An augmentation would leave nothing of an image.
    #[error(
        "augmentation: {field} = {found} is too large for images of {shape}; use at most {max}"
    )]
    Augmentation {
        /// The setting.
        field: &'static str,
        /// Its value.
        found: usize,
        /// The most that these images allow.
        max: usize,
        /// The shape of one image.
        shape: ImageShape,
    },

    /// A batch of no samples, or of more than can be held.
    #[error("data set {dataset}: cannot make batches of {batch}; use 1 to {max}")]
    BatchSize {
        /// The data set.
        dataset: String,
        /// The batch size asked for.
        batch: usize,
        /// The largest batch that makes sense here.
        max: usize,
    },

    /// An epoch was to start after its end.
    #[error(
        "cannot start at batch {first}: an epoch has {batches}; \
         was the run made with another batch size or data set?"
    )]
    NoSuchBatch {
        /// The batch asked for, counted from 0.
        first: usize,
        /// Batches in an epoch.
        batches: usize,
    },

    /// A folder or an archive holds no images in any order that is known.
    #[error(
        "{}: {found}; expected one of: train/CLASS/… and val/CLASS/… (also valid, validation, test), \
         train/CLASS/… and a flat val with a file of labels, CLASS/… alone, CIFAR-10 or CIFAR-100 \
         (binary version), IDX files, or a tar archive (.tar, .tar.gz, .tar.xz) of one of these; images \
         are JPEG, PNG or WebP", folder.display()
    )]
    Unrecognized {
        /// The folder or archive.
        folder: PathBuf,
        /// What is there instead.
        found: String,
    },

    /// Folders of classes that do not fit together.
    #[error("{}: {reason}", folder.display())]
    Layout {
        /// The folder or archive.
        folder: PathBuf,
        /// What does not fit, and what to do.
        reason: String,
    },

    /// A file of labels that does not fit the images.
    #[error("{}: {reason}", file.display())]
    Labels {
        /// The file.
        file: PathBuf,
        /// What does not fit, and what to do.
        reason: String,
    },

    /// An archive that cannot be read or is not to be trusted.
    #[error("{}: {reason}", file.display())]
    Archive {
        /// The archive.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },

    /// An image that cannot be used.
    #[error("{image} {fault}")]
    Image {
        /// The image, by its place in the data set.
        image: String,
        /// Why.
        fault: ImageFault,
    },

    /// More images are broken than was allowed.
    #[error(
        "{dataset}: {broken} of {total} images are broken, more than the share of {share} that is \
         allowed; the first: {first}; remove them or raise `broken_share`"
    )]
    TooManyBroken {
        /// The data set.
        dataset: String,
        /// Broken images found so far.
        broken: usize,
        /// All images.
        total: usize,
        /// The share that is allowed.
        share: f64,
        /// One of them, and why.
        first: String,
    },

    /// A file is not what it was when the data set was opened.
    #[error(
        "{} has changed since the data set was opened: {what}; leave the files alone while they are in \
         use, and start again", file.display()
    )]
    Changed {
        /// The file.
        file: PathBuf,
        /// What has changed.
        what: String,
    },

    /// A setting of how data is read makes no sense.
    #[error("data setting {field} = {found}: {wanted}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        wanted: &'static str,
    },

    /// The system gave no thread for the loader.
    #[error(
        "cannot start the loader's thread; \
         lower the load of the machine or raise its limit of threads"
    )]
    WorkerStart {
        /// What the system said.
        source: io::Error,
    },

    /// The loader's thread panicked: a fault of this program.
    #[error("the loader's thread failed: {message}; please report it")]
    WorkerPanicked {
        /// The panic's message.
        message: String,
    },
}
