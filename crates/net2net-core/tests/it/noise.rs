//! Noise that sums to zero over copies: the same in rows and as a whole, and nothing where nothing was.

use net2net_core::apply::{Growth, apply};
use net2net_core::dims::Spaces;
use net2net_core::graph::Graph;
use net2net_core::plan::{MAX_NOISE, Mapping, Plan, Step, Symmetry, widen};
use net2net_core::weights::{Tensor, Weights, WeightsError, Words, initialize};
use net2net_kernels::slices::Word;

/// Matrices that are read along their first and along their second axis, and a filter; the last matrix
/// is read along one axis by units of two kinds.
const NETWORK: &str = "graph readers
input x [N, 2, 3, 3]
param conv.weight [3, 2, 3, 3]
node conv [N, 3, 3, 3] = Conv(x, conv.weight; pads=[1, 1, 1, 1])
node rectified [N, 3, 3, 3] = Relu(conv)
param next.weight [5, 3, 3, 3]
node next [N, 5, 3, 3] = Conv(rectified, next.weight; pads=[1, 1, 1, 1])
node pooled [N, 5, 1, 1] = GlobalAveragePool(next)
node flat [N, 5] = Flatten(pooled)
param turned.weight [4, 5]
node turned [N, 4] = Gemm(flat, turned.weight; transB=1)
node heads [N, 2, 2] = Reshape(turned; sizes=[2, 2])
node swapped [N, 2, 2] = Transpose(heads; perm=[0, 2, 1])
node joined [N, 4] = Reshape(swapped; sizes=[4])
param plain.weight [4, 3]
node plain [N, 3] = MatMul(joined, plain.weight)
output plain
";

struct Bytes(Vec<Word>);

impl AsRef<[Word]> for Bytes {
    fn as_ref(&self) -> &[Word] {
        &self.0
    }
}

fn grown(graph: &Graph, symmetry: Symmetry) -> Growth {
    let spaces = Spaces::infer(graph);
    let each = spaces.growable().map(|space| {
        let size = 2 * space.size.at(1) + 1;
        let step = widen(&spaces, &space.name, size, Mapping::Random, symmetry, 5);
        Step::Widen(step.unwrap())
    });
    apply(graph, &Plan::new(graph, 5, each.collect())).unwrap()
}

/// A parameter made so many rows at a time.
fn by_rows(growth: &Growth, weights: &Weights<f32>, name: &str, at_once: usize) -> Vec<f32> {
    let words = |of: &str| {
        let tensor = weights.require(of)?;
        let bytes = tensor.data().iter().map(|x| x.to_le_bytes()).collect();
        Words::new(tensor.shape().to_vec(), Bytes(bytes)).map(Some)
    };
    let rows = growth.rows::<f32, WeightsError>(name, words);
    let rows = rows.unwrap().unwrap();
    let (count, width) = (rows.shape()[0], rows.width());
    let mut all = vec![0.0; count * width];
    for from in (0..count).step_by(at_once) {
        let range = from..(from + at_once).min(count);
        let to = &mut all[range.start * width..range.end * width];
        rows.source().read(range, to);
    }
    all
}

#[test]
fn rows_are_those_of_the_whole() {
    let graph: Graph = NETWORK.parse().unwrap();
    let growth = grown(&graph, Symmetry::default());
    let mut weights = initialize::<f32>(&graph, 1);
    // Pruned, and below what a share of it can be told from zero.
    for name in ["next.weight", "plain.weight", "turned.weight"] {
        let mut tensor = weights.get(name).unwrap().clone();
        tensor.data_mut()[1] = 0.0;
        tensor.data_mut()[2] = f32::from_bits(1);
        weights.insert(name, tensor);
    }
    let whole = growth.weights(&weights).unwrap();
    for (name, tensor) in whole.iter() {
        for at_once in [1, 2, 100] {
            let rows = by_rows(&growth, &weights, name, at_once);
            assert_eq!(rows, tensor.data(), "{name}, {at_once} at once");
        }
    }
}

/// What the copies of a unit have together along an axis, for each position of the others.
fn sums(tensor: &Tensor<f32>, axis: usize, source: &[u32], old: usize) -> Vec<f64> {
    let inner: usize = tensor.shape()[axis + 1..].iter().product();
    let mut all = Vec::new();
    for block in tensor.data().chunks_exact(source.len() * inner) {
        let mut sums = vec![0.0; old * inner];
        for (slice, source) in block.chunks_exact(inner).zip(source) {
            let to = &mut sums[*source as usize * inner..][..inner];
            to.iter_mut()
                .zip(slice)
                .for_each(|(sum, x)| *sum += f64::from(*x));
        }
        all.extend(sums);
    }
    all
}

