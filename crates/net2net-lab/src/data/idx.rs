//! The IDX format of MNIST and its relatives: a magic number, big-endian sizes, bytes. Plain or
//! gzip, told by the first bytes.
//!
//! Files are not trusted: sizes are checked against [`MAX_IDX_BYTES`] before anything is read,
//! memory grows only with bytes that are really there, and no more than the declared size and one
//! byte is ever decompressed.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::{DataError, Dataset, ImageShape};

/// The most data that a file may declare, in bytes: 2 GiB, forty times MNIST.
pub const MAX_IDX_BYTES: u64 = 1 << 31;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Unsigned bytes (08) in three dimensions.
const IMAGES_MAGIC: u32 = 0x0000_0803;
/// Unsigned bytes (08) in one dimension.
const LABELS_MAGIC: u32 = 0x0000_0801;

/// The content of a file of gray images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdxImages {
    /// Where they come from, for messages.
    pub file: PathBuf,
    /// The number of images, at least 1.
    pub count: usize,
    /// Rows of an image, at least 1.
    pub height: usize,
    /// Columns of an image, at least 1.
    pub width: usize,
    /// `count × height × width` bytes, row by row.
    pub pixels: Vec<u8>,
}

/// The content of a file of labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdxLabels {
    /// Where they come from, for messages.
    pub file: PathBuf,
    /// One label for each sample, at least one.
    pub labels: Vec<u8>,
}

/// Reads a file of images.
///
/// # Errors
/// As [`decode_images`], and [`DataError::Read`] if the file cannot be opened.
pub fn read_images(path: &Path) -> Result<IdxImages, DataError> {
    decode_images(path, open(path)?)
}

/// Reads a file of labels.
///
/// # Errors
/// As [`decode_labels`], and [`DataError::Read`] if the file cannot be opened.
pub fn read_labels(path: &Path) -> Result<IdxLabels, DataError> {
    decode_labels(path, open(path)?)
}

/// Reads images from `source`; `file` is for messages.
///
/// # Errors
/// [`DataError::Read`], [`Gzip`](DataError::Gzip), [`WrongMagic`](DataError::WrongMagic),
/// [`Truncated`](DataError::Truncated), [`TrailingBytes`](DataError::TrailingBytes),
/// [`ZeroSize`](DataError::ZeroSize) or [`TooLarge`](DataError::TooLarge).
pub fn decode_images(file: &Path, source: impl Read) -> Result<IdxImages, DataError> {
    let (sizes, pixels) = decode(file, source, IMAGES_MAGIC, "images")?;
    // The product of the sizes is below MAX_IDX_BYTES and each is at least 1, so that each fits.
    let [count, height, width] = sizes.map(|size| size as usize);
    Ok(IdxImages {
        file: file.to_owned(),
        count,
        height,
        width,
        pixels,
    })
}

/// Reads labels from `source`; `file` is for messages.
///
/// # Errors
/// As [`decode_images`].
pub fn decode_labels(file: &Path, source: impl Read) -> Result<IdxLabels, DataError> {
    let ([_count], labels) = decode(file, source, LABELS_MAGIC, "labels")?;
    Ok(IdxLabels {
        file: file.to_owned(),
        labels,
    })
}

/// Joins images and labels into a data set of gray images.
///
/// # Errors
/// [`DataError::CountMismatch`] if they are not equally many, [`DataError::LabelOutOfRange`] (which
/// names the file of labels) if a label has no class, and what [`Dataset::new`] refuses.
pub fn pair(
    name: impl Into<String>,
    images: IdxImages,
    labels: IdxLabels,
    classes: Vec<String>,
) -> Result<Dataset, DataError> {
    if images.count != labels.labels.len() {
        return Err(DataError::CountMismatch {
            images_file: images.file,
            images: images.count,
            labels_file: labels.file,
            labels: labels.labels.len(),
        });
    }
    if let Some(index) = labels
        .labels
        .iter()
        .position(|&label| usize::from(label) >= classes.len())
    {
        return Err(DataError::LabelOutOfRange {
            origin: labels.file.display().to_string(),
            index,
            label: labels.labels[index].into(),
            classes: classes.len(),
        });
    }
    let shape = ImageShape {
        height: images.height,
        width: images.width,
        channels: 1,
    };
    let labels: Vec<u32> = labels.labels.into_iter().map(u32::from).collect();
    Dataset::new(name, shape, images.pixels, labels, classes)
}

