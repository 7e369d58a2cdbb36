//! Broken files: an error that names the place, or an island; never a panic, and no size that a
//! file states is believed.

mod external;
mod mutated;
mod nodes;
mod sizes;
mod structure;

use std::path::Path;

use net2net_core::dims::Spaces;
use net2net_core::weights::Weights;
use net2net_onnx::{Document, Imported, OnnxError};
use prost::bytes::Bytes;

use crate::models::Model;

/// Everything that happens to a file before anything is computed.
fn read(bytes: Bytes) -> Result<(Imported, Spaces), OnnxError> {
    let document = Document::decode(bytes, Path::new("broken.onnx"), Path::new(""))?;
    let imported = Imported::read(&document)?;
    let spaces = Spaces::infer(&imported.graph);
    let _: Weights<f32> = imported.weights(&document)?;
    imported.random_inputs(1, 0)?;
    Ok((imported, spaces))
}

/// The error of a model that cannot be used, which says each of these.
fn refused(model: &Model, said: &[&str]) {
    let error = match read(model.bytes()) {
        Err(error) => error.to_string(),
        Ok((imported, _)) => panic!("it was read; {:?}", imported.opaque),
    };
    for part in said {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

/// The reason for which the only node that is not understood is not.
fn not_understood(model: &Model, said: &str) {
    match read(model.bytes()) {
        Err(error) => assert!(error.to_string().contains(said), "{error}"),
        Ok((imported, _)) => {
            let whys: Vec<&str> = imported.opaque.iter().map(|o| o.why.as_str()).collect();
            assert!(
                whys.iter().any(|why| why.contains(said)),
                "{said}: {whys:?}"
            );
        }
    }
}
