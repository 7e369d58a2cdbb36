//! Rotary positions: pairs of features turned by angles that grow with the position.

use net2net_kernels::{Context, Real, gather};

use super::moves::row_major;
use super::{Arity, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::{Extent, Shape};

/// `RotaryEmbedding(x [N, h, s, e], cosine [N, s, r/2], sine [N, s, r/2]) -> x's shape`, or with
/// positions `RotaryEmbedding(x, cosine [p, r/2], sine [p, r/2], positions [N, s])`: the first `r`
/// features of each head are turned in pairs (Su et al. 2021), the others stay.
///
/// A value of three axes has its heads within the last one: `[N, s, (h e)]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RotaryEmbedding {
    /// The heads of a value of three axes; 0 else.
    pub num_heads: usize,
    /// How many features of a head are turned; 0 for all.
    pub rotary_embedding_dim: usize,
    /// Whether the features of a pair are neighbours, or stand in two halves.
    pub interleaved: bool,
}

/// The sizes of a value by head.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    heads: usize,
    positions: usize,
    width: usize,
    turned: usize,
}

impl RotaryEmbedding {
    fn sizes(&self, x: &Shape) -> Result<Sizes, String> {
        let (heads, positions, width) = match *x.extents() {
            [
                _,
                Extent::Fixed(heads),
                Extent::Fixed(positions),
                Extent::Fixed(width),
            ] => (heads, positions, width),
            [_, Extent::Fixed(positions), Extent::Fixed(all)]
                if self.num_heads > 0 && all.is_multiple_of(self.num_heads) =>
            {
                (self.num_heads, positions, all / self.num_heads)
            }
            _ => {
                let heads = self.num_heads;
                return Err(format!("{x} is no value of {heads} heads at positions"));
            }
        };
        let turned = match self.rotary_embedding_dim {
            0 => width,
            some => some,
        };
        if turned > width || !turned.is_multiple_of(2) {
            return Err(format!(
                "{turned} of {width} features cannot be turned in pairs"
            ));
        }
        Ok(Sizes {
            heads,
            positions,
            width,
            turned,
        })
    }
}

impl Operator for RotaryEmbedding {
    const NAME: &'static str = "RotaryEmbedding";
    const RULE: &'static str =
        "n h s e , n s r , n s r -> n h s e, or n s (h e) …, p r , p r , n s; e, p and r frozen";
    const ARITY: Arity = Arity { least: 3, most: 4 };

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        Ok(RotaryEmbedding {
            num_heads: attributes.size("num_heads", 0, 0)?,
            rotary_embedding_dim: attributes.size("rotary_embedding_dim", 0, 0)?,
            interleaved: attributes.flag("interleaved", false)?,
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        attributes.put_size("num_heads", self.num_heads, 0);
        attributes.put_size("rotary_embedding_dim", self.rotary_embedding_dim, 0);
        attributes.put_flag("interleaved", self.interleaved, false);
    }

    fn role(&self, slot: usize) -> Role {
        match slot {
            1 | 2 => Role::Constant,
            _ => Role::Activation,
        }
    }

    fn fan_in(&self, _: usize, _: &[usize]) -> usize {
        1
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let sizes = self.sizes(inputs[0])?;
        let (samples, half) = (inputs[0].extents()[0], Extent::Fixed(sizes.turned / 2));
        let positions = Extent::Fixed(sizes.positions);
        let fits = match (inputs.get(3), inputs[1].extents()) {
            (Some(at), [Extent::Fixed(_), last]) => {
                *last == half && at.extents() == [samples, positions]
            }
            (None, [first, middle, last]) => {
                let repeated = *first == samples || *first == Extent::Fixed(1);
                repeated && [*middle, *last] == [positions, half]
            }
            _ => false,
        };
        if !fits || inputs[1] != inputs[2] {
            return Err(format!(
                "cosines of {} and sines of {} do not go with {}",
                inputs[1], inputs[2], inputs[0]
            ));
        }
        Ok(vec![inputs[0].clone()])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        let Ok(sizes) = self.sizes(rule.input_shape(0)) else {
            return;
        };
        let notation = match rule.input_shape(0).rank() {
            3 => "n s (h e) -> n s (h e)",
            _ => "n h s e -> n h s e",
        };
        let labels = rule.notation(notation, &[("h", sizes.heads), ("e", sizes.width)]);
        let find = |name: &str| labels.iter().find(|(own, _)| own == name).map(|(_, l)| *l);
        if let Some(width) = find("e") {
            rule.freeze(
                width,
                "pairs of this axis are turned by angles of their own",
            );
        }
        let (Some(samples), Some(positions)) = (find("n"), find("s")) else {
            return;
        };
        let why = "a table of angles keeps its sizes";
        for table in [1, 2] {
            for (axis, extent) in rule.input_shape(table).extents().iter().enumerate() {
                let by_position = rule.inputs() == 3 && axis == 1;
                let by_sample = rule.inputs() == 3 && axis == 0 && *extent != Extent::Fixed(1);
                let label = match (by_position, by_sample) {
                    (true, _) => positions,
                    (_, true) => samples,
                    _ => rule.label(*extent),
                };
                rule.read(table, axis, &[label]);
                if !by_position && !by_sample {
                    rule.freeze(label, why);
                }
            }
        }
        if rule.inputs() > 3 {
            rule.read(3, 0, &[samples]);
            rule.read(3, 1, &[positions]);
        }
    }

    fn resize(&self, grown: &Grown<'_>) -> Self {
        let x = grown.input(0).at(1);
        let num_heads = match (self.num_heads, &x[..]) {
            (0, _) => 0,
            (_, [_, heads, _, _]) => *heads,
            // The width of a head stays.
            (heads, x) => x[2] / (super::moves::old_input(grown, 0)[2] / heads),
        };
        RotaryEmbedding {
            num_heads,
            ..self.clone()
        }
    }

    fn cost(&self, inputs: &[&Shape], _: &[&Shape]) -> u64 {
        3 * super::elements(inputs[0])
    }

    fn layouts(&self, _: &[Layout], inputs: &[&Shape], outputs: &[&Shape]) -> Layouts {
        row_major(inputs, outputs)
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let x = &site.inputs[0];
        // It was inferred from the same shape.
        let sizes = self.sizes(&Shape::fixed(x)).unwrap_or(Sizes {
            heads: 0,
            positions: 0,
            width: 0,
            turned: 0,
        });
        let table = &site.inputs[1];
        Box::new(RotaryKernel {
            sizes,
            samples: x[0],
            heads_first: x.len() == 4,
            interleaved: self.interleaved,
            table: match table.len() {
                2 => Table::Rows(table[0]),
                _ if table[0] == 1 => Table::Repeated,
                _ => Table::Whole,
            },
            rows: Vec::new(),
        })
    }

    fn nature(&self) -> Nature {
        Nature::Other
    }
}

/// How a position finds its angles.
#[derive(Clone, Copy, Debug)]
enum Table {
    /// Each sample has its own.
    Whole,
    /// All samples have the same.
    Repeated,
    /// By its number, among so many.
    Rows(usize),
}

struct RotaryKernel {
    sizes: Sizes,
    samples: usize,
    heads_first: bool,
    interleaved: bool,
    table: Table,
    /// For each sample and position, the row of its angles.
    rows: Vec<usize>,
}

impl RotaryKernel {
    fn find_rows<T: Real>(&mut self, inputs: &[&[T]]) {
        let positions = self.sizes.positions;
        self.rows.clear();
        match self.table {
            Table::Whole => self.rows.extend(0..self.samples * positions),
            Table::Repeated => {
                let all = 0..self.samples * positions;
                self.rows.extend(all.map(|at| at % positions));
            }
            Table::Rows(count) => {
                let given = inputs[3].iter();
                self.rows.extend(given.map(|at| gather::row_of(*at, count)));
            }
        }
    }

