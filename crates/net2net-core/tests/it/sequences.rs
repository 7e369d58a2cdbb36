//! Recurrent layers and attention: which spaces they have, their text, and the order of their axes.

use net2net_core::dims::Spaces;
use net2net_core::engine::evaluate;
use net2net_core::graph::Graph;
use net2net_core::plan::{Mapping, Step, Symmetry, widen};
use net2net_kernels::Context;

use super::random_graph::{inputs, slices};
use super::regressions::{grow, net};

fn growable(graph: &Graph) -> Vec<(String, bool)> {
    let spaces = Spaces::infer(graph);
    let own = spaces.growable();
    own.map(|space| (space.name.clone(), space.uniform))
        .collect()
}

fn why(text: &str, space: &str) -> String {
    let spaces = Spaces::infer(&net(text).graph);
    spaces.find(space).unwrap_err().why
}

/// Widens a space to each of two sizes in turn, unevenly.
fn widens(text: &str, space: &str) -> Graph {
    let mut net = net(text);
    assert_eq!(net.graph.to_string().parse::<Graph>().unwrap(), net.graph);
    for more in [1, 3] {
        let spaces = Spaces::infer(&net.graph);
        let id = spaces.find(space).unwrap();
        let size = spaces.all()[id.index()].size.fixed().unwrap() + more;
        let symmetry = Symmetry::Uneven { spread: 0.9 };
        let step = widen(&spaces, space, size, Mapping::Random, symmetry, 5).unwrap();
        net = grow(&net, vec![Step::Widen(step)]);
    }
    net.graph
}

/// A layer between two products.
fn layer(node: &str, gates: usize) -> String {
    let rows = 2 * gates;
    format!(
        "graph g\ninput x [N, 4, 3]\nparam a.w [3, 5]\nnode a [N, 4, 5] = MatMul(x, a.w)\n\
         param w [1, {rows}, 5]\nparam r [1, {rows}, 2]\nparam b [1, {}]\n\
         node y [N, 4, 1, 2]{node}\nnode s [N, 4, 2] = Reshape(y; sizes=[4, 2])\n\
         param z.w [2, 3]\nnode z [N, 4, 3] = MatMul(s, z.w)\noutput z\n",
        2 * rows
    )
}

#[test]
fn units_and_features_of_recurrent_layers_grow() {
    let two = ", h [N, 1, 2], c [N, 1, 2] = LSTM(a, w, r, b; hidden_size=2, layout=1)";
    let one = |op: &str, more: &str| {
        format!(", h [N, 1, 2] = {op}(a, w, r, b; direction=\"reverse\", {more}layout=1)")
    };
    let layers = [
        layer(two, 4),
        layer(&one("GRU", "linear_before_reset=1, "), 3),
        layer(&one("RNN", "activations=\"Relu\", "), 1),
    ];
    for text in layers {
        let expected = ["a:2", "y:3"].map(|name| (name.to_owned(), false));
        assert_eq!(growable(&net(&text).graph), expected, "{text}");
        widens(&text, "a:2");
        let grown = widens(&text, "y:3");
        let r = grown.get(grown.find("r").unwrap()).shape.at(1);
        assert_eq!(r[1] % r[2], 0);
        assert_eq!(r[2], 6);
        assert!(why(&text, "a").contains("follow each other"));
    }
}

/// Weights that are computed cannot take shares.
#[test]
fn units_do_not_grow_where_what_reads_them_is_no_parameter() {
    let text = "graph g\ninput x [N, 4, 3]\nparam w [1, 2, 3]\nparam r0 [1, 2, 2]\n\
                node r [1, 2, 2] = Tanh(r0)\n\
                node y [N, 4, 1, 2], h [N, 1, 2] = RNN(x, w, r; bias=0, layout=1)\n\
                node s [N, 8] = Flatten(y)\nparam z.w [8, 3]\nnode z [N, 3] = Gemm(s, z.w)\noutput z\n";
    assert!(why(text, "r").contains("two activations"));
}

/// Samples may stand before steps, or after them.
#[test]
fn both_orders_of_axes_are_the_same_layer() {
    let text = "graph g\ninput x [3, 2, 4]\nparam w [2, 20, 4]\nparam r [2, 20, 5]\nparam b [2, 40]\n\
                node a [3, 2, 2, 5], ah [2, 2, 5], ac [2, 2, 5] = \
                LSTM(x, w, r, b; direction=\"bidirectional\")\n\
                node t [2, 3, 4] = Transpose(x; perm=[1, 0, 2])\n\
                node p [2, 3, 2, 5], ph [2, 2, 5], pc [2, 2, 5] = \
                LSTM(t, w, r, b; direction=\"bidirectional\", layout=1)\n\
                node q [3, 2, 2, 5] = Transpose(p; perm=[1, 2, 0, 3])\n\
                node qh [2, 2, 5] = Transpose(ph; perm=[1, 0, 2])\n\
                node qc [2, 2, 5] = Transpose(pc; perm=[1, 0, 2])\n\
                output a\noutput q\noutput ah\noutput qh\noutput ac\noutput qc\n";
    let net = net(text);
    let x = inputs(&net.graph, 1, 3);
    let mut cx = Context::new(1).unwrap();
    let found = evaluate(&mut cx, &net.graph, &net.weights, 1, &slices(&x)).unwrap();
    for pair in found.chunks(2) {
        assert!(pair[0].iter().any(|x| x.abs() > 1e-3));
        let same = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12;
        assert!(pair[0].iter().zip(&pair[1]).all(same));
    }
}

/// Heads of keys and values, those of queries around them, and the width of values.
#[test]
fn grouped_heads_grow_together() {
    let text = "graph g\ninput x [N, 4, 3]\nparam q.w [3, 8]\nnode q [N, 4, 8] = MatMul(x, q.w)\n\
                param k.w [3, 4]\nnode k [N, 4, 4] = MatMul(x, k.w)\n\
                param v.w [3, 6]\nnode v [N, 4, 6] = MatMul(x, v.w)\n\
                node y [N, 4, 12] = Attention(q, k, v; is_causal=1, kv_num_heads=2, q_num_heads=4)\n\
                param z.w [12, 3]\nnode z [N, 4, 3] = MatMul(y, z.w)\noutput z\n";
    let expected = ["q:2#0", "q:2#1", "v:2#1"].map(|name| (name.to_owned(), false));
    assert_eq!(growable(&net(text).graph), expected);
    for (space, sizes) in [("q:2#0", [24, 12]), ("q:2#1", [24, 4]), ("v:2#1", [8, 4])] {
        let grown = widens(text, space);
        let size = |name: &str| grown.get(grown.find(name).unwrap()).shape.at(1)[2];
        assert_eq!([size("q"), size("k")], sizes, "{space}");
    }
    assert!(why(text, "q:2#2").contains("queries are multiplied with keys"));
}

/// An equation says by itself what is mapped and what is read.
#[test]
fn axes_of_an_equation_grow() {
    let text = "graph g\ninput x [N, 4, 3]\nparam a.w [3, 5]\nnode a [N, 4, 5] = MatMul(x, a.w)\n\
                param w [2, 5, 3]\nnode y [N, 2, 4, 3] = Einsum(a, w; equation=\"nid,hdk->nhik\")\n\
                param v [2, 3, 2]\nnode z [N, 4, 2] = Einsum(y, v; equation=\"nhik,hko->nio\")\n\
                output z\n";
    let expected = ["a:2", "y", "y:3"].map(|name| (name.to_owned(), false));
    assert_eq!(growable(&net(text).graph), expected);
    for (space, _) in expected {
        widens(text, &space);
    }
}
