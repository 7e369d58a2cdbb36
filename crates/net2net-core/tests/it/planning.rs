//! Requests for many steps at once: one pass for what one pass can do, and targets that are reached.

use net2net_core::apply::{Growth, apply};
use net2net_core::graph::Graph;
use net2net_core::plan::{Plan, Room, Step, blocks};
use net2net_core::request::{Request, RequestError, Target, request};
use net2net_core::verify::{TOLERANCE, compare};
use net2net_kernels::Context;

use super::random_graph::{BATCH, Net, inputs, slices};
use super::regressions::net;

/// So many residual blocks of two layers, with batch normalisations, one after another.
fn chain(count: usize) -> Net {
    let mut text = "graph chain\ninput x [N, 3, 4, 4]\nparam stem.weight [3, 3, 1, 1]\n\
                    node stem [N, 3, 4, 4] = Conv(x, stem.weight)\n"
        .to_owned();
    let mut last = "stem".to_owned();
    for at in 0..count {
        let block = format!("blocks.{at}");
        text += &format!("param {block}.a.weight [4, 3, 1, 1]\n");
        text += &format!("node {block}.a [N, 4, 4, 4] = Conv({last}, {block}.a.weight)\n");
        for name in ["weight", "bias", "mean", "var"] {
            text += &format!("param {block}.norm.{name} [4]\n");
        }
        text += &format!(
            "node {block}.norm [N, 4, 4, 4] = BatchNormalization({block}.a, {block}.norm.weight, \
             {block}.norm.bias, {block}.norm.mean, {block}.norm.var)\n\
             node {block}.relu [N, 4, 4, 4] = Relu({block}.norm)\n\
             param {block}.b.weight [3, 4, 1, 1]\n\
             node {block}.b [N, 3, 4, 4] = Conv({block}.relu, {block}.b.weight)\n\
             node {block}.sum [N, 3, 4, 4] = Add({last}, {block}.b)\n"
        );
        last = format!("{block}.sum");
    }
    text += &format!("node end [N, 3, 4, 4] = Relu({last})\noutput end\n");
    net(&text)
}

fn asked(net: &Net, wanted: &Request) -> Result<(Plan, Growth), RequestError> {
    let x = inputs(&net.graph, BATCH, 1);
    let mut cx = Context::new(1).unwrap();
    request(
        &mut cx,
        &net.graph,
        &net.weights,
        wanted,
        3,
        BATCH,
        &slices(&x),
    )
}

fn met(net: &Net, wanted: &Request) -> (Plan, Growth) {
    let (plan, growth) = asked(net, wanted).unwrap();
    let weights = growth.weights(&net.weights).unwrap();
    let x = inputs(&net.graph, BATCH, 2);
    let mut cx = Context::new(1).unwrap();
    let (old, new) = ((&net.graph, &net.weights), (growth.graph(), &weights));
    let evidence = compare(&mut cx, old, new, BATCH, &slices(&x)).unwrap();
    assert!(
        evidence.iter().all(|e| e.max_rel < TOLERANCE),
        "{evidence:?}"
    );
    (plan, growth)
}

