//! Growth with one parameter in memory at a time gives what growth of all at once gives.

use std::borrow::Cow;
use std::sync::Mutex;

use net2net_core::apply::apply;
use net2net_core::dims::Spaces;
use net2net_core::engine::evaluate;
use net2net_core::graph::Graph;
use net2net_core::ops::{Gemm, MatMul, Relu};
use net2net_core::plan::{Insert, Layer, Mapping, Plan, Step, Symmetry, widen};
use net2net_core::verify::{VerifyError, compare, grow_and_prove, prove};
use net2net_core::weights::{Source, Tensor, Weights, WeightsError, Widened, Words, initialize};
use net2net_kernels::slices::Word;
use net2net_kernels::{Context, Real};

use super::parting::PERCEPTRON;

/// Weights that count how often each parameter is asked for.
struct Counting(Weights<f32>, Mutex<Vec<String>>);

impl Source<f32> for Counting {
    fn tensor(&self, name: &str) -> Result<Cow<'_, Tensor<f32>>, WeightsError> {
        self.1.lock().unwrap().push(name.to_owned());
        self.0.tensor(name)
    }
}

fn plan(graph: &Graph, symmetry: Symmetry) -> Plan {
    let spaces = Spaces::infer(graph);
    let wider = |space: &str, size| widen(&spaces, space, size, Mapping::Random, symmetry, 3);
    let steps = vec![
        Step::Widen(wider("a", 7).unwrap()),
        Step::Insert(Insert {
            after: "act".into(),
            name: "deeper".into(),
            layer: Layer::Identity {
                kernel: vec![3, 3],
                norm: None,
            },
        }),
    ];
    let plan = Plan::new(graph, 3, steps);
    // What was inserted grows too, and what was widened once more.
    let growth = apply(graph, &plan).unwrap();
    let spaces = Spaces::infer(growth.graph());
    let again = spaces.growable().map(|space| {
        let size = space.size.at(1) + 3;
        Step::Widen(widen(&spaces, &space.name, size, Mapping::Random, symmetry, 4).unwrap())
    });
    let steps = plan.steps.iter().cloned().chain(again).collect();
    Plan::new(graph, 3, steps)
}

#[test]
fn parameters_are_the_same_one_by_one() {
    let graph: Graph = PERCEPTRON.parse().unwrap();
    for symmetry in [Symmetry::default(), Symmetry::ZeroSum { std: 0.1 }] {
        let growth = apply(&graph, &plan(&graph, symmetry)).unwrap();
        let weights = initialize::<f32>(&graph, 1);
        let grown = growth.weights(&weights).unwrap();
        let source = growth.source(&weights);
        for (name, tensor) in grown.iter() {
            assert_eq!(&*source.tensor(name).unwrap(), tensor, "{name}");
        }
        let wide = growth.weights(&weights.cast::<f64>()).unwrap();
        let source_in_wide = growth.wide_source(&weights);
        for (name, tensor) in wide.iter() {
            assert_eq!(&*source_in_wide.tensor(name).unwrap(), tensor, "{name}");
        }
        assert!(matches!(
            source.tensor("nobody"),
            Err(WeightsError::Missing { .. })
        ));
    }
}

#[test]
fn a_proof_of_a_source_is_that_of_its_weights() {
    let graph: Graph = PERCEPTRON.parse().unwrap();
    let plan = plan(&graph, Symmetry::default());
    let growth = apply(&graph, &plan).unwrap();
    let weights = initialize::<f32>(&graph, 1);
    let input: Vec<f32> = (0..graph.get(graph.inputs()[0]).shape.elements(4))
        .map(|i| (i as f32).sin())
        .collect();
    let whole = grow_and_prove(&graph, &plan, &growth, &weights, 2, 4, &[&input], "sines").unwrap();
    let counting = Counting(weights, Mutex::default());
    let proof = prove(&graph, &plan, &growth, &counting, 2, 4, &[&input], "sines").unwrap();
    let grown = (growth.graph(), &growth.source(&counting));
    let evidence = proof.in_f32(&graph, grown, 2, 4, &[&input]).unwrap();
    assert_eq!(evidence, whole.evidence);
    // Two networks in two precisions.
    let mut asked = counting.1.into_inner().unwrap();
    asked.sort();
    let count = graph.parameters().count();
    asked
        .chunk_by(|a, b| a == b)
        .for_each(|same| assert_eq!(same.len(), 4, "{same:?}"));
    assert_eq!(asked.len(), 4 * count);
}

