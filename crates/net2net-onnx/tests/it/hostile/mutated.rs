//! Random damage, from a seed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use net2net_core::weights::{normal, stream};
use net2net_onnx::proto::GraphProto;
use prost::bytes::Bytes;

use super::read;
use crate::models::{Model, OPEN, float, floats, int, ints, value, whole};

/// A small model with much in it.
pub(super) fn model() -> Model {
    Model::new(13)
        .input("x", &[OPEN, 2, 6, 6])
        .conv("x", "c", 2, 4)
        .norm("c", "n", 4)
        .node("Clip", &["n"], &["clip"], &[])
        .ints("pads", &[0, 1, 0, 0, 0, 1, 0, 0])
        .node("Pad", &["clip", "pads"], &["padded"], &[])
        .ints("parts", &[2, 4])
        .node(
            "Split",
            &["padded", "parts"],
            &["s1", "s2"],
            &[int("axis", 1)],
        )
        .node("Concat", &["s2", "s1"], &["cat"], &[int("axis", 1)])
        .ints("from", &[0])
        .ints("to", &[4])
        .ints("axes", &[1])
        .node("Slice", &["cat", "from", "to", "axes"], &["part"], &[])
        .node(
            "MaxPool",
            &["part"],
            &["pool"],
            &[ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])],
        )
        .tensor(floats("scales", &[4], &[1.0, 1.0, 2.0, 2.0]))
        .node("Resize", &["pool", "", "scales"], &["up"], &[])
        .node("Shape", &["up"], &["s"], &[])
        .node("Constant", &[], &["i"], &[value(whole("", &[0]))])
        .node("Gather", &["s", "i"], &["b"], &[int("axis", 0)])
        .ints("rest", &[-1])
        .node("Concat", &["b", "rest"], &["flat.shape"], &[int("axis", 0)])
        .node(
            "Transpose",
            &["up"],
            &["turned"],
            &[ints("perm", &[0, 2, 3, 1])],
        )
        .node("Reshape", &["turned", "flat.shape"], &["flat"], &[])
        .gemm("flat", "h", 144, 4)
        .node("LeakyRelu", &["h"], &["r"], &[float("alpha", 0.1)])
        .node("Softmax", &["r"], &["y"], &[int("axis", -1)])
        .output("y")
}

/// Reads damaged bytes, and says which damage it was if that panics.
fn survives(bytes: Vec<u8>, which: usize) {
    let result = catch_unwind(AssertUnwindSafe(|| read(Bytes::from(bytes)).map(|_| ())));
    assert!(result.is_ok(), "damage {which}");
}

#[test]
fn the_model_itself_is_understood() {
    let (imported, _) = read(model().bytes()).unwrap();
    assert_eq!(imported.opaque, []);
}

#[test]
fn changed_bytes_are_no_fault_of_the_program() {
    let whole = model().bytes().to_vec();
    let mut random = stream(1, "damage");
    let mut below = |limit: usize| (normal(&mut random).abs() * 1e6) as usize % limit;
    for which in 0..4000 {
        let mut bytes = whole.clone();
        for _ in 0..=below(4) {
            let at = below(bytes.len());
            match below(4) {
                0 => bytes[at] = below(256) as u8,
                1 => bytes[at] ^= 1 << below(8),
                2 => drop(bytes.drain(at..(at + 1 + below(8)).min(whole.len().min(at + 1)))),
                _ => bytes.splice(at..at, [0xff; 3]).for_each(drop),
            }
        }
        survives(bytes, which);
    }
}

/// Numbers that have broken programs.
const ODD: [i64; 16] = [
    i64::MIN,
    i64::MIN + 1,
    -1 << 32,
    -1_000_003,
    -2,
    -1,
    0,
    1,
    2,
    3,
    7,
    1_000_003,
    1 << 31,
    1 << 40,
    1 << 60,
    i64::MAX,
];

/// All whole numbers of a graph.
fn numbers(graph: &mut GraphProto) -> Vec<&mut i64> {
    let mut all = Vec::new();
    for tensor in &mut graph.initializer {
        all.extend(tensor.dims.iter_mut().chain(&mut tensor.int64_data));
    }
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        all.extend(attribute.i.iter_mut().chain(&mut attribute.ints));
        let tensor = attribute.t.as_mut();
        all.extend(
            tensor
                .into_iter()
                .flat_map(|t| t.dims.iter_mut().chain(&mut t.int64_data)),
        );
    }
    for info in &mut graph.input {
        let tensor = info.r#type.as_mut().and_then(|t| t.tensor_type.as_mut());
        let dims = tensor.and_then(|t| t.shape.as_mut()).into_iter();
        all.extend(
            dims.flat_map(|shape| &mut shape.dim)
                .filter_map(|dim| dim.dim_value.as_mut()),
        );
    }
    all
}

#[test]
fn odd_numbers_anywhere_are_no_fault_of_the_program() {
    let count = numbers(model().graph()).len();
    for place in 0..count {
        for odd in ODD {
            let mut damaged = model();
            *numbers(damaged.graph())[place] = odd;
            survives(damaged.bytes().to_vec(), place);
        }
    }
}

#[test]
fn exchanged_operators_and_names_are_no_fault_of_the_program() {
    let mut random = stream(2, "exchanged");
    let mut below = |limit: usize| (normal(&mut random).abs() * 1e6) as usize % limit;
    for which in 0..4000 {
        let mut damaged = model();
        let graph = damaged.graph();
        for _ in 0..=below(3) {
            let nodes = graph.node.len();
            let (one, other) = (below(nodes), below(nodes));
            match below(4) {
                0 => {
                    let ops = super::structure::OPERATORS;
                    graph.node[one].op_type = Some(ops[below(ops.len())].to_owned());
                }
                1 => graph.node[one].attribute = graph.node[other].attribute.clone(),
                2 => {
                    let names: Vec<String> = graph.node[other].input.clone();
                    let name = names.first().cloned().unwrap_or_default();
                    let slot = below(graph.node[one].input.len().max(1));
                    if let Some(input) = graph.node[one].input.get_mut(slot) {
                        *input = name;
                    }
                }
                _ => graph.node[one].input.truncate(below(3)),
            }
        }
        survives(damaged.bytes().to_vec(), which);
    }
}
