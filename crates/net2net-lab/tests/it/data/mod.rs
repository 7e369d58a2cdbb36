//! Data: files made here, the embedded data set, and nothing else.

mod archive;
mod dataset;
mod fashion;
mod folder;
mod idx;
mod images;
mod loader;
mod normalize;
mod pool;
mod sources;

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use net2net_lab::data::{Dataset, ImageShape};

/// An IDX file of images.
fn idx_images(sizes: [u32; 3], pixels: &[u8]) -> Vec<u8> {
    idx_file(0x0803, &sizes, pixels)
}

/// An IDX file of labels.
fn idx_labels(size: u32, labels: &[u8]) -> Vec<u8> {
    idx_file(0x0801, &[size], labels)
}

fn idx_file(magic: u32, sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let words = std::iter::once(&magic).chain(sizes);
    words
        .flat_map(|word| word.to_be_bytes())
        .chain(data.iter().copied())
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|class| class.to_string()).collect()
}

/// `count` images of 4×3×2 whose bytes all differ from those of their neighbours; sample `i` is of
/// class `i % 3`.
fn handmade(count: usize) -> Dataset {
    let shape = ImageShape {
        height: 4,
        width: 3,
        channels: 2,
    };
    let images: Vec<u8> = (0..count * 24).map(|i| (i * 7 % 251) as u8).collect();
    let labels: Vec<u32> = (0..count as u32).map(|i| i % 3).collect();
    Dataset::new("handmade", shape, images, labels, names(3)).unwrap()
}
