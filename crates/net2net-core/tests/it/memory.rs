//! Planned memory: smaller than what it replaces, and never wrong.

use net2net_core::engine::{OptimizerState, Trainer, evaluate};
use net2net_core::graph::{Graph, ValueId};
use net2net_kernels::Context;
use proptest::prelude::*;

use super::parting::{LABELS, options};
use super::random_graph::{BATCH, random_net, random_weights, slices};

#[test]
fn a_deep_chain_shares_memory() {
    let mut text = "graph chain\ninput x [N, 4, 8, 8]\n".to_owned();
    let mut last = "x".to_owned();
    for layer in 0..20 {
        text += &format!(
            "param w{layer} [4, 4, 3, 3]\nnode c{layer} [N, 4, 8, 8] = Conv({last}, w{layer}; pads=[1, 1, 1, 1])\n\
             node r{layer} [N, 4, 8, 8] = Relu(c{layer})\n"
        );
        last = format!("r{layer}");
    }
    text += &format!(
        "node flat [N, 256] = Flatten({last})\nparam fc.w [3, 256]\n\
         node fc [N, 3] = Gemm(flat, fc.w; transB=1)\noutput fc\n"
    );
    let graph: Graph = text.parse().unwrap();
    let weights = random_weights(&graph, 0);
    let trainer = Trainer::new(&graph, &weights, &OptimizerState::default(), options(0.0)).unwrap();
    let memory = trainer.memory();
    // Activations of 20 rectifiers stay for the backward pass; gradients and the rest are shared.
    let image = BATCH * 4 * 64 * size_of::<f64>();
    assert!(memory.unshared > 80 * image, "{memory:?}");
    assert!(memory.planned < 26 * image, "{memory:?}");
}

/// With every value an output nothing shares memory; each value alone shares all that it can.
fn shared_memory_changes_nothing(seed: u64, blocks: usize) {
    let net = random_net(seed, blocks, false);
    let inputs = net.inputs(BATCH, seed);
    let inputs = slices(&inputs);
    let mut cx = Context::new(1).unwrap();
    let values: Vec<ValueId> = net.graph.value_ids().collect();
    let all = net.graph.with_outputs(&values);
    let all = evaluate(&mut cx, &all, &net.weights, BATCH, &inputs).unwrap();
    for (value, expected) in values.iter().zip(&all) {
        let one = net.graph.with_outputs(&[*value]);
        let found = evaluate(&mut cx, &one, &net.weights, BATCH, &inputs).unwrap();
        let name = &net.graph.get(*value).name;
        assert_eq!(found[0].len(), expected.len());
        let scale = expected.iter().fold(1e-300, |m: f64, x| m.max(x.abs()));
        for (a, b) in found[0].iter().zip(expected) {
            // A batch normalisation fused with its rectifier may round otherwise.
            assert!(
                (a - b).abs() <= 1e-13 * scale,
                "{name}: {a} and {b}\n{}",
                net.graph
            );
        }
    }
}

#[test]
fn programs_over_shared_memory_agree_with_programs_without() {
    let mut runner = proptest::test_runner::TestRunner::new(super::config(150));
    let run = runner.run(&(any::<u64>(), 1..4usize), |(seed, blocks)| {
        shared_memory_changes_nothing(seed, blocks);
        Ok(())
    });
    run.unwrap();
}

#[test]
fn gradients_over_shared_memory_agree_with_gradients_without() {
    for seed in 0..60 {
        let net = random_net(seed, 2, true);
        let inputs = net.inputs(BATCH, seed);
        let mut outputs = vec![net.graph.outputs()[0]];
        outputs.extend(net.graph.value_ids());
        let open = net.graph.with_outputs(&outputs);
        let gradients = |graph: &Graph| {
            let mut trainer = Trainer::new(
                graph,
                &net.weights,
                &OptimizerState::default(),
                options(0.0),
            )
            .unwrap();
            trainer.gradients_by_name(&inputs[0], &LABELS).unwrap()
        };
        let ((loss, shared), (open_loss, open)) = (gradients(&net.graph), gradients(&open));
        assert!((loss - open_loss).abs() < 1e-12);
        for (name, tensor) in shared.iter() {
            for (a, b) in tensor.data().iter().zip(open.get(name).unwrap().data()) {
                assert!(
                    (a - b).abs() < 1e-11 * (1.0 + a.abs()),
                    "{name} {a} {b} seed {seed}\n{}",
                    net.graph
                );
            }
        }
    }
}
