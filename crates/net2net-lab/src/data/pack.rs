//! Packs: labelled images in one file, decoded and at their size, so that what was trained on stays what it was, wherever
//! it came from.
//!
//! ```text
//! net2net pack 1\n
//! the length of the header, u64, little-endian
//! the header, JSON: name, height, width, channels, samples, classes
//! the labels, u32 each, little-endian
//! the pixels, N×H×W×C bytes
//! ```

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{DataError, Dataset, ImageShape};

const MAGIC: &[u8] = b"net2net pack 1\n";
/// The end of the name of a pack's file.
pub(crate) const PACK_EXTENSION: &str = "pack";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    name: String,
    height: usize,
    width: usize,
    channels: usize,
    samples: usize,
    classes: Vec<String>,
}

/// The bytes of a pack; the same images give the same bytes. `None` of images in files, which have to be decoded first.
pub(crate) fn encode(data: &Dataset) -> Option<Vec<u8>> {
    let shape = data.shape();
    let header = Header {
        name: data.name().to_owned(),
        height: shape.height,
        width: shape.width,
        channels: shape.channels,
        samples: data.len(),
        classes: data.classes().to_vec(),
    };
    let pixels = data.images()?;
    let header = serde_json::to_vec(&header).ok()?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header);
    bytes.extend(data.labels().iter().flat_map(|label| label.to_le_bytes()));
    bytes.extend(pixels);
    Some(bytes)
}

/// Reads a pack.
pub(crate) fn read(path: &Path) -> Result<Dataset, DataError> {
    let bytes = fs::read(path).map_err(|source| DataError::Read {
        file: path.to_owned(),
        source,
    })?;
    decode(&bytes, path)
}

fn decode(bytes: &[u8], path: &Path) -> Result<Dataset, DataError> {
    let damaged = |reason: &str| DataError::Pack {
        file: path.to_owned(),
        reason: reason.to_owned(),
    };
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| damaged("it does not begin as one"))?;
    let (length, rest) = rest
        .split_first_chunk::<8>()
        .ok_or_else(|| damaged("it ends in its header"))?;
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (header, rest) = rest
        .split_at_checked(length)
        .ok_or_else(|| damaged("it ends in its header"))?;
    let header: Header =
        serde_json::from_slice(header).map_err(|error| damaged(&error.to_string()))?;
    let shape = ImageShape {
        height: header.height,
        width: header.width,
        channels: header.channels,
    };
    let labels_len = header.samples.checked_mul(4);
    let (labels, pixels) = labels_len
        .and_then(|len| rest.split_at_checked(len))
        .ok_or_else(|| damaged("it ends in its labels"))?;
    let labels: Vec<u32> = labels
        .as_chunks::<4>()
        .0
        .iter()
        .map(|label| u32::from_le_bytes(*label))
        .collect();
    Dataset::new(header.name, shape, pixels, labels, header.classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Dataset {
        let shape = ImageShape {
            height: 2,
            width: 1,
            channels: 3,
        };
        let pixels: Vec<u8> = (0..18).collect();
        let classes = vec!["a".to_owned(), "b".to_owned()];
        Dataset::new("three", shape, pixels, vec![0_u32, 1, 1], classes).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = encode(&images()).unwrap();
        assert_eq!(decode(&bytes, Path::new("x.pack")).unwrap(), images());
    }

    #[test]
    fn damage_is_an_error_that_names_the_file() {
        let bytes = encode(&images()).unwrap();
        let mut long = bytes.clone();
        long[MAGIC.len() + 7] = 0xff;
        for wrong in [
            &bytes[..5],
            &bytes[..40],
            &bytes[..bytes.len() - 1],
            &long[..],
        ] {
            let error = decode(wrong, Path::new("x.pack")).unwrap_err();
            let said = error.to_string();
            assert!(said.contains("x.pack") || said.contains("three"), "{said}");
        }
    }
}