fn why(net: &Net, wanted: &Request) -> String {
    match asked(net, wanted) {
        Err(RequestError::Refused(refusal)) => refusal.to_string(),
        Err(other) => panic!("{other:?}"),
        Ok((plan, _)) => panic!("{} steps", plan.steps.len()),
    }
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

/// Each inserted layer had the whole network rebuilt, so that a deep one was never planned.
#[test]
fn layers_are_inserted_in_as_few_passes_as_there_are_kinds() {
    let net = chain(40);
    let requests = [
        Request {
            depth: Some(3.0),
            ..Request::default()
        },
        Request {
            branch: everything(),
            ..Request::default()
        },
        Request {
            copy: vec!["blocks.*".to_owned()],
            deepen: everything(),
            ..Request::default()
        },
        Request {
            deepen: vec!["blocks.1*".to_owned()],
            pairs: Some(2),
            ..Request::default()
        },
    ];
    for wanted in requests {
        let (plan, growth) = met(&net, &wanted);
        // One more for each copy of the last block, which takes over the output's name.
        assert!(growth.stages().len() <= 2, "{wanted:?}");
        assert!(plan.steps.len() > 20);
        let again = apply(&net.graph, &plan).unwrap();
        assert_eq!(again.graph(), growth.graph());
        assert_eq!(
            again.weights(&net.weights).unwrap(),
            growth.weights(&net.weights).unwrap()
        );
    }
}

/// One pass makes of a plan what its steps make one by one.
#[test]
fn a_pass_is_the_same_as_its_steps_one_after_another() {
    let net = chain(3);
    let wanted = Request {
        branch: everything(),
        depth: Some(3.0),
        copy: vec!["blocks.1".to_owned()],
        deepen: everything(),
        ..Request::default()
    };
    let (plan, growth) = met(&net, &wanted);
    assert!(growth.stages().len() < 8 && plan.steps.len() > 20);
    let mut graph = net.graph.clone();
    let mut weights = net.weights.clone();
    for step in &plan.steps {
        let one = apply(&graph, &Plan::new(&graph, 3, vec![step.clone()])).unwrap();
        weights = one.weights(&weights).unwrap();
        graph = one.graph().clone();
    }
    assert_eq!(&graph, growth.graph());
    assert_eq!(weights, growth.weights(&net.weights).unwrap());
}

/// Copies of blocks alone were more than what was wanted, and the request was refused.
#[test]
fn copies_that_would_be_too_much_are_left_out() {
    let net = net("graph g\ninput x [N, 4]\nparam stem.weight [4, 4]\n\
         node stem [N, 4] = Gemm(x, stem.weight)\n\
         param block.a.weight [4, 40]\nnode block.a [N, 40] = Gemm(stem, block.a.weight)\n\
         node block.relu [N, 40] = Relu(block.a)\n\
         param block.b.weight [40, 4]\nnode block.b [N, 4] = Gemm(block.relu, block.b.weight)\n\
         node sum [N, 4] = Add(stem, block.b)\n\
         param head.weight [4, 3]\nnode head [N, 3] = Gemm(sum, head.weight)\noutput head\n");
    assert_eq!(blocks(&net.graph).len(), 1);
    let now = net.graph.parameter_count();
    for target in [
        Target::Parameters(now * 3 / 2),
        Target::Flops(net.graph.flops() * 3 / 2),
    ] {
        let wanted = Request {
            target: Some(target),
            balance: true,
            ..Request::default()
        };
        let (plan, growth) = met(&net, &wanted);
        assert!(target.is_met_by(target.of(growth.graph())), "{plan:?}");
        assert!(plan.steps.iter().all(|step| matches!(step, Step::Widen(_))));
    }
    let twice = Request {
        target: Some(Target::Parameters(now * 5 / 2)),
        balance: true,
        ..Request::default()
    };
    let (plan, _) = met(&net, &twice);
    assert!(
        plan.steps
            .iter()
            .any(|step| matches!(step, Step::Insert(_)))
    );
}

/// The last layer is one where there is no other.
#[test]
fn a_network_of_a_recurrent_layer_and_a_last_one_gets_deeper() {
    let net = net(
        "graph g\ninput x [N, 4, 3]\nparam w [1, 2, 3]\nparam r [1, 2, 2]\n\
         node y [N, 4, 1, 2], h [N, 1, 2] = RNN(x, w, r; bias=0, layout=1)\n\
         node s [N, 8] = Flatten(y)\nparam z.w [8, 3]\nnode z [N, 3] = Gemm(s, z.w)\noutput z\n",
    );
    let twice = Request {
        depth: Some(2.0),
        ..Request::default()
    };
    let (plan, _) = met(&net, &twice);
    assert_eq!(plan.steps.len(), 1);
}

#[test]
fn what_a_machine_has_no_room_for_is_refused_before_it_is_planned() {
    let net = chain(2);
    let room = |memory, disk| Request {
        widen: Some(100.0),
        room: Some(Room { memory, disk }),
        ..Request::default()
    };
    asked(&net, &room(Some(1 << 40), Some(1 << 40))).unwrap();
    let memory = why(&net, &room(Some(1 << 16), None));
    assert!(
        memory.contains("GiB of memory") && memory.contains("weight"),
        "{memory}"
    );
    let disk = why(&net, &room(None, Some(1 << 10)));
    assert!(disk.contains("of the disk"), "{disk}");
}

#[test]
fn spaces_have_factors_of_their_own_and_are_known_by_their_weights() {
    let net = chain(2);
    let wanted = Request {
        factors: [("blocks.0.a.weight".to_owned(), 2.0)].into(),
        sizes: [("blocks.1.a.weight".to_owned(), 5)].into(),
        ..Request::default()
    };
    let (_, growth) = met(&net, &wanted);
    let units = |graph: &Graph, name: &str| graph.get(graph.find(name).unwrap()).shape.at(1)[1];
    assert_eq!(units(growth.graph(), "blocks.0.a"), 8);
    assert_eq!(units(growth.graph(), "blocks.1.a"), 5);
    for factor in [1.0, 0.0, f64::NAN, 1e300] {
        let absurd = Request {
            factors: [("blocks.0.a".to_owned(), factor)].into(),
            ..Request::default()
        };
        let said = why(&net, &absurd);
        assert!(said.contains("a factor of") && said.len() < 120, "{said}");
    }
}

#[test]
fn the_units_of_an_output_are_called_classes() {
    let net = net(super::parting::PERCEPTRON);
    let spaces = net2net_core::dims::Spaces::infer(&net.graph);
    let last = spaces.all().iter().filter(|space| space.border);
    let mut said = 0;
    for space in last {
        for name in spaces.aliases(&net.graph, space) {
            let wanted = Request {
                sizes: [(name, 9)].into(),
                ..Request::default()
            };
            let why = why(&net, &wanted);
            assert!(why.contains("--classes"), "{why}");
            said += 1;
        }
    }
    assert!(said > 0);
}

/// The two blocks of a transformer's layer had one name.
#[test]
fn blocks_of_one_name_are_numbered() {
    let half = |part: &str, from: &str| {
        format!(
            "param enc.{part}.up.weight [4, 6]\nnode {part}.up [N, 5, 6] = MatMul({from}, enc.{part}.up.weight)\n\
             node {part}.act [N, 5, 6] = Relu({part}.up)\n\
             param enc.{part}.down.weight [6, 4]\n\
             param enc.norm{part} [4]\n\
             node {part}.down [N, 5, 4] = MatMul({part}.act, enc.{part}.down.weight)\n\
             node {part}.scaled [N, 5, 4] = Mul({part}.down, enc.norm{part})\n\
             node {part}.sum [N, 5, 4] = Add({from}, {part}.scaled)\n"
        )
    };
    let text = format!(
        "graph g\ninput x [N, 5, 4]\n{}{}output b.sum\n",
        half("a", "x"),
        half("b", "a.sum")
    );
    let net = net(&text);
    let names: Vec<String> = blocks(&net.graph).into_iter().map(|b| b.name).collect();
    let mut distinct = names.clone();
    distinct.dedup();
    assert_eq!(names, distinct);
    let copy = Request {
        copy: vec![names[0].clone()],
        ..Request::default()
    };
    let (plan, _) = met(&net, &copy);
    assert_eq!(plan.steps.len(), 1);
}
