//! The inferred spaces of networks by hand, as text.

use std::fmt::Write;

use net2net_core::dims::{AxisRole, Spaces};
use net2net_core::graph::Graph;

/// One line a space that a parameter has, or that somebody could ask for.
fn describe(text: &str) -> String {
    let graph: Graph = text.parse().unwrap();
    let spaces = Spaces::infer(&graph);
    let mut out = String::new();
    for space in spaces.all().iter().filter(|space| !space.sites.is_empty()) {
        write!(out, "{} {}", space.name, space.size).unwrap();
        for site in &space.sites {
            let role = match site.role {
                AxisRole::Map => "map",
                AxisRole::Contract => "contract",
            };
            write!(
                out,
                " {}.{}:{role}",
                graph.get(site.parameter).name,
                site.axis
            )
            .unwrap();
        }
        if let Some(refusal) = &space.refusal {
            write!(out, " -- {}", refusal.why).unwrap();
            if let Some(node) = &refusal.node {
                write!(out, " @{node}").unwrap();
            }
        }
        out.push('\n');
    }
    out
}

fn check(text: &str, expected: &str) {
    let found = describe(text);
    // Spatial axes of filters are told once, below.
    let found: Vec<&str> = found
        .lines()
        .filter(|line| !line.contains("own parameter"))
        .collect();
    let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
    assert_eq!(found, expected, "\n{}", found.join("\n"));
}

#[test]
fn branches_of_a_concatenation_are_spaces_of_their_own() {
    check(
        "graph g\ninput x [N, 3, 8, 8]\nparam a.w [4, 3, 1, 1]\nnode a [N, 4, 8, 8] = Conv(x, a.w)
         param b.w [2, 3, 3, 3]\nnode b [N, 2, 8, 8] = Conv(x, b.w; pads=[1, 1, 1, 1])
         node cat [N, 6, 8, 8] = Concat(a, b)\nparam c.w [5, 6, 1, 1]
         node c [N, 5, 8, 8] = Conv(cat, c.w)\noutput c\n",
        "a 4 a.w.0:map c.w.1:contract
         b 2 b.w.0:map c.w.1:contract
         c 5 c.w.0:map -- it is an axis of a graph output
         x:1 3 a.w.1:contract b.w.1:contract -- it is an axis of a graph input",
    );
}

#[test]
fn a_residual_stream_is_one_space_with_its_projection() {
    check(
        "graph g\ninput x [N, 3, 4, 4]\nparam p.w [4, 3, 1, 1]\nnode p [N, 4, 4, 4] = Conv(x, p.w)
         param a.w [8, 4, 3, 3]\nnode a [N, 8, 4, 4] = Conv(p, a.w; pads=[1, 1, 1, 1])
         node r [N, 8, 4, 4] = Relu(a)
         param b.w [4, 8, 3, 3]\nparam b.b [4]\nnode b [N, 4, 4, 4] = Conv(r, b.w, b.b; pads=[1, 1, 1, 1])
         node sum [N, 4, 4, 4] = Add(p, b)\nnode pool [N, 4, 1, 1] = GlobalAveragePool(sum)
         node flat [N, 4] = Flatten(pool)\nparam fc.w [2, 4]\nnode fc [N, 2] = Gemm(flat, fc.w; transB=1)
         output fc\n",
        "p 4 p.w.0:map a.w.1:contract b.w.0:map b.b.0:map fc.w.1:contract
         a 8 a.w.0:map b.w.1:contract
         fc 2 fc.w.0:map -- it is an axis of a graph output
         x:1 3 p.w.1:contract -- it is an axis of a graph input",
    );
}

#[test]
fn depthwise_filters_grow_with_their_channels() {
    check(
        "graph g\ninput x [N, 2, 4, 4]\nparam p.w [6, 2, 1, 1]\nnode p [N, 6, 4, 4] = Conv(x, p.w)
         param d.w [6, 1, 3, 3]\nnode d [N, 6, 4, 4] = Conv(p, d.w; group=6, pads=[1, 1, 1, 1])
         param q.w [3, 6, 1, 1]\nnode q [N, 3, 4, 4] = Conv(d, q.w)\noutput q\n",
        "p 6 p.w.0:map d.w.0:map q.w.1:contract
         q 3 q.w.0:map -- it is an axis of a graph output
         x:1 2 p.w.1:contract -- it is an axis of a graph input",
    );
}

#[test]
fn groups_and_the_channels_in_each_are_factors() {
    check(
        "graph g\ninput x [N, 2, 4, 4]\nparam p.w [6, 2, 1, 1]\nnode p [N, 6, 4, 4] = Conv(x, p.w)
         param d.w [4, 3, 1, 1]\nnode d [N, 4, 4, 4] = Conv(p, d.w; group=2)
         param q.w [3, 4, 1, 1]\nnode q [N, 3, 4, 4] = Conv(d, q.w)\noutput q\n",
        "p#0 2 p.w.0:map d.w.0:map q.w.1:contract
         p#1 3 p.w.0:map d.w.1:contract
         d#1 2 d.w.0:map q.w.1:contract
         q 3 q.w.0:map -- it is an axis of a graph output
         x:1 2 p.w.1:contract -- it is an axis of a graph input",
    );
}