#[test]
fn what_is_not_finite_in_f32_is_refused() {
    let graph: Graph = PERCEPTRON.parse().unwrap();
    let plan = plan(&graph, Symmetry::default());
    let growth = apply(&graph, &plan).unwrap();
    let weights = initialize::<f32>(&graph, 1);
    let input = vec![0.5; graph.get(graph.inputs()[0]).shape.elements(4)];
    let inputs: [&[f32]; 1] = [&input];
    let refused = |result: Result<_, VerifyError>| match result.unwrap_err() {
        VerifyError::NotFinite { output } => output == graph.get(graph.outputs()[0]).name,
        _ => false,
    };
    // Two such matrices after each other are more than f32 holds, and less than f64.
    let mut large = weights.clone();
    for (name, tensor) in weights.iter() {
        let numbers = tensor.data().iter().map(|x| x * 1e30).collect();
        large.insert(name, Tensor::new(tensor.shape().to_vec(), numbers).unwrap());
    }
    let old = prove(&graph, &plan, &growth, &large, 1, 4, &inputs, "halves");
    assert!(refused(old.map(|_| ())));
    // What was stored is not what grew.
    let proof = prove(&graph, &plan, &growth, &weights, 1, 4, &inputs, "halves").unwrap();
    let stored = growth.weights(&large).unwrap();
    let new = proof.in_f32(&graph, (growth.graph(), &stored), 1, 4, &inputs);
    assert!(refused(new.map(|_| ())));
}

#[test]
fn a_parameter_is_asked_for_once_and_only_where_it_is_needed() {
    let mut graph = Graph::new("shared");
    let shape = net2net_core::graph::Shape::batched(&[4]);
    let x = graph.input("x", shape).unwrap();
    let w = graph.parameter("w", &[4, 4]).unwrap();
    let unread = graph.parameter("unread", &[4, 4]).unwrap();
    let gemm = net2net_core::ops::Gemm::default;
    let a = graph.node("a", gemm(), &[x, w]).unwrap();
    let b = graph.node("b", gemm(), &[a, w]).unwrap();
    graph.node("unused", gemm(), &[b, unread]).unwrap();
    graph.output(b);
    graph.output(w);
    let graph = &graph;
    let counting = Counting(initialize(graph, 5), Mutex::default());
    let input = [0.5; 8];
    let mut cx = Context::new(1).unwrap();
    let outputs = evaluate(&mut cx, graph, &counting, 2, &[&input]).unwrap();
    assert_eq!(*counting.1.lock().unwrap(), ["w"]);
    let w = counting.0.get("w").unwrap();
    assert_eq!(outputs[1], w.data());
    let wide = evaluate(
        &mut Context::new(1).unwrap(),
        graph,
        &Widened(&counting),
        2,
        &[&[0.5; 8]],
    );
    let wide = wide.unwrap();
    let close = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs() < 1e-5;
    assert!(outputs[0].iter().zip(&wide[0]).all(close));
}

/// Weights that lie somewhere as single floats, and cannot be had as a whole where they are large.
struct InPlace(Weights<f32>);

struct Copied(Vec<Word>);

impl AsRef<[Word]> for Copied {
    fn as_ref(&self) -> &[Word] {
        &self.0
    }
}

impl Source<f32> for InPlace {
    fn tensor(&self, name: &str) -> Result<Cow<'_, Tensor<f32>>, WeightsError> {
        let tensor = self.0.require(name)?;
        if tensor.data().len() < 1 << 18 {
            return Ok(Cow::Borrowed(tensor));
        }
        let (name, why) = (name.to_owned(), "it is large".to_owned());
        Err(WeightsError::Unreadable { name, why })
    }

    fn words(&self, name: &str) -> Result<Option<Words<'_>>, WeightsError> {
        let tensor = self.0.require(name)?;
        let words = tensor.data().iter().map(|x| x.to_le_bytes()).collect();
        Words::new(tensor.shape().to_vec(), Copied(words)).map(Some)
    }
}

/// Asserts that rows, read a few at a time, are those of the tensor.
fn same_rows<T: Real>(rows: &net2net_core::weights::Rows<'_, T>, tensor: &Tensor<T>, name: &str) {
    assert_eq!(rows.shape(), tensor.shape(), "{name}");
    let count = rows.shape().first().copied().unwrap_or(1);
    for first in (0..count).step_by(3) {
        let range = first..(first + 3).min(count);
        let mut found = vec![T::from_f64(7.0); range.len() * rows.width()];
        rows.source().read(range, &mut found);
        assert_eq!(
            found,
            tensor.data()[first * rows.width()..][..found.len()],
            "{name}"
        );
    }
}

