//! Checkpoints: the same bits back, the same bytes again, and typed errors for anything else.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use net2net_core::engine::{Moment, OptimizerState};
use net2net_core::graph::Graph;
use net2net_core::io::{Checkpoint, IoError, write_atomic};
use net2net_core::weights::{Tensor, Weights, stream};
use proptest::prelude::*;
use rand::RngExt;
use safetensors::tensor::{Dtype, TensorView};

use super::parting::PERCEPTRON;
use super::random_graph::{random_net, random_weights};

fn checkpoint(seed: u64) -> Checkpoint {
    let net = random_net(seed, 2, false);
    let moments: Weights<f32> = random_weights(&net.graph, seed + 1).cast();
    let mut weights: Weights<f32> = net.weights.cast();
    let first = weights.iter().next().unwrap().0.to_owned();
    // Numbers that only a copy of their bits brings back.
    weights.get_mut(&first).unwrap().data_mut()[0] = -0.0;
    let notes = (0..8).map(|n| (format!("note {n}"), format!("\"täxt\"\n{n}")));
    Checkpoint {
        graph: net.graph,
        weights,
        optimizer: OptimizerState {
            steps: u64::MAX - 1,
            since: [(first.clone(), 17)].into(),
            moments: [Moment::First, Moment::Second]
                .map(|m| (m, moments.clone()))
                .into(),
        },
        notes: notes.collect(),
    }
}

fn bytes(checkpoint: &Checkpoint) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    checkpoint.write(&path).unwrap();
    std::fs::read(&path).unwrap()
}

fn read(bytes: &[u8]) -> Result<Checkpoint, IoError> {
    Checkpoint::from_bytes(Path::new("model"), bytes)
}

#[test]
fn what_is_written_is_read_and_written_again_the_same() {
    for seed in 0..20 {
        let written = checkpoint(seed);
        let first = bytes(&written);
        let found = read(&first).unwrap();
        assert_eq!(found, written);
        for (name, tensor) in found.weights.iter() {
            let bits =
                |t: &Tensor<f32>| -> Vec<u32> { t.data().iter().map(|x| x.to_bits()).collect() };
            assert_eq!(bits(tensor), bits(written.weights.get(name).unwrap()));
        }
        assert_eq!(bytes(&written), first);
        assert_eq!(bytes(&found), first);
    }
}