#[test]
fn a_classifier_of_pixels_reads_channels_times_pixels() {
    check(
        "graph g\ninput x [N, 1, 2, 3]\nparam p.w [4, 1, 1, 1]\nnode p [N, 4, 2, 3] = Conv(x, p.w)
         node flat [N, 24] = Flatten(p)\nparam fc.w [24, 2]\nnode fc [N, 2] = Gemm(flat, fc.w)
         output fc\n",
        "p 4 p.w.0:map fc.w.0:contract
         p:2 2 fc.w.0:contract -- the operator makes this axis itself @p
         p:3 3 fc.w.0:contract -- the operator makes this axis itself @p
         fc 2 fc.w.1:map -- it is an axis of a graph output
         x:1 1 p.w.1:contract -- it is an axis of a graph input",
    );
}

#[test]
fn channels_cut_by_a_reshape_are_factors() {
    check(
        "graph g\ninput x [N, 2, 1, 1]\nparam p.w [6, 2, 1, 1]\nnode p [N, 6, 1, 1] = Conv(x, p.w)
         node cut [N, 2, 3, 1, 1] = Reshape(p; sizes=[2, 3, 1, 1])
         param s [2, 1, 1, 1]\nnode m [N, 2, 3, 1, 1] = Mul(cut, s)
         node back [N, 6, 1, 1] = Reshape(m; sizes=[6, 1, 1])
         param q.w [3, 6, 1, 1]\nnode q [N, 3, 1, 1] = Conv(back, q.w)\noutput q\n",
        "p#0 2 p.w.0:map s.0:map q.w.1:contract
         p#1 3 p.w.0:map q.w.1:contract
         p:2 1 s.2:map -- the operator makes this axis itself @p
         p:3 1 s.3:map -- the operator makes this axis itself @p
         q 3 q.w.0:map -- it is an axis of a graph output
         x:1 2 p.w.1:contract -- it is an axis of a graph input",
    );
}

#[test]
fn a_tied_autoencoder_refuses_its_code() {
    check(
        "graph g\ninput x [N, 4]\nparam w [2, 4]\nnode code [N, 2] = Gemm(x, w; transB=1)
         node out [N, 4] = Gemm(code, w)\noutput out\n",
        "code 2 w.0:map -- `w` produces its units in one place and reads them in another, and nothing in between \
         takes the shares of copies, as a scale for each unit would
         out 4 w.1:map -- it is an axis of a graph input",
    );
}

#[test]
fn softmax_freezes_its_axis() {
    check(
        "graph g\ninput x [N, 4]\nparam a.w [3, 4]\nnode a [N, 3] = Gemm(x, a.w; transB=1)
         node soft [N, 3] = Softmax(a)\nparam b.w [2, 3]\nnode b [N, 2] = Gemm(soft, b.w; transB=1)
         output b\n",
        "a 3 a.w.0:map b.w.1:contract -- softmax divides by the sum over this axis @soft
         b 2 b.w.0:map -- it is an axis of a graph output
         x:1 4 a.w.1:contract -- it is an axis of a graph input",
    );
}

#[test]
fn a_gate_is_the_space_that_it_gates() {
    check(
        "graph g\ninput x [N, 2, 4, 4]\nparam p.w [6, 2, 1, 1]\nnode p [N, 6, 4, 4] = Conv(x, p.w)
         node squeeze [N, 6, 1, 1] = GlobalAveragePool(p)
         param r.w [1, 6, 1, 1]\nnode r [N, 1, 1, 1] = Conv(squeeze, r.w)
         param e.w [6, 1, 1, 1]\nnode e [N, 6, 1, 1] = Conv(r, e.w)
         node gate [N, 6, 1, 1] = Sigmoid(e)\nnode m [N, 6, 4, 4] = Mul(p, gate)
         param q.w [3, 6, 1, 1]\nnode q [N, 3, 4, 4] = Conv(m, q.w)\noutput q\n",
        "p 6 p.w.0:map r.w.1:contract e.w.0:map q.w.1:contract
         r 1 r.w.0:map e.w.1:contract
         q 3 q.w.0:map -- it is an axis of a graph output
         x:1 2 p.w.1:contract -- it is an axis of a graph input",
    );
}

#[test]
fn residual_sums_of_concatenations_cut_each_other() {
    check(
        "graph g\ninput x [N, 1]\nparam a.w [2, 1]\nnode a [N, 2] = Gemm(x, a.w; transB=1)
         param b.w [3, 1]\nnode b [N, 3] = Gemm(x, b.w; transB=1)
         param c.w [4, 1]\nnode c [N, 4] = Gemm(x, c.w; transB=1)
         param d.w [1, 1]\nnode d [N, 1] = Gemm(x, d.w; transB=1)
         node l [N, 5] = Concat(a, b)\nnode r [N, 5] = Concat(c, d)\nnode s [N, 5] = Add(l, r)
         param q.w [2, 5]\nnode q [N, 2] = Gemm(s, q.w; transB=1)\noutput q\n",
        "a 2 a.w.0:map c.w.0:map q.w.1:contract
         b#0 2 b.w.0:map c.w.0:map q.w.1:contract
         b#1 1 b.w.0:map d.w.0:map q.w.1:contract
         q 2 q.w.0:map -- it is an axis of a graph output
         x:1 1 a.w.1:contract b.w.1:contract c.w.1:contract d.w.1:contract -- it is an axis of a graph input",
    );
}

#[test]
fn the_axes_of_a_filter_are_its_own() {
    let found = describe(
        "graph g\ninput x [N, 2, 4, 4]\nparam w [6, 2, 3, 3]\nnode y [N, 6, 2, 2] = Conv(x, w)
         output y\n",
    );
    let own = "only the operator's own parameter has this axis @y";
    assert!(
        found.contains(&format!("w:2 3 w.2:map -- {own}\nw:3 3 w.3:map -- {own}\n")),
        "{found}"
    );
}
