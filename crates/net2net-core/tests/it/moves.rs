//! Growth through operators that move elements: channels of slices, shuffles, padded shortcuts.

use net2net_core::dims::Spaces;
use net2net_core::engine::{OptimizerState, Trainer, evaluate};
use net2net_core::graph::{Graph, Shape};
use net2net_core::ops::{
    DepthToSpace, Expand, Gather, Op, Pad, PadMode, Resize, Slice, SpaceToDepth, Split, Take, Tile,
    Transpose,
};
use net2net_core::plan::{Mapping, Step, Symmetry, widen};
use net2net_kernels::Context;

use super::parting::{LABELS, options};
use super::random_graph::{BATCH, Net, inputs, slices};
use super::regressions::{grow, net};

fn growable(graph: &Graph) -> Vec<String> {
    let spaces = Spaces::infer(graph);
    spaces.growable().map(|space| space.name.clone()).collect()
}

/// Widens each of the growable spaces by an uneven map, one after another, then all again at once.
fn grows(text: &str, expected: &[&str]) -> Net {
    let mut net = net(text);
    assert_eq!(growable(&net.graph), expected);
    let wider = |spaces: &Spaces, name: &str| {
        let id = spaces.find(name).unwrap();
        let space = &spaces.all()[id.index()];
        let old = space.size.fixed().unwrap();
        let symmetry = Symmetry::Uneven { spread: 0.9 };
        Step::Widen(widen(spaces, name, old + 2, Mapping::Random, symmetry, 5).unwrap())
    };
    for name in expected {
        let spaces = Spaces::infer(&net.graph);
        net = grow(&net, vec![wider(&spaces, name)]);
    }
    let spaces = Spaces::infer(&net.graph);
    let steps = expected.iter().map(|name| wider(&spaces, name)).collect();
    let net = grow(&net, steps);
    assert_eq!(growable(&net.graph), expected);
    assert_eq!(net.graph.to_string().parse::<Graph>().unwrap(), net.graph);
    net
}

fn refuses(text: &str, space: &str, why: &str) {
    let refusal = Spaces::infer(&net(text).graph).find(space).unwrap_err();
    assert!(refusal.why.contains(why), "{refusal}");
}

fn shape(net: &Net, name: &str) -> Vec<usize> {
    net.graph.get(net.graph.find(name).unwrap()).shape.at(1)
}

/// The operator that makes a value.
fn op<'a>(net: &'a Net, name: &str) -> &'a Op {
    let value = net.graph.find(name).unwrap();
    &net.graph.at(net.graph.producer(value).unwrap()).op
}

/// The outputs of a graph without parameters for inputs that count from zero.
fn outputs(text: &str) -> Vec<Vec<f64>> {
    let net = net(text);
    let mut cx = Context::new(1).unwrap();
    let id = net.graph.inputs()[0];
    let count = net.graph.get(id).shape.elements(1);
    let x: Vec<f64> = (0..count).map(|i| i as f64).collect();
    evaluate(&mut cx, &net.graph, &net.weights, 1, &[&x]).unwrap()
}

fn output(text: &str) -> Vec<f64> {
    outputs(text).remove(0)
}

#[test]
fn channels_of_a_shuffle_grow_with_grouped_and_depthwise_layers_around() {
    let net = grows(
        "graph g\ninput x [N, 2, 3, 3]\nparam a.w [8, 2, 1, 1]\nnode a [N, 8, 3, 3] = Conv(x, a.w)
         param g1.w [8, 4, 1, 1]\nnode g1 [N, 8, 3, 3] = Conv(a, g1.w; group=2)
         node cut [N, 2, 4, 3, 3] = Reshape(g1; sizes=[2, 4, 3, 3])
         node turned [N, 4, 2, 3, 3] = Transpose(cut; perm=[0, 2, 1, 3, 4])
         node mixed [N, 8, 3, 3] = Reshape(turned; sizes=[8, 3, 3])
         param d.w [8, 1, 3, 3]\nnode d [N, 8, 3, 3] = Conv(mixed, d.w; group=8, pads=[1, 1, 1, 1])
         node r [N, 8, 3, 3] = Relu(d)
         param g2.w [6, 4, 1, 1]\nnode g2 [N, 6, 3, 3] = Conv(r, g2.w; group=2)
         node pool [N, 6, 1, 1] = GlobalAveragePool(g2)\nnode flat [N, 6] = Flatten(pool)
         param c [6, 3]\nnode out [N, 3] = Gemm(flat, c)\noutput out\n",
        &["a#0", "a#1", "g1#1", "g1#2", "g2#1"],
    );
    assert_eq!(shape(&net, "cut")[2], shape(&net, "turned")[1]);
    assert!(shape(&net, "d")[1] > 8);
}