#[test]
fn a_cut_file_is_an_error_wherever_it_is_cut() {
    let whole = bytes(&checkpoint(1));
    for length in (0..whole.len()).step_by(7) {
        assert!(
            matches!(read(&whole[..length]), Err(IoError::Format { .. })),
            "{length}"
        );
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert!(matches!(read(&longer), Err(IoError::Format { .. })));
}

proptest! {
    #![proptest_config(super::config(1500))]

    #[test]
    fn damaged_files_never_panic(seed in any::<u64>(), faults in 1..6usize) {
        let mut damaged = bytes(&Checkpoint::model(
            PERCEPTRON.parse().unwrap(),
            random_weights(&PERCEPTRON.parse().unwrap(), 0).cast(),
        ));
        let mut random = stream(seed, "faults");
        for _ in 0..faults {
            let at = random.random_range(0..damaged.len());
            damaged[at] = if random.random_bool(0.5) { random.random() } else { b'0' + random.random_range(0..10) };
        }
        let _ = read(&damaged);
    }
}

/// A file of given tensors and metadata.
fn foreign(tensors: &[(&str, Dtype, &[usize])], metadata: &[(&str, &str)]) -> Vec<u8> {
    let zeros = vec![0u8; 4096];
    let views: Vec<(&str, TensorView<'_>)> = tensors
        .iter()
        .map(|(name, dtype, shape)| {
            let size = shape.iter().product::<usize>() * dtype.bitsize() / 8;
            (
                *name,
                TensorView::new(*dtype, shape.to_vec(), &zeros[..size]).unwrap(),
            )
        })
        .collect();
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    safetensors::serialize(views, Some(metadata)).unwrap()
}

const TENSORS: [(&str, Dtype, &[usize]); 3] = [
    ("a.weight", Dtype::F32, &[3, 4]),
    ("a.bias", Dtype::F32, &[3]),
    ("b.weight", Dtype::F32, &[3, 3]),
];

#[test]
fn files_of_others_are_typed_errors() {
    let graph = ("net2net.graph", PERCEPTRON);
    assert!(read(&foreign(&TENSORS, &[graph])).is_ok());
    assert!(matches!(
        read(&foreign(&TENSORS, &[])),
        Err(IoError::NoGraph { .. })
    ));
    let broken = read(&foreign(&TENSORS, &[("net2net.graph", "graph g\n")]));
    assert!(matches!(broken, Err(IoError::Graph { .. })));
    let steps = read(&foreign(&TENSORS, &[graph, ("net2net.steps", "many")]));
    assert!(matches!(steps, Err(IoError::Format { .. })));
    let missing = read(&foreign(&TENSORS[..2], &[graph]));
    assert!(matches!(missing, Err(IoError::Weights { .. })));
    let with = |extra: (&'static str, Dtype, &'static [usize])| {
        let mut tensors = TENSORS.to_vec();
        tensors.retain(|(name, ..)| *name != extra.0);
        tensors.push(extra);
        read(&foreign(&tensors, &[graph]))
    };
    assert!(matches!(
        with(("c", Dtype::F32, &[1])),
        Err(IoError::Weights { .. })
    ));
    assert!(matches!(
        with(("a.bias", Dtype::F32, &[1, 3])),
        Err(IoError::Weights { .. })
    ));
    assert!(matches!(
        with(("a.bias", Dtype::F32, &[0])),
        Err(IoError::Weights { .. })
    ));
    assert!(matches!(
        with(("a.bias", Dtype::F16, &[3])),
        Err(IoError::Format { .. })
    ));
    let moment = with(("optimizer/third_moment/a.bias", Dtype::F32, &[3]));
    assert!(matches!(moment, Err(IoError::Format { .. })));
    let shape = with(("optimizer/first_moment/a.bias", Dtype::F32, &[4]));
    assert!(matches!(shape, Err(IoError::Weights { .. })));
    let stranger = with(("optimizer/first_moment/z", Dtype::F32, &[4]));
    assert!(matches!(stranger, Err(IoError::Weights { .. })));
    assert!(with(("optimizer/first_moment/a.bias", Dtype::F32, &[3])).is_ok());
    assert!(matches!(read(b""), Err(IoError::Format { .. })));
    assert!(matches!(read(&[255; 64]), Err(IoError::Format { .. })));
    assert!(matches!(
        read(b"\x89PNG\r\n\x1a\n and so on"),
        Err(IoError::Format { .. })
    ));
}

#[test]
fn a_write_that_fails_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let gone = folder.path().join("gone").join("model.safetensors");
    let model = checkpoint(2);
    model.write(&path).unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(model.write(&gone), Err(IoError::File { .. })));
    assert!(!gone.exists());
    // A folder cannot be replaced by a file; the temporary one is cleaned away.
    std::fs::create_dir(folder.path().join("taken")).unwrap();
    assert!(write_atomic(&folder.path().join("taken"), b"new").is_err());
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    assert!(matches!(Checkpoint::read(&gone), Err(IoError::File { .. })));
    assert_eq!(Checkpoint::read(&path).unwrap(), model);
}

/// A linear layer whose weight has a given name.
fn named(weight: &str) -> Checkpoint {
    let text = format!(
        "graph g\ninput x [N, 2]\nparam a [2, 2]\nnode y [N, 2] = Gemm(x, a)\n\
         param {weight} [2, 2]\nnode z [N, 2] = Gemm(y, {weight})\noutput z\n"
    );
    let graph: Graph = text.parse().unwrap();
    let weights = random_weights(&graph, 0).cast();
    Checkpoint::model(graph, weights)
}

#[test]
fn parameters_may_be_called_like_moments_but_not_like_one_that_is_there() {
    for name in [
        "optimizer/x",
        "optimizer/first_moment/a",
        "optimizer/other/a",
    ] {
        let model = named(name);
        assert_eq!(read(&bytes(&model)).unwrap(), model, "{name}");
    }
    let mut model = named("optimizer/first_moment/a");
    let moments = BTreeMap::from([(Moment::First, model.weights.clone())]);
    model.optimizer = OptimizerState {
        steps: 1,
        moments,
        ..OptimizerState::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let clash = model.write(&folder.path().join("model"));
    assert!(matches!(clash, Err(IoError::Format { .. })));
}