#[test]
fn rows_are_those_of_the_grown_tensors() {
    let graph: Graph = PERCEPTRON.parse().unwrap();
    let weights = initialize::<f32>(&graph, 1);
    let spaces = Spaces::infer(&graph);
    let steps = spaces.growable().map(|space| {
        let (size, symmetry) = (space.size.at(1) + 5, Symmetry::default());
        Step::Widen(widen(&spaces, &space.name, size, Mapping::Random, symmetry, 3).unwrap())
    });
    let plans = [
        Plan::new(&graph, 3, steps.collect()),
        plan(&graph, Symmetry::default()),
        plan(&graph, Symmetry::ZeroSum { std: 0.1 }),
    ];
    let mut seen = 0;
    for plan in plans {
        let growth = apply(&graph, &plan).unwrap();
        let narrow = growth.weights(&weights).unwrap();
        let wide = growth.weights(&weights.cast::<f64>()).unwrap();
        let in_place = InPlace(weights.clone());
        for (name, tensor) in narrow.iter() {
            if let Some(rows) = growth.source(&in_place).rows(name).unwrap() {
                same_rows(&rows, tensor, name);
                let wide = wide.get(name).unwrap();
                let source = growth.wide_source(&in_place);
                same_rows(&source.rows(name).unwrap().unwrap(), wide, name);
                seen += 1;
            }
        }
    }
    // At least all parameters of the first plan.
    assert!(seen >= graph.parameters().count(), "{seen}");
}

#[test]
fn large_matrices_are_never_whole_and_the_proof_holds() {
    let mut graph = Graph::new("large");
    let shape = net2net_core::graph::Shape::batched(&[8]);
    let x = graph.input("x", shape).unwrap();
    let parameter =
        |graph: &mut Graph, name: &str, sizes: [usize; 2]| graph.parameter(name, &sizes).unwrap();
    let first = parameter(&mut graph, "first", [600, 8]);
    let second = parameter(&mut graph, "second", [520, 600]);
    let third = parameter(&mut graph, "third", [520, 530]);
    let last = parameter(&mut graph, "last", [530, 3]);
    let a = graph.node("a", Gemm::default(), &[x, first]).unwrap();
    let ra = graph.node("ra", Relu, &[a]).unwrap();
    let b = graph.node("b", Gemm::default(), &[ra, second]).unwrap();
    let rb = graph.node("rb", Relu, &[b]).unwrap();
    let c = graph.node("c", MatMul, &[rb, third]).unwrap();
    let rc = graph.node("rc", Relu, &[c]).unwrap();
    let y = graph.node("y", MatMul, &[rc, last]).unwrap();
    graph.output(y);
    let weights = initialize::<f32>(&graph, 1);
    let spaces = Spaces::infer(&graph);
    let steps = spaces.growable().map(|space| {
        let (size, symmetry) = (space.size.at(1) + 90, Symmetry::default());
        Step::Widen(widen(&spaces, &space.name, size, Mapping::Random, symmetry, 3).unwrap())
    });
    let plan = Plan::new(&graph, 3, steps.collect());
    let growth = apply(&graph, &plan).unwrap();
    let in_place = InPlace(weights.clone());
    for batch in [1, 5, 40] {
        let input: Vec<f32> = (0..8 * batch).map(|i| (i as f32).sin()).collect();
        let proof = prove(
            &graph,
            &plan,
            &growth,
            &in_place,
            2,
            batch,
            &[&input],
            "sines",
        )
        .unwrap();
        let grown = (growth.graph(), &growth.source(&in_place));
        let evidence = proof.in_f32(&graph, grown, 2, batch, &[&input]).unwrap();
        assert!(evidence.exact && evidence.holds());
        // The same function as that of weights in memory.
        let wide: Vec<f64> = input.iter().map(|x| f64::from(*x)).collect();
        let mut cx = Context::<f64>::new(2).unwrap();
        let whole = (&graph, &weights.cast::<f64>());
        let rows = (&graph, &Widened(&in_place));
        let all = compare(&mut cx, whole, rows, batch, &[&wide]).unwrap();
        assert!(all[0].max_rel < 1e-13, "{all:?}");
    }
}