    /// Calls `turn` with the places of the first feature of a head and of its angles.
    fn for_each_head(&self, mut turn: impl FnMut(usize, usize)) {
        let Sizes {
            heads,
            positions,
            width,
            turned,
        } = self.sizes;
        for (at, row) in self.rows.iter().enumerate() {
            let (sample, position) = (at / positions, at % positions);
            for head in 0..heads {
                let place = match self.heads_first {
                    true => (sample * heads + head) * positions + position,
                    false => at * heads + head,
                };
                turn(place * width, row * (turned / 2));
            }
        }
    }

    /// The features of a pair within a head.
    fn pair(&self, index: usize) -> (usize, usize) {
        match self.interleaved {
            true => (2 * index, 2 * index + 1),
            false => (index, index + self.sizes.turned / 2),
        }
    }
}

impl<T: Real> Kernel<T> for RotaryKernel {
    fn needs(&self) -> Needs {
        Needs {
            inputs: true,
            outputs: false,
        }
    }

    fn forward(&mut self, _: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        self.find_rows(inputs);
        let (x, cosine, sine, y) = (inputs[0], inputs[1], inputs[2], &mut *outputs[0]);
        y.copy_from_slice(x);
        self.for_each_head(|place, angles| {
            for index in 0..self.sizes.turned / 2 {
                let (a, b) = self.pair(index);
                let (a, b) = (place + a, place + b);
                let (cos, sin) = (cosine[angles + index], sine[angles + index]);
                y[a] = cos * x[a] - sin * x[b];
                y[b] = sin * x[a] + cos * x[b];
            }
        });
    }

    fn backward(&mut self, _: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let (x, cosine, sine) = (pass.inputs[0], pass.inputs[1], pass.inputs[2]);
        let mut dx = pass.output_gradients[0].to_vec();
        let (mut dcosine, mut dsine) = (vec![T::zero(); cosine.len()], vec![T::zero(); sine.len()]);
        self.for_each_head(|place, angles| {
            for index in 0..self.sizes.turned / 2 {
                let (a, b) = self.pair(index);
                let (a, b, at) = (place + a, place + b, angles + index);
                let (da, db) = (dx[a], dx[b]);
                dcosine[at] += x[a] * da + x[b] * db;
                dsine[at] += x[a] * db - x[b] * da;
                dx[a] = cosine[at] * da + sine[at] * db;
                dx[b] = cosine[at] * db - sine[at] * da;
            }
        });
        let nothing = vec![T::zero(); pass.inputs.get(3).map_or(0, |at| at.len())];
        let fresh = [dx, dcosine, dsine, nothing];
        for (gradient, fresh) in pass.input_gradients.iter_mut().zip(&fresh) {
            if let Some(gradient) = gradient {
                gradient.put(fresh);
            }
        }
    }
}