#[test]
fn copies_have_together_what_the_original_had_and_zero_stays_zero() {
    let text = "graph two\ninput x [N, 3]\nparam a [3, 4]\nnode y [N, 4] = MatMul(x, a)\nnode z [N, 4] = Relu(y)\n\
                param plain [4, 5]\nnode p [N, 5] = MatMul(z, plain)\nparam turned [5, 4]\n\
                node t [N, 5] = Gemm(z, turned; transB=1)\noutput p\noutput t\n";
    let graph: Graph = text.parse().unwrap();
    let mut weights = initialize::<f32>(&graph, 2);
    for name in ["plain", "turned"] {
        let mut tensor = weights.get(name).unwrap().clone();
        for (at, x) in tensor.data_mut().iter_mut().enumerate() {
            match at % 5 {
                1 => *x = 0.0,
                2 => *x = f32::from_bits(1),
                _ => {}
            }
        }
        weights.insert(name, tensor);
    }
    let spaces = Spaces::infer(&graph);
    let symmetry = Symmetry::default();
    let mut step = widen(&spaces, "y", 9, Mapping::Random, symmetry, 7).unwrap();
    // Of the smallest number there is such a share is nothing, and the other one is all of it.
    let twice: Vec<usize> = (0..9)
        .filter(|at| step.source[*at] == step.source[8])
        .collect();
    let rest = 0.9 / (twice.len() - 1) as f64;
    for at in &twice {
        step.shares[*at] = if *at == twice[0] { 0.1 } else { rest };
    }
    let source = step.source.clone();
    let plan = Plan::new(&graph, 7, vec![Step::Widen(step)]);
    let wider = apply(&graph, &plan).unwrap().weights(&weights).unwrap();
    for (name, axis) in [("plain", 0), ("turned", 1)] {
        let (before, after) = (weights.get(name).unwrap(), wider.get(name).unwrap());
        let rms = before.rms();
        for (sum, old) in sums(after, axis, &source, 4).iter().zip(before.data()) {
            assert!((sum - f64::from(*old)).abs() < 1e-6 * rms, "{name}");
        }
        let at = |unit: usize, other: usize| match axis {
            0 => (unit * 5 + other, source[unit] as usize * 5 + other),
            _ => (other * 9 + unit, other * 4 + source[unit] as usize),
        };
        let copies = |unit: usize| source.iter().filter(|s| **s == source[unit]).count();
        for (unit, other) in (0..9).flat_map(|unit| (0..5).map(move |other| (unit, other))) {
            let (new, old) = at(unit, other);
            let (new, old) = (after.data()[new], before.data()[old]);
            assert!(old != 0.0 || new == 0.0, "{name} {unit} {other}");
            if old.is_normal() && copies(unit) > 1 {
                let share = f64::from(new) - f64::from(old) / copies(unit) as f64;
                assert!(
                    share.abs() > 1e-6 * rms,
                    "no noise on {name} {unit} {other}"
                );
            }
        }
    }
}

#[test]
fn noise_without_measure_is_refused() {
    let graph: Graph = NETWORK.parse().unwrap();
    let spaces = Spaces::infer(&graph);
    for std in [-0.1, 2.0 * MAX_NOISE, f64::NAN, f64::INFINITY] {
        let symmetry = Symmetry::ZeroSum { std };
        assert!(widen(&spaces, "conv", 5, Mapping::Random, symmetry, 0).is_err());
        let mut step = widen(&spaces, "conv", 5, Mapping::Random, Symmetry::default(), 0).unwrap();
        step.noise.as_mut().unwrap().std = std;
        let plan = Plan::new(&graph, 0, vec![Step::Widen(step)]);
        assert!(apply(&graph, &plan).is_err(), "{std}");
    }
}

#[test]
fn weights_that_are_not_finite_do_not_spoil_the_others() {
    let graph: Graph = NETWORK.parse().unwrap();
    let growth = grown(&graph, Symmetry::default());
    let mut weights = initialize::<f32>(&graph, 1);
    let mut tensor = weights.get("plain.weight").unwrap().clone();
    tensor.data_mut()[0] = f32::INFINITY;
    weights.insert("plain.weight", tensor);
    let wider = growth.weights(&weights).unwrap();
    let data = wider.get("plain.weight").unwrap().data();
    assert!(data.iter().any(|x| x.is_finite()) && !data.iter().any(|x| x.is_nan()));
}