#[test]
fn heads_and_what_is_in_them_grow() {
    let net = grows(
        "graph g\ninput x [N, 2, 3, 1]\nparam a.w [6, 2, 1, 1]\nnode a [N, 6, 3, 1] = Conv(x, a.w)
         node seq [N, 6, 3] = Reshape(a; sizes=[6, 3])
         node tokens [N, 3, 6] = Transpose(seq; perm=[0, 2, 1])
         node heads [N, 3, 2, 3] = Reshape(tokens; sizes=[3, 2, 3])
         node per_head [N, 2, 3, 3] = Transpose(heads; perm=[0, 2, 1, 3])
         node act [N, 2, 3, 3] = Tanh(per_head)
         node back [N, 3, 2, 3] = Transpose(act; perm=[0, 2, 1, 3])
         node joined [N, 3, 6] = Reshape(back; sizes=[3, 6])
         node flat [N, 18] = Flatten(joined)
         param c [18, 3]\nnode out [N, 3] = Gemm(flat, c)\noutput out\n",
        &["a#0", "a#1"],
    );
    assert_eq!(shape(&net, "per_head"), [1, 6, 3, 7]);
}

#[test]
fn a_shortcut_without_weights_grows_with_its_block() {
    let net = grows(
        "graph g\ninput x [N, 2, 5, 5]\nparam a.w [4, 2, 3, 3]
         node a [N, 4, 5, 5] = Conv(x, a.w; pads=[1, 1, 1, 1])\nnode ar [N, 4, 5, 5] = Relu(a)
         param b.w [3, 4, 3, 3]\nparam b.b [3]
         node b [N, 3, 3, 3] = Conv(ar, b.w, b.b; pads=[1, 1, 1, 1], strides=[2, 2])
         node br [N, 3, 3, 3] = Relu(b)\nparam c.w [8, 3, 3, 3]
         node c [N, 8, 3, 3] = Conv(br, c.w; pads=[1, 1, 1, 1])
         node half [N, 4, 3, 3] = Slice(ar; axes=[2, 3], starts=[0, 0], ends=[9, 9], steps=[2, 2])
         node wide [N, 8, 3, 3] = Pad(half; pads=[0, 2, 0, 0, 0, 2, 0, 0])
         node sum [N, 8, 3, 3] = Add(wide, c)\nnode sr [N, 8, 3, 3] = Relu(sum)
         node pool [N, 8, 1, 1] = GlobalAveragePool(sr)\nnode flat [N, 8] = Flatten(pool)
         param f.w [8, 3]\nparam f.b [3]\nnode out [N, 3] = Gemm(flat, f.w, f.b)\noutput out\n",
        &["a", "b", "c#0", "c#2"],
    );
    let Op::Pad(pad) = op(&net, "wide") else {
        unreachable!()
    };
    assert_eq!(pad.pads, [0, 6, 0, 0, 0, 6, 0, 0]);
    assert_eq!(shape(&net, "sum")[1], 20);
}

