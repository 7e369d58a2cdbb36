//! The IDX reader: what it accepts, and each thing that it refuses, by name.

use std::fs;
use std::path::{Path, PathBuf};

use net2net_lab::data::DataError;
use net2net_lab::data::idx::{
    IdxImages, IdxLabels, MAX_IDX_BYTES, decode_images, decode_labels, pair, read_images,
    read_labels,
};

use super::{gzip, idx_images, idx_labels, names};

const FILE: &str = "some.idx";

fn images_error(bytes: &[u8]) -> DataError {
    decode_images(Path::new(FILE), bytes).unwrap_err()
}

/// The message names the file.
#[track_caller]
fn assert_names_the_file(error: &DataError) {
    assert!(error.to_string().contains(FILE), "{error}");
}

#[test]
fn plain_and_compressed_files_read_alike_whatever_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = idx_images([2, 1, 3], &[1, 2, 3, 4, 5, 6]);
    // The name says the opposite of the content.
    let (plain, compressed) = (
        folder.path().join("plain.gz"),
        folder.path().join("compressed"),
    );
    fs::write(&plain, &bytes).unwrap();
    fs::write(&compressed, gzip(&bytes)).unwrap();
    for file in [plain, compressed] {
        let expected = IdxImages {
            file: file.clone(),
            count: 2,
            height: 1,
            width: 3,
            pixels: vec![1, 2, 3, 4, 5, 6],
        };
        assert_eq!(read_images(&file).unwrap(), expected);
    }
}

#[test]
fn labels_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("labels");
    fs::write(&file, gzip(&idx_labels(3, &[2, 0, 1]))).unwrap();
    assert_eq!(
        read_labels(&file).unwrap(),
        IdxLabels {
            file,
            labels: vec![2, 0, 1]
        }
    );
}

#[test]
fn a_gzip_file_of_several_members_is_one_file() {
    let bytes = idx_labels(3, &[2, 0, 1]);
    let members = [gzip(&bytes[..5]), gzip(&bytes[5..])].concat();
    assert_eq!(
        decode_labels(Path::new(FILE), members.as_slice())
            .unwrap()
            .labels,
        [2, 0, 1]
    );
}

#[test]
fn error_read_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("absent");
    let error = read_images(&file).unwrap_err();
    assert!(
        matches!(&error, DataError::Read { file: found, .. } if *found == file),
        "{error:?}"
    );
    assert!(error.to_string().contains("absent"));
}

#[test]
fn error_wrong_magic_when_labels_are_given_for_images() {
    let error = images_error(&idx_labels(1, &[0]));
    assert!(
        matches!(
            error,
            DataError::WrongMagic {
                found: 0x0801,
                expected: 0x0803,
                wanted: "images",
                ..
            }
        ),
        "{error:?}"
    );
    assert_names_the_file(&error);
}

