//! The data set that comes with the crate: a part of Fashion-MNIST.

use std::path::Path;

use super::{DataError, Dataset, Splits, idx};

/// The classes of Fashion-MNIST, in the order of its labels.
pub const FASHION_CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// A file of the crate's assets: its name, for messages, and its bytes.
macro_rules! asset {
    ($name:literal) => {
        (
            $name,
            include_bytes!(concat!("../../assets/fashion-mini/", $name)).as_slice(),
        )
    };
}

/// The first 8,000 training and the first 2,000 test images of Fashion-MNIST (28×28, gray, ten
/// classes; Zalando SE, MIT licence), decoded from the program itself.
///
/// # Errors
/// None in a sound build; the files are checked like any other.
pub fn fashion_mini() -> Result<Splits, DataError> {
    let train = decode(
        "fashion-mini/train",
        asset!("fashion-mini-train-images-idx3-ubyte.gz"),
        asset!("fashion-mini-train-labels-idx1-ubyte.gz"),
    )?;
    let validation = decode(
        "fashion-mini/validation",
        asset!("fashion-mini-t10k-images-idx3-ubyte.gz"),
        asset!("fashion-mini-t10k-labels-idx1-ubyte.gz"),
    )?;
    Splits::new(train, validation)
}

fn decode(name: &str, images: (&str, &[u8]), labels: (&str, &[u8])) -> Result<Dataset, DataError> {
    let images = idx::decode_images(Path::new(images.0), images.1)?;
    let labels = idx::decode_labels(Path::new(labels.0), labels.1)?;
    idx::pair(
        name,
        images,
        labels,
        FASHION_CLASSES.map(String::from).to_vec(),
    )
}