#[test]
fn slices_of_channels_grow_and_so_does_what_they_leave_out() {
    let net = grows(
        "graph g\ninput x [N, 3]\nparam a.w [3, 6]\nnode a [N, 6] = Gemm(x, a.w)
         node r [N, 6] = Relu(a)\nnode some [N, 3] = Slice(r; axes=[1], starts=[-5], ends=[4])
         param b [3, 3]\nnode out [N, 3] = Gemm(some, b)\noutput out\n",
        &["a#0", "a#1", "a#2"],
    );
    let Op::Slice(slice) = op(&net, "some") else {
        unreachable!()
    };
    assert_eq!((slice.starts[0], slice.ends[0]), (5, 12));
}

#[test]
fn cropped_channels_and_constants_grow() {
    let net = grows(
        "graph g\ninput x [N, 3]\nparam a.w [3, 6]\nnode a [N, 6] = Gemm(x, a.w)
         node p [N, 5] = Pad(a; pads=[0, -2, 0, 1], value=0.5)\nnode r [N, 5] = Tanh(p)
         param b [5, 3]\nnode out [N, 3] = Gemm(r, b)\noutput out\n",
        &["a#0", "a#1", "p#1"],
    );
    let Op::Pad(pad) = op(&net, "p") else {
        unreachable!()
    };
    assert_eq!(pad.pads, [0, -6, 0, 5]);
}

#[test]
fn parts_of_a_split_grow_each_by_itself() {
    let net = grows(
        "graph g\ninput x [N, 3]\nparam a.w [3, 6]\nnode a [N, 6] = Gemm(x, a.w)
         node p [N, 2], q [N, 1], r [N, 3] = Split(a; axis=1, split=[2, 1, 3])
         node cat [N, 5] = Concat(r, p)\nnode t [N, 5] = Tanh(cat)
         param b [5, 3]\nnode out [N, 3] = Gemm(t, b)\noutput out\n",
        &["a#0", "a#1", "a#2"],
    );
    assert_eq!(
        (shape(&net, "p"), shape(&net, "q")),
        (vec![1, 6], vec![1, 5])
    );
}

/// What nobody reads has no gradient, whatever lay in its memory before.
#[test]
fn gradients_of_a_split_do_not_depend_on_what_nobody_reads() {
    let text = |out: &str| {
        format!(
            "graph g\ninput x [N, 3]\nparam a.w [3, 6]\nnode a [N, 6] = Gemm(x, a.w)
             node t [N, 6] = Tanh(a)\nnode p [N, 3], q [N, 3] = Split(t; axis=1, split=[3, 3])
             param b [3, 3]\nnode s [N, 3] = Gemm({out}, b)\nnode out [N, 3] = Tanh(s)\noutput out\n"
        )
    };
    for read in ["p", "q"] {
        let net = net(&text(read));
        let x = inputs(&net.graph, BATCH, 1);
        let state = OptimizerState::default();
        let mut trainer = Trainer::new(&net.graph, &net.weights, &state, options(0.0)).unwrap();
        let first = trainer.gradients_by_name(&x[0], &LABELS).unwrap();
        assert_eq!(trainer.gradients_by_name(&x[0], &LABELS).unwrap(), first);
        let gradient = first.1.get("a.w").unwrap();
        for (at, value) in gradient.data().iter().enumerate() {
            let is_read = (at % 6 < 3) == (read == "p");
            assert_eq!(*value != 0.0, is_read, "{read} {at}");
        }
    }
}

#[test]
fn repeated_axes_grow_and_what_they_repeat() {
    let net = grows(
        "graph g\ninput x [N, 3]\nparam a.w [3, 2]\nnode a [N, 2] = Gemm(x, a.w)
         node t [N, 6] = Tile(a; repeats=[1, 3])\nparam b.w [3, 6]\nnode b [N, 6] = Gemm(x, b.w)
         node s [N, 6] = Add(t, b)\nnode r [N, 6] = Relu(s)
         param c [6, 3]\nnode out [N, 3] = Gemm(r, c)\noutput out\n",
        &["a", "t#0"],
    );
    assert_eq!(shape(&net, "t"), [1, 42]);
    let net = grows(
        "graph g\ninput x [N, 3]\nparam a.w [3, 2]\nnode a [N, 2] = Gemm(x, a.w)
         node col [N, 2, 1] = Reshape(a; sizes=[2, 1])
         node e [N, 2, 4] = Expand(col; shape=[1, 1, 4])\nnode r [N, 2, 4] = Relu(e)
         node flat [N, 8] = Flatten(r)
         param c [8, 3]\nnode out [N, 3] = Gemm(flat, c)\noutput out\n",
        &["a", "e:2"],
    );
    assert_eq!(shape(&net, "e"), [1, 6, 8]);
}