fn open(path: &Path) -> Result<File, DataError> {
    File::open(path).map_err(|source| read_error(path, source))
}

/// The `RANK` sizes and the data of an IDX file of bytes.
fn decode<const RANK: usize>(
    file: &Path,
    source: impl Read,
    expected_magic: u32,
    wanted: &'static str,
) -> Result<([u32; RANK], Vec<u8>), DataError> {
    let mut source = BufReader::new(source);
    let first = read_at_most(&mut source, 2).map_err(|error| read_error(file, error))?;
    let compressed = first == GZIP_MAGIC;
    let whole = first.as_slice().chain(source);
    let mut stream: Box<dyn Read + '_> = if compressed {
        Box::new(MultiGzDecoder::new(whole))
    } else {
        Box::new(whole)
    };
    let mut read = |limit| {
        read_at_most(&mut stream, limit).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidData
                if compressed =>
            {
                DataError::Gzip {
                    file: file.to_owned(),
                    source: error,
                }
            }
            _ => read_error(file, error),
        })
    };

    let header_len = 4 + 4 * RANK as u64;
    let header = read(header_len)?;
    let words: Vec<u32> = header
        .as_chunks()
        .0
        .iter()
        .map(|&bytes| u32::from_be_bytes(bytes))
        .collect();
    if let Some(&found) = words.first()
        && found != expected_magic
    {
        return Err(DataError::WrongMagic {
            file: file.to_owned(),
            found,
            expected: expected_magic,
            wanted,
        });
    }
    let Some(sizes) = words
        .get(1..)
        .and_then(|sizes| <[u32; RANK]>::try_from(sizes).ok())
    else {
        return Err(DataError::Truncated {
            file: file.to_owned(),
            found: header.len() as u64,
            expected: header_len,
        });
    };
    let len = declared_len(file, sizes)?;

    // One byte more than declared: finds what goes on, and otherwise makes the decoder see the end
    // and test its checksum.
    let data = read(len + 1)?;
    let expected = header_len + len;
    match data.len() as u64 {
        found if found < len => Err(DataError::Truncated {
            file: file.to_owned(),
            found: header_len + found,
            expected,
        }),
        found if found > len => Err(DataError::TrailingBytes {
            file: file.to_owned(),
            expected,
        }),
        _ => Ok((sizes, data)),
    }
}

/// The number of bytes that the sizes of a header declare: at least 1, at most [`MAX_IDX_BYTES`].
fn declared_len<const RANK: usize>(file: &Path, sizes: [u32; RANK]) -> Result<u64, DataError> {
    if sizes.contains(&0) {
        return Err(DataError::ZeroSize {
            file: file.to_owned(),
            sizes: sizes.to_vec(),
        });
    }
    sizes
        .iter()
        .try_fold(1_u64, |len, &size| len.checked_mul(size.into()))
        .filter(|&len| len <= MAX_IDX_BYTES)
        .ok_or_else(|| DataError::TooLarge {
            file: file.to_owned(),
            sizes: sizes.to_vec(),
            cap: MAX_IDX_BYTES,
        })
}

/// Up to `limit` bytes; fewer only at the end of the source. Memory grows with what is read, not
/// with the limit.
fn read_at_most(source: &mut (impl Read + ?Sized), limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_error(file: &Path, source: io::Error) -> DataError {
    DataError::Read {
        file: file.to_owned(),
        source,
    }
}