#[test]
fn error_wrong_magic_when_it_is_no_idx_file() {
    let error = decode_labels(Path::new(FILE), b"<html>".as_slice()).unwrap_err();
    assert!(
        matches!(
            error,
            DataError::WrongMagic {
                expected: 0x0801,
                wanted: "labels",
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn error_truncated_at_every_length_plain() {
    let bytes = idx_images([2, 1, 3], &[1, 2, 3, 4, 5, 6]);
    for len in 0..bytes.len() {
        let error = images_error(&bytes[..len]);
        let expected_len = if len < 16 { 16 } else { 22 };
        assert!(
            matches!(error, DataError::Truncated { found, expected, .. } if found == len as u64 && expected == expected_len),
            "{len}: {error:?}"
        );
        assert_names_the_file(&error);
    }
}

#[test]
fn error_gzip_at_every_length_of_a_compressed_file() {
    let bytes = gzip(&idx_images([2, 1, 3], &[1, 2, 3, 4, 5, 6]));
    for len in 2..bytes.len() {
        let error = images_error(&bytes[..len]);
        assert!(matches!(error, DataError::Gzip { .. }), "{len}: {error:?}");
        assert_names_the_file(&error);
    }
}

#[test]
fn error_gzip_when_the_checksum_is_wrong() {
    let mut bytes = gzip(&idx_images([2, 1, 3], &[1, 2, 3, 4, 5, 6]));
    let checksum = bytes.len() - 8;
    bytes[checksum] ^= 1;
    assert!(matches!(images_error(&bytes), DataError::Gzip { .. }));
}

#[test]
fn error_gzip_when_something_else_follows() {
    let bytes = [gzip(&idx_images([1, 1, 1], &[1])), b"more".to_vec()].concat();
    assert!(matches!(images_error(&bytes), DataError::Gzip { .. }));
}

#[test]
fn error_truncated_when_the_compressed_data_are_too_few() {
    let error = images_error(&gzip(&idx_images([2, 1, 3], &[1, 2, 3, 4, 5])));
    assert!(
        matches!(
            error,
            DataError::Truncated {
                found: 21,
                expected: 22,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn error_trailing_bytes() {
    let bytes = idx_images([2, 1, 3], &[1, 2, 3, 4, 5, 6, 7]);
    for bytes in [gzip(&bytes), bytes] {
        let error = images_error(&bytes);
        assert!(
            matches!(error, DataError::TrailingBytes { expected: 22, .. }),
            "{error:?}"
        );
        assert_names_the_file(&error);
    }
}

#[test]
fn error_zero_size() {
    for sizes in [[0, 1, 1], [1, 0, 1], [1, 1, 0], [0, u32::MAX, u32::MAX]] {
        let error = images_error(&idx_images(sizes, &[]));
        assert!(
            matches!(&error, DataError::ZeroSize { sizes: found, .. } if *found == sizes),
            "{error:?}"
        );
        assert_names_the_file(&error);
    }
}

#[test]
fn error_too_large_without_reading_or_allocating() {
    // The last overflows 64 bits.
    for sizes in [[1 << 31, 1, 2], [1 << 16, 1 << 15, 2], [u32::MAX; 3]] {
        let error = images_error(&idx_images(sizes, &[]));
        assert!(
            matches!(
                error,
                DataError::TooLarge {
                    cap: MAX_IDX_BYTES,
                    ..
                }
            ),
            "{error:?}"
        );
        assert_names_the_file(&error);
    }
}

#[test]
fn a_size_at_the_cap_is_believed_only_as_far_as_there_are_bytes() {
    let error = images_error(&idx_images([1 << 31, 1, 1], &[1, 2, 3]));
    assert!(
        matches!(error, DataError::Truncated { found: 19, .. }),
        "{error:?}"
    );
}

#[test]
fn a_gzip_bomb_is_left_after_one_byte_more_than_declared() {
    // 32 MiB behind a header that declares four bytes; the count of bytes read shows
    // that it was not unpacked.
    let bomb = gzip(&[idx_images([1, 2, 2], &[]), vec![0; 1 << 25]].concat());
    let mut source = bomb.as_slice();
    let error = decode_images(Path::new(FILE), &mut source).unwrap_err();
    assert!(
        matches!(error, DataError::TrailingBytes { expected: 20, .. }),
        "{error:?}"
    );
    assert!(
        source.len() > bomb.len() / 2,
        "{} of {} bytes left",
        source.len(),
        bomb.len()
    );
}

#[test]
fn error_count_mismatch_names_both_files() {
    let images = decode_images(Path::new("a"), idx_images([2, 1, 1], &[1, 2]).as_slice()).unwrap();
    let labels = decode_labels(Path::new("b"), idx_labels(3, &[0, 0, 0]).as_slice()).unwrap();
    let error = pair("set", images, labels, names(1)).unwrap_err();
    let DataError::CountMismatch {
        images_file,
        images: 2,
        labels_file,
        labels: 3,
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(
        [images_file, labels_file],
        [PathBuf::from("a"), PathBuf::from("b")]
    );
}

#[test]
fn error_label_out_of_range_names_the_file_of_labels() {
    let images = decode_images(Path::new("a"), idx_images([2, 1, 1], &[1, 2]).as_slice()).unwrap();
    let labels = decode_labels(Path::new("b"), idx_labels(2, &[0, 3]).as_slice()).unwrap();
    let error = pair("set", images, labels, names(3)).unwrap_err();
    assert!(
        matches!(&error, DataError::LabelOutOfRange { origin, index: 1, label: 3, classes: 3 } if origin == "b"),
        "{error:?}"
    );
}
