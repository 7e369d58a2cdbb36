//! Products of stacks of matrices.

use net2net_kernels::batched::Batched;
use net2net_kernels::streamed::{self, RowSource};
use net2net_kernels::{Context, Real};

use super::{Arity, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::{Extent, Shape};

/// `MatMul(a […, m, k], b […, k, n]) -> […, m, n]`, as in ONNX: leading axes are aligned from the
/// innermost and repeated where they are 1; the `m` or `n` of a vector is left out.
///
/// Where one of them is a parameter it reads the other along `k` as a layer does, and `k` can
/// grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatMul;

/// The axes of an operand: leading ones, then `m` or `n` if it has it; `k` is not among them.
struct Sides<'a> {
    leading: &'a [Extent],
    own: Option<Extent>,
    k: Extent,
}

/// The axes of the operand on the left.
fn left(shape: &Shape) -> Option<Sides<'_>> {
    match shape.extents() {
        [leading @ .., m, k] => Some(Sides {
            leading,
            own: Some(*m),
            k: *k,
        }),
        [k] => Some(Sides {
            leading: &[],
            own: None,
            k: *k,
        }),
        [] => None,
    }
}

/// The axes of the operand on the right.
fn right(shape: &Shape) -> Option<Sides<'_>> {
    match shape.extents() {
        [leading @ .., k, n] => Some(Sides {
            leading,
            own: Some(*n),
            k: *k,
        }),
        [k] => Some(Sides {
            leading: &[],
            own: None,
            k: *k,
        }),
        [] => None,
    }
}

/// Leading axes aligned from the innermost, where 1 goes with anything.
fn broadcast(a: &[Extent], b: &[Extent]) -> Option<Vec<Extent>> {
    let rank = a.len().max(b.len());
    let aligned = |sizes: &[Extent], axis: usize| {
        let own = (axis + sizes.len()).checked_sub(rank);
        own.map_or(Extent::Fixed(1), |own| sizes[own])
    };
    (0..rank)
        .map(|axis| match (aligned(a, axis), aligned(b, axis)) {
            (x, y) if x == y => Some(x),
            (x, Extent::Fixed(1)) => Some(x),
            (Extent::Fixed(1), y) => Some(y),
            _ => None,
        })
        .collect()
}

impl Operator for MatMul {
    const NAME: &'static str = "MatMul";
    const RULE: &'static str = "* m k , * k n -> * m n, where an axis of 1 is repeated";
    const ARITY: Arity = Arity::exactly(2);

    fn read(_: &mut Attributes) -> Result<Self, String> {
        Ok(MatMul)
    }

    fn write(&self, _: &mut Attributes) {}

    fn role(&self, _: usize) -> Role {
        Role::Weight
    }

    fn fan_in(&self, slot: usize, sizes: &[usize]) -> usize {
        let k = match (slot, sizes) {
            (1, [.., k, _]) => Some(k),
            _ => sizes.last(),
        };
        k.copied().unwrap_or(1)
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let (Some(a), Some(b)) = (left(inputs[0]), right(inputs[1])) else {
            return Err("a matrix product needs operands with axes".to_owned());
        };
        if a.k != b.k || a.k == Extent::Batch {
            return Err(format!(
                "{} and {} have no inner axis in common",
                inputs[0], inputs[1]
            ));
        }
        let leading = broadcast(a.leading, b.leading).ok_or_else(|| {
            format!(
                "the leading axes of {} and {} do not match, and no axis of 1 can be repeated",
                inputs[0], inputs[1]
            )
        })?;
        let output: Shape = leading.into_iter().chain(a.own).chain(b.own).collect();
        output.check()?;
        Ok(vec![output])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        let shapes = [rule.input_shape(0), rule.input_shape(1)];
        let (Some(a), Some(b)) = (left(shapes[0]), right(shapes[1])) else {
            return;
        };
        let output = rule.output_shape(0);
        let leading = a.leading.len().max(b.leading.len());
        for axis in 0..leading {
            let extent = output.extents()[axis];
            let label = rule.label(extent);
            for (input, own) in [a.leading, b.leading].into_iter().enumerate() {
                let Some(at) = (axis + own.len()).checked_sub(leading) else {
                    continue;
                };
                if own[at] == extent {
                    rule.read(input, at, &[label]);
                } else {
                    // Repeated: the axis of size 1 stands for itself, and cannot grow.
                    let unit = rule.label(Extent::Fixed(1));
                    rule.read(input, at, &[unit]);
                }
            }
            rule.write(0, axis, &[label]);
        }
        let k = rule.label(a.k);
        rule.read(0, shapes[0].rank() - 1, &[k]);
        rule.read(1, b.leading.len(), &[k]);
        let owns = [
            (0, a.leading.len(), a.own),
            (1, shapes[1].rank() - 1, b.own),
        ];
        let mut written = leading;
        for (input, axis, own) in owns {
            if let Some(extent) = own {
                let label = rule.label(extent);
                rule.read(input, axis, &[label]);
                rule.write(0, written, &[label]);
                written += 1;
            }
        }
    }

    fn resize(&self, _: &Grown<'_>) -> Self {
        MatMul
    }

    fn cost(&self, inputs: &[&Shape], outputs: &[&Shape]) -> u64 {
        let k = left(inputs[0]).map_or(1, |a| a.k.at(1));
        super::elements(outputs[0]).saturating_mul(2 * k as u64)
    }

    fn layouts(&self, _: &[Layout], inputs: &[&Shape], outputs: &[&Shape]) -> Layouts {
        let plain = |shapes: &[&Shape]| -> Vec<Layout> {
            shapes.iter().map(|s| Layout::row_major(s.rank())).collect()
        };
        Layouts {
            inputs: plain(inputs),
            outputs: plain(outputs),
        }
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let (a_leading, m, k) = match &site.inputs[0][..] {
            [leading @ .., m, k] => (leading, *m, *k),
            vector => (&[][..], 1, vector.iter().product()),
        };
        let (b_leading, n) = match &site.inputs[1][..] {
            [leading @ .., _, n] => (leading, *n),
            _ => (&[][..], 1),
        };
        Box::new(MatMulKernel(Batched::new(a_leading, b_leading, [m, k, n])))
    }

    fn nature(&self) -> Nature {
        Nature::Other
    }
}

struct MatMulKernel(Batched);

impl<T: Real> Kernel<T> for MatMulKernel {
    fn needs(&self) -> Needs {
        Needs {
            inputs: true,
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        self.0.forward(cx, inputs[0], inputs[1], outputs[0]);
    }

    fn streams(&self, slot: usize) -> bool {
        slot == 1 && self.0.as_one().is_some()
    }

    fn forward_streamed(
        &mut self,
        cx: &mut Context<T>,
        inputs: &[&[T]],
        rows: &dyn RowSource<T>,
        outputs: &mut [&mut [T]],
    ) {
        if let Some(sizes) = self.0.as_one() {
            streamed::matmul(cx, inputs[0], rows, sizes, outputs[0]);
        }
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let (a, b, dy) = (pass.inputs[0], pass.inputs[1], pass.output_gradients[0]);
        let [da, db] = pass.input_gradients else {
            return;
        };
        if let Some(da) = da {
            self.0.backward_a(cx, dy, b, da.data, da.accumulate);
        }
        if let Some(db) = db {
            self.0.backward_b(cx, a, dy, db.data, db.accumulate);
        }
    }
}