#[test]
fn an_embedding_grows_in_its_width_and_not_in_its_words() {
    let text = "graph g\ninput x [N, 4]\nparam table [5, 2]\nnode e [N, 4, 2] = Gather(table, x)
         node t [N, 4, 2] = Tanh(e)\nnode flat [N, 8] = Flatten(t)
         param c [8, 3]\nnode out [N, 3] = Gemm(flat, c)\noutput out\n";
    grows(text, &["e:2"]);
    refuses(text, "table:0", "indices count along this axis");
}

#[test]
fn channels_of_blocks_of_pixels_grow_and_blocks_do_not() {
    for mode in ["DCR", "CRD"] {
        let text = format!(
            "graph g\ninput x [N, 2, 2, 2]\nparam a.w [12, 2, 1, 1]\nnode a [N, 12, 2, 2] = Conv(x, a.w)
             node up [N, 3, 4, 4] = DepthToSpace(a; blocksize=2, mode=\"{mode}\")
             param b.w [2, 3, 3, 3]\nnode b [N, 2, 4, 4] = Conv(up, b.w; pads=[1, 1, 1, 1])
             node down [N, 8, 2, 2] = SpaceToDepth(b; blocksize=2)\nnode r [N, 8, 2, 2] = Relu(down)
             node pool [N, 8, 1, 1] = GlobalAveragePool(r)\nnode flat [N, 8] = Flatten(pool)
             param c [8, 3]\nnode out [N, 3] = Gemm(flat, c)\noutput out\n"
        );
        let names = growable(&net(&text).graph);
        let channels = if mode == "DCR" { "a#2" } else { "a#0" };
        assert_eq!(names, [channels, "b"]);
        grows(&text, &[channels, "b"]);
        let block = if mode == "DCR" { "a#0" } else { "a#1" };
        refuses(&text, block, "blocks of pixels keep their size");
    }
}

#[test]
fn channels_pass_through_resampling_and_picked_pixels() {
    grows(
        "graph g\ninput x [N, 2, 4, 4]\nparam a.w [3, 2, 1, 1]\nnode a [N, 3, 4, 4] = Conv(x, a.w)
         node n [N, 3, 8, 8] = Resize(a; scales=[2.0, 2.0])
         node l [N, 3, 3, 5] = Resize(n; mode=\"linear\", sizes=[3, 5])
         node same [N, 3, 3, 5] = Resize(l; mode=\"cubic\", sizes=[3, 3, 5])
         node row [N, 3, 5] = Take(same; axis=2, indices=[1], keep=0)
         node some [N, 2, 5] = Take(row; axis=1, indices=[1, 2])
         node e [N, 2, 7] = Pad(some; pads=[0, 0, 1, 0, 0, 1], mode=\"edge\")
         node flat [N, 14] = Flatten(e)
         param c [14, 3]\nnode out [N, 3] = Gemm(flat, c)\noutput out\n",
        &["a#0", "a#1"],
    );
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let around = |node: &str, features: usize| {
        format!(
            "graph g\ninput x [N, 3]\nparam a.w [3, 6]\nnode a [N, 6] = Gemm(x, a.w)\n{node}\n\
             node flat [N, {features}] = Flatten(y)\nparam b [{features}, 3]\n\
             node out [N, 3] = Gemm(flat, b)\noutput out\n"
        )
    };
    let steps = "node y [N, 3] = Slice(a; axes=[1], starts=[0], ends=[6], steps=[2])";
    refuses(&around(steps, 3), "a", "apart");
    let picked = "node y [N, 3] = Take(a; axis=1, indices=[0, 2, 3])";
    refuses(&around(picked, 3), "a", "one by one");
    let reflected = "node y [N, 8] = Pad(a; pads=[0, 1, 0, 1], mode=\"reflect\")";
    refuses(&around(reflected, 8), "a", "repeated at its border");
    let resampled = "node y [N, 3] = Resize(a; sizes=[3])";
    refuses(&around(resampled, 3), "a", "resampled");
}

#[test]
fn operators_compute_what_onnx_says() {
    let two = |line: &str| output(&format!("graph g\ninput x [2, 3]\n{line}\noutput y\n"));
    assert_eq!(
        two("node y [3, 2] = Transpose(x)"),
        [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    );
    assert_eq!(
        two("node y [2, 2] = Slice(x; starts=[-1, 2], ends=[-9, -4], steps=[-1, -2])"),
        [5.0, 3.0, 2.0, 0.0]
    );
    assert_eq!(
        two("node y [2, 5] = Pad(x; pads=[0, 1, 0, 1], mode=\"reflect\")"),
        [1.0, 0.0, 1.0, 2.0, 1.0, 4.0, 3.0, 4.0, 5.0, 4.0]
    );
    assert_eq!(
        two("node y [3, 3] = Pad(x; pads=[1, 1, 0, -1], value=9)"),
        [9.0, 9.0, 9.0, 9.0, 0.0, 1.0, 9.0, 3.0, 4.0]
    );
    assert_eq!(
        two("node y [2, 2] = Take(x; axis=1, indices=[-1, 0])"),
        [2.0, 0.0, 5.0, 3.0]
    );
    assert_eq!(
        two("node y [3] = Take(x; indices=[1], keep=0)"),
        [3.0, 4.0, 5.0]
    );
    assert_eq!(
        two("node y [2, 6] = Tile(x; repeats=[1, 2])"),
        [0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 3.0, 4.0, 5.0]
    );
    assert_eq!(
        two("node z [2, 3, 1] = Reshape(x; sizes=[2, 3, 1])\n\
             node y [2, 2, 3, 2] = Expand(z; shape=[2, 1, 3, 2])")[..6],
        [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]
    );
    assert_eq!(
        two("node y [2, 6] = Resize(x; scales=[2.0])"),
        [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 5.0, 5.0]
    );
    assert_eq!(
        two("node y [3, 3] = Resize(x; mode=\"linear\", sizes=[3, 3])")[3..6],
        [1.5, 2.5, 3.5]
    );
    let parts = outputs(
        "graph g\ninput x [2, 3]\nnode a [1, 3], b [1, 3] = Split(x; split=[1, 1])\n\
         output b\noutput a\n",
    );
    assert_eq!(parts, [[3.0, 4.0, 5.0], [0.0, 1.0, 2.0]]);
    // ONNX's examples of blocks.
    let depth = |line: &str| {
        output(&format!(
            "graph g\ninput x [1, 8, 1, 1]\n{line}\noutput y\n"
        ))
    };
    assert_eq!(
        depth("node y [1, 2, 2, 2] = DepthToSpace(x; blocksize=2)"),
        [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]
    );
    assert_eq!(
        depth("node y [1, 2, 2, 2] = DepthToSpace(x; blocksize=2, mode=\"CRD\")"),
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    );
    assert_eq!(
        output(
            "graph g\ninput x [2, 1, 2, 2]\nnode y [2, 4, 1, 1] = SpaceToDepth(x; blocksize=2)\noutput y\n"
        ),
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    );
}

#[test]
fn indices_are_rounded_and_kept_inside() {
    let net = net("graph g\ninput x [N, 5]\nparam t [3]\nnode y [N, 5] = Gather(t, x)\noutput y\n");
    let t = net.weights.get("t").unwrap().data().to_vec();
    let x = [1.4, -1.0, 7.0, -7.0, f64::NAN];
    let mut cx = Context::new(1).unwrap();
    let y = evaluate(&mut cx, &net.graph, &net.weights, 1, &slices(&[x.to_vec()])).unwrap();
    assert_eq!(y, [[t[1], t[2], t[2], t[0], t[0]]]);
}

/// Sizes and positions of broken files are errors, and nothing else.
#[test]
fn attributes_that_do_not_fit_are_errors() {
    let batched = Shape::batched(&[4, 6, 3]);
    let huge = usize::MAX;
    let slice = |axes: &[usize], starts: &[i64], ends: &[i64], steps: &[i64]| {
        Op::from(Slice {
            axes: axes.to_vec(),
            starts: starts.to_vec(),
            ends: ends.to_vec(),
            steps: steps.to_vec(),
        })
    };
    let pad = |pads: &[i64], mode, value| {
        let pads = pads.to_vec();
        Op::from(Pad { pads, mode, value })
    };
    let take = |axis, indices: &[i64], keep| {
        let indices = indices.to_vec();
        Op::from(Take {
            axis,
            indices,
            keep,
        })
    };
    let resize = |scales: &[f64], sizes: &[usize]| {
        Op::from(Resize {
            scales: scales.to_vec(),
            sizes: sizes.to_vec(),
            ..Resize::default()
        })
    };
    let order = Default::default();
    let wrong: Vec<Op> = vec![
        Transpose { perm: vec![] }.into(),
        Transpose {
            perm: vec![0, 1, 2, 2],
        }
        .into(),
        Transpose {
            perm: vec![0, 1, 2, huge],
        }
        .into(),
        slice(&[0], &[0], &[1], &[1]),
        slice(&[4], &[0], &[1], &[1]),
        slice(&[1, 1], &[0, 0], &[1, 1], &[1, 1]),
        slice(&[1], &[0], &[1], &[0]),
        slice(&[1], &[2], &[2], &[1]),
        slice(&[1], &[0], &[1, 2], &[1]),
        Split {
            axis: 0,
            sizes: vec![1],
        }
        .into(),
        Split {
            axis: 1,
            sizes: vec![4, 0],
        }
        .into(),
        Split {
            axis: 1,
            sizes: vec![huge, 5],
        }
        .into(),
        Split {
            axis: 1,
            sizes: vec![],
        }
        .into(),
        pad(&[0; 7], PadMode::Constant, 0.0),
        pad(&[1, 0, 0, 0, 0, 0, 0, 0], PadMode::Constant, 0.0),
        pad(&[0, -4, 0, 0, 0, 3, 0, 0], PadMode::Constant, 0.0),
        pad(
            &[0, i64::MAX, 0, 0, 0, i64::MAX, 0, i64::MAX],
            PadMode::Constant,
            0.0,
        ),
        pad(&[0, i64::MIN, 0, 0, 0, 0, 0, 0], PadMode::Constant, 0.0),
        pad(&[0, 4, 0, 0, 0, 0, 0, 0], PadMode::Reflect, 0.0),
        pad(&[0, -1, 0, 0, 0, 0, 0, 0], PadMode::Edge, 0.0),
        pad(&[0; 8], PadMode::Constant, f64::NAN),
        take(0, &[0], true),
        take(1, &[], true),
        take(1, &[4], true),
        take(1, &[-5], true),
        take(1, &[i64::MIN], true),
        take(1, &[0, 1], false),
        Expand {
            shape: vec![2, 1, 1, 1, 1],
        }
        .into(),
        Expand {
            shape: vec![5, 1, 1],
        }
        .into(),
        Expand {
            shape: vec![0, 1, 1],
        }
        .into(),
        Expand {
            shape: vec![3, 4, 6, 3],
        }
        .into(),
        Tile {
            repeats: vec![2, 1, 1, 1],
        }
        .into(),
        Tile {
            repeats: vec![1, huge, 1, 1],
        }
        .into(),
        Tile {
            repeats: vec![1, 1],
        }
        .into(),
        Gather { axis: 0 }.into(),
        Gather { axis: 9 }.into(),
        Gather { axis: 1 }.into(),
        DepthToSpace {
            blocksize: 3,
            order,
        }
        .into(),
        DepthToSpace {
            blocksize: huge,
            order,
        }
        .into(),
        DepthToSpace {
            blocksize: 0,
            order,
        }
        .into(),
        SpaceToDepth { blocksize: 2 }.into(),
        SpaceToDepth { blocksize: 0 }.into(),
        resize(&[], &[]),
        resize(&[2.0], &[2]),
        resize(&[2.0; 4], &[]),
        resize(&[2.0; 5], &[]),
        resize(&[0.1], &[]),
        resize(&[-1.0], &[]),
        resize(&[f64::NAN], &[]),
        resize(&[1e30], &[]),
        resize(&[], &[0]),
    ];
    for op in wrong {
        let shapes = vec![&batched; if op.name() == "Gather" { 2 } else { 1 }];
        let valid = |shapes: Vec<Shape>| shapes.iter().all(|shape| shape.check().is_ok());
        let result = op.infer(&shapes);
        assert!(!result.is_ok_and(|s| !s.is_empty() && valid(s)), "{op:?}");
    }
    let error = Op::from(Transpose {
        perm: vec![1, 0, 2, 3],
    })
    .infer(&[&batched]);
    assert!(error.unwrap_err().contains("batch N"));
}

#[test]
fn attributes_that_are_left_out_are_onnxs() {
    let text = "graph g\ninput x [2, 4, 4, 4]\nnode t [4, 4, 4, 2] = Transpose(x)\n\
         node s [1, 3, 4, 4] = Slice(x; ends=[1, 4], starts=[0, 1])\n\
         node a [1, 4, 4, 4], b [1, 4, 4, 4] = Split(x; split=[1, 1])\n\
         node k [1, 4, 4, 4] = Take(x; indices=[0])\n\
         node p [2, 4, 5, 4] = Pad(x; pads=[0, 0, 1, 0, 0, 0, 0, 0])\n\
         node d [2, 1, 8, 8] = DepthToSpace(x; blocksize=2)\n\
         node r [2, 4, 4, 8] = Resize(x; scales=[2.0])\n\
         node g [2, 4, 4, 4, 4, 4, 4] = Gather(x, x)\noutput t\n";
    let graph: Graph = text.parse().unwrap();
    assert_eq!(graph.to_string(), text);
    let net = net(text);
    let ones = Slice {
        axes: vec![0, 1],
        starts: vec![0, 1],
        ends: vec![1, 4],
        steps: vec![1, 1],
    };
    assert_eq!(op(&net, "s"), &Op::from(ones));
    let scales = vec![2.0];
    let resize = Resize {
        scales,
        ..Resize::default()
    };
    assert_eq!(op(&net, "r"), &Op::from(resize));
    // Those that are not at their defaults come back too.
    let text = "graph g\ninput x [N, 4, 4, 4]\nnode r [N, 4, 6, 6] = Resize(x; \
         coordinate_transformation_mode=\"align_corners\", cubic_coeff_a=-0.5, mode=\"cubic\", \
         nearest_mode=\"floor\", scales=[1.5, 1.5])\n\
         node p [N, 4, 6, 6] = Pad(r; mode=\"edge\", pads=[0, 0, 0, 0, 0, 0, 0, 0], value=0.25)\n\
         node t [N, 4, 6, 6] = Transpose(p; perm=[0, 1, 3, 2])\n\
         node k [N, 6, 6] = Take(t; axis=1, indices=[-1], keep=0)\n\
         node s [N, 3, 6] = Slice(k; axes=[1], ends=[-9223372036854775808], starts=[-1], steps=[-2])\n\
         output s\n";
    let graph: Graph = text.parse().unwrap();
    assert_eq!(graph.to_string(), text);
}
