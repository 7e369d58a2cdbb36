//! Attention as one operator, with the heads of queries in groups around those of keys and values.

use net2net_kernels::{Context, Matrix, Real, matmul, shuffle, softmax};

use super::moves::row_major;
use super::{Arity, Attribute, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown, Label};
use crate::engine::{Backward, Gradient, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::{Extent, Shape};

/// `Attention(q [N, (k g), s, e], k [N, k, t, e], v [N, k, t, v], mask [N, (k g), s, t]?)
/// -> [N, (k g), s, v]`: values averaged with the softmax of products of queries and keys (Vaswani
/// et al. 2017), where `g` heads of queries share one of keys and values (Ainslie et al. 2023).
///
/// Operands of three axes have their heads within the last one: `[N, s, (k g e)]`. Axes of a mask
/// are aligned with the innermost ones and repeated where they are 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attention {
    /// The heads of queries, for operands of three axes; else 0.
    pub q_num_heads: usize,
    /// The heads of keys and values, for operands of three axes; else 0.
    pub kv_num_heads: usize,
    /// What products are multiplied by; `None` is `1 / √e`.
    pub scale: Option<f64>,
    /// Products are bent to stay below it, `c · tanh(x / c)`; 0 leaves them.
    pub softcap: f64,
    /// Whether a query sees only keys up to its own position.
    pub is_causal: bool,
    /// Whether the mask says what is seen, and is not added.
    pub boolean_mask: bool,
}

/// The most scores of one sample: all of them are in memory at once.
const MAX_SCORES: usize = 1 << 31;

/// The sizes of all operands.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    samples: Extent,
    /// Heads of keys and values.
    heads: usize,
    /// Heads of queries for each of them.
    group: usize,
    queries: usize,
    keys: usize,
    /// Of a query and a key.
    width: usize,
    /// Of a value.
    value: usize,
}

impl Attention {
    fn sizes(&self, inputs: &[&Shape]) -> Result<Sizes, String> {
        let [q, k, v] = [0, 1, 2].map(|input| inputs[input]);
        let misfit = || format!("{q}, {k} and {v} are no queries, keys and values of heads");
        let heads_of = |shape: &Shape, heads: usize| match *shape.extents() {
            [
                n,
                Extent::Fixed(heads),
                Extent::Fixed(len),
                Extent::Fixed(width),
            ] => Ok((n, heads, len, width)),
            [n, Extent::Fixed(len), Extent::Fixed(all)]
                if heads > 0 && all.is_multiple_of(heads) =>
            {
                Ok((n, heads, len, all / heads))
            }
            _ => Err(misfit()),
        };
        let (samples, q_heads, queries, width) = heads_of(q, self.q_num_heads)?;
        let (of_k, heads, keys, k_width) = heads_of(k, self.kv_num_heads)?;
        let (of_v, v_heads, values, value) = heads_of(v, self.kv_num_heads)?;
        let fits = of_k == samples
            && of_v == samples
            && v_heads == heads
            && values == keys
            && k_width == width
            && q_heads.is_multiple_of(heads)
            && q.rank() == k.rank()
            && k.rank() == v.rank();
        fits.then_some(Sizes {
            samples,
            heads,
            group: q_heads / heads,
            queries,
            keys,
            width,
            value,
        })
        .ok_or_else(misfit)
    }

    fn rank(&self) -> usize {
        if self.q_num_heads > 0 { 3 } else { 4 }
    }
}

impl Sizes {
    /// The place in a mask of the first key of a row of the scores.
    fn mask_row(&self, strides: &[usize; 4], head: usize, query: usize) -> usize {
        let all = self.heads * self.group;
        strides[0] * (head / all) + strides[1] * (head % all) + strides[2] * query
    }

    /// The shape of the scores.
    fn scores(&self) -> [Extent; 4] {
        let heads = Extent::Fixed(self.heads * self.group);
        [
            self.samples,
            heads,
            Extent::Fixed(self.queries),
            Extent::Fixed(self.keys),
        ]
    }
}

impl Operator for Attention {
    const NAME: &'static str = "Attention";
    const RULE: &'static str =
        "n (k g) s e , n k t e , n k t v , mask? -> n (k g) s v, or n s (k g e) …; e and t frozen";
    const ARITY: Arity = Arity { least: 3, most: 4 };

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        let stated = attributes.get("scale").is_some();
        let scale = stated.then(|| attributes.float("scale", 1.0)).transpose()?;
        let read = Attention {
            q_num_heads: attributes.size("q_num_heads", 0, 1)?,
            kv_num_heads: attributes.size("kv_num_heads", 0, 1)?,
            scale,
            softcap: attributes.float("softcap", 0.0)?,
            is_causal: attributes.flag("is_causal", false)?,
            boolean_mask: attributes.flag("boolean_mask", false)?,
        };
        if (read.q_num_heads > 0) != (read.kv_num_heads > 0) {
            return Err("it states one of its numbers of heads alone".to_owned());
        }
        let scale = read.scale.unwrap_or(1.0);
        if !(read.softcap >= 0.0 && (read.softcap + scale).is_finite()) {
            return Err("its soft cap or its scale is not valid".to_owned());
        }
        Ok(read)
    }

    fn write(&self, attributes: &mut Attributes) {
        attributes.put_size("q_num_heads", self.q_num_heads, 0);
        attributes.put_size("kv_num_heads", self.kv_num_heads, 0);
        if let Some(scale) = self.scale {
            attributes.insert("scale", Attribute::Float(scale));
        }
        attributes.put_float("softcap", self.softcap, 0.0);
        attributes.put_flag("is_causal", self.is_causal, false);
        attributes.put_flag("boolean_mask", self.boolean_mask, false);
    }

    fn role(&self, _: usize) -> Role {
        Role::Activation
    }

    fn fan_in(&self, _: usize, _: &[usize]) -> usize {
        1
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        if inputs[0].rank() != self.rank() {
            return Err(format!(
                "it states {} heads of queries, which does not go with {}",
                self.q_num_heads, inputs[0]
            ));
        }
        let sizes = self.sizes(inputs)?;
        if Shape::new(sizes.scores()).elements(1) > MAX_SCORES {
            return Err("it has more than 2^31 scores for a sample".to_owned());
        }
        if let Some(mask) = inputs.get(3) {
            let scores = sizes.scores();
            let fits =
                |(own, wanted): (&Extent, &Extent)| own == wanted || *own == Extent::Fixed(1);
            let aligned = mask.extents().iter().rev().zip(scores.iter().rev());
            if mask.rank() > 4 || !aligned.into_iter().all(fits) {
                let scores = Shape::new(scores);
                return Err(format!(
                    "a mask of {mask} does not go with scores of {scores}"
                ));
            }
        }
        let heads = sizes.heads * sizes.group;
        let (n, s) = (sizes.samples, Extent::Fixed(sizes.queries));
        let made = match self.rank() {
            3 => Shape::new([n, s, Extent::Fixed(heads.saturating_mul(sizes.value))]),
            _ => Shape::new([n, Extent::Fixed(heads), s, Extent::Fixed(sizes.value)]),
        };
        Ok(vec![made])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        let shapes = [0, 1, 2].map(|input| rule.input_shape(input));
        let Ok(sizes) = self.sizes(&shapes) else {
            return;
        };
        let notation = match self.rank() {
            3 => "n s (k g e) , n t (k e) , n t (k v) -> n s (k g v)",
            _ => "n (k g) s e , n k t e , n k t v -> n (k g) s v",
        };
        let own = [
            ("k", sizes.heads),
            ("g", sizes.group),
            ("e", sizes.width),
            ("v", sizes.value),
        ];
        let labels = rule.notation(notation, &own);
        let find = |name: &str| -> Vec<Label> {
            let named = labels.iter().filter(|(own, _)| own == name);
            named.map(|(_, label)| *label).collect()
        };
        let freeze = |rule: &mut AxisRule<'_>, name: &str, why: &str| {
            find(name)
                .into_iter()
                .for_each(|label| rule.freeze(label, why));
        };
        freeze(rule, "e", "queries are multiplied with keys over this axis");
        freeze(rule, "t", "the softmax divides by the sum over the keys");
        if self.is_causal {
            freeze(rule, "s", "a query sees the keys up to its position");
        }
        if sizes.heads == 1 && sizes.group > 1 {
            freeze(
                rule,
                "k",
                "all queries share the one head of keys and values",
            );
        }
        if rule.inputs() > 3 {
            let heads = [find("k"), find("g")].concat();
            let heads = match (sizes.heads, sizes.group) {
                (1, 2..) => find("g"),
                _ => heads,
            };
            mask_axes(rule, &sizes, [find("n"), heads, find("s"), find("t")]);
        }
    }

    fn resize(&self, grown: &Grown<'_>) -> Self {
        if self.rank() == 4 {
            return self.clone();
        }
        // The width of a query and key stays.
        let old = super::moves::old_input(grown, 0)[2] / self.q_num_heads;
        Attention {
            q_num_heads: grown.input(0).at(1)[2] / old,
            kv_num_heads: grown.input(1).at(1)[2] / old,
            ..self.clone()
        }
    }

    fn cost(&self, inputs: &[&Shape], _: &[&Shape]) -> u64 {
        let Ok(sizes) = self.sizes(inputs) else {
            return 0;
        };
        let scores = super::elements(&Shape::new(sizes.scores()));
        scores.saturating_mul(2 * (sizes.width + sizes.value) as u64 + 5)
    }

    fn layouts(&self, _: &[Layout], inputs: &[&Shape], outputs: &[&Shape]) -> Layouts {
        row_major(inputs, outputs)
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let shapes: Vec<Shape> = site
            .inputs
            .iter()
            .map(|sizes| Shape::fixed(sizes))
            .collect();
        let shapes: Vec<&Shape> = shapes.iter().collect();
        // They were inferred from the same shapes.
        let sizes = self.sizes(&shapes).unwrap_or(Sizes {
            samples: Extent::Fixed(0),
            heads: 0,
            group: 0,
            queries: 0,
            keys: 0,
            width: 0,
            value: 0,
        });
        let scale = self.scale.unwrap_or(1.0 / (sizes.width as f64).sqrt());
        Box::new(AttentionKernel {
            sizes,
            samples: site.inputs[0][0],
            flat: self.rank() == 3,
            scale: T::from_f64(scale),
            softcap: T::from_f64(self.softcap),
            is_causal: self.is_causal,
            boolean_mask: self.boolean_mask,
            mask: site.inputs.get(3).map(|sizes| strides(sizes)),
            split: Default::default(),
            weights: Vec::new(),
            bent: Vec::new(),
        })
    }

    fn nature(&self) -> Nature {
        Nature::Other
    }
}

/// States that a mask has the axes of the scores, or repeats an axis of 1.
fn mask_axes(rule: &mut AxisRule<'_>, sizes: &Sizes, labels: [Vec<Label>; 4]) {
    let mask = rule.input_shape(3);
    let scores = sizes.scores();
    for (axis, extent) in mask.extents().iter().enumerate() {
        let of_scores = 4 - mask.rank() + axis;
        if *extent == scores[of_scores] && !labels[of_scores].is_empty() {
            rule.read(3, axis, &labels[of_scores]);
        } else {
            let unit = rule.label(*extent);
            rule.read(3, axis, &[unit]);
            rule.freeze(unit, "a mask repeats this axis");
        }
    }
}

/// How far apart a mask's elements are along the axes of the scores; 0 where they are repeated.
fn strides(mask: &[usize]) -> [usize; 4] {
    let (mut strides, mut step) = ([0; 4], 1);
    for (axis, size) in mask.iter().rev().enumerate() {
        strides[3 - axis] = if *size == 1 { 0 } else { step };
        step *= size;
    }
    strides
}

struct AttentionKernel<T> {
    sizes: Sizes,
    samples: usize,
    /// Whether heads stand within the last axis.
    flat: bool,
    scale: T,
    softcap: T,
    is_causal: bool,
    boolean_mask: bool,
    mask: Option<[usize; 4]>,
    /// Queries, keys and values by head, where they come otherwise.
    split: [Vec<T>; 3],
    /// What the values are averaged with.
    weights: Vec<T>,
    /// The tangents of products that are bent.
    bent: Vec<T>,
}

impl<T: Real> AttentionKernel<T> {
    /// Heads, positions and width of queries, keys, values, and of what is made.
    fn operand(&self, which: usize) -> [usize; 3] {
        let sizes = &self.sizes;
        let all = sizes.heads * sizes.group;
        match which {
            0 => [all, sizes.queries, sizes.width],
            1 => [sizes.heads, sizes.keys, sizes.width],
            2 => [sizes.heads, sizes.keys, sizes.value],
            _ => [all, sizes.queries, sizes.value],
        }
    }

    fn take_apart(&mut self, cx: &mut Context<T>, inputs: &[&[T]]) {
        for which in 0..3 {
            if self.flat {
                let [heads, len, width] = self.operand(which);
                self.split[which].resize(inputs[which].len(), T::zero());
                let sizes = [self.samples, len, heads, width];
                let to = &mut self.split[which];
                shuffle::transpose(cx, inputs[which], &sizes, &[0, 2, 1, 3], to, false);
            }
        }
    }

    fn operands<'a>(&'a self, inputs: &[&'a [T]]) -> [&'a [T]; 3] {
        [0, 1, 2].map(|which| match self.flat {
            true => &self.split[which][..],
            false => inputs[which],
        })
    }

    /// Each head of queries with its place, and the place of its keys and values.
    fn heads(&self) -> impl Iterator<Item = (usize, usize)> + use<T> {
        let all = self.samples * self.sizes.heads * self.sizes.group;
        let group = self.sizes.group;
        (0..all).map(move |head| (head, head / group))
    }

    /// Scales, bends and masks the scores of one head.
    fn weigh(&mut self, head: usize, mask: Option<&[T]>) {
        let (queries, keys) = (self.sizes.queries, self.sizes.keys);
        let nothing = T::neg_infinity();
        for query in 0..queries {
            let place = (head * queries + query) * keys;
            let row = &mut self.weights[place..][..keys];
            row.iter_mut().for_each(|x| *x *= self.scale);
            if self.softcap > T::zero() {
                for (x, bent) in row.iter_mut().zip(&mut self.bent[place..][..keys]) {
                    *bent = (*x / self.softcap).tanh();
                    *x = self.softcap * *bent;
                }
            }
            if let (Some(strides), Some(mask)) = (&self.mask, mask) {
                let first = self.sizes.mask_row(strides, head, query);
                for (key, x) in row.iter_mut().enumerate() {
                    let said = mask[first + strides[3] * key];
                    match self.boolean_mask {
                        true if said == T::zero() => *x = nothing,
                        true => {}
                        false => *x += said,
                    }
                }
            }
            if self.is_causal {
                let seen = (query + 1).min(keys);
                row[seen..].fill(nothing);
            }
        }
    }

    /// The gradient of one head's scores from that of their softmax, which it replaces: through
    /// what bends and scales them. That of what is added to them goes into `dmask`.
    fn unweigh(&self, head: usize, slopes: &mut [T], dmask: Option<&mut [T]>) {
        let (queries, keys) = (self.sizes.queries, self.sizes.keys);
        if let (Some(strides), Some(dmask)) = (&self.mask, dmask) {
            for (query, row) in slopes.chunks_exact(keys).enumerate() {
                let first = self.sizes.mask_row(strides, head, query);
                for (key, slope) in row.iter().enumerate() {
                    dmask[first + strides[3] * key] += *slope;
                }
            }
        }
        if self.softcap > T::zero() {
            let bent = &self.bent[head * queries * keys..][..queries * keys];
            for (slope, bent) in slopes.iter_mut().zip(bent) {
                *slope *= T::one() - *bent * *bent;
            }
        }
        slopes.iter_mut().for_each(|slope| *slope *= self.scale);
    }

    fn put(&self, cx: &mut Context<T>, which: usize, fresh: &[T], to: &mut Gradient<'_, T>) {
        if self.flat {
            let [heads, len, width] = self.operand(which);
            let sizes = [self.samples, heads, len, width];
            shuffle::transpose(cx, fresh, &sizes, &[0, 2, 1, 3], to.data, to.accumulate);
        } else {
            to.put(fresh);
        }
    }
}

/// One matrix of a stack.
fn one<T: Real>(data: &[T], at: usize, [_, rows, cols]: [usize; 3]) -> Matrix<'_, T> {
    Matrix::new(&data[at * rows * cols..][..rows * cols], rows, cols)
}

fn one_mut<T>(data: &mut [T], at: usize, [_, rows, cols]: [usize; 3]) -> &mut [T] {
    &mut data[at * rows * cols..][..rows * cols]
}

impl<T: Real> Kernel<T> for AttentionKernel<T> {
    fn needs(&self) -> Needs {
        Needs {
            inputs: true,
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        self.take_apart(cx, inputs);
        let (queries, keys) = (self.sizes.queries, self.sizes.keys);
        let [q, k, v, y] = [0, 1, 2, 3].map(|which| self.operand(which));
        let scores = [0, queries, keys];
        let rows = self.samples * q[0] * queries;
        let mut weights = std::mem::take(&mut self.weights);
        weights.resize(rows * keys, T::zero());
        let [all_q, all_k, _] = self.operands(inputs);
        for (head, shared) in self.heads() {
            let to = one_mut(&mut weights, head, scores);
            matmul(
                cx,
                one(all_q, head, q),
                one(all_k, shared, k).t(),
                to,
                false,
            );
        }
        self.weights = weights;
        if self.softcap > T::zero() {
            self.bent.resize(rows * keys, T::zero());
        }
        for (head, _) in self.heads() {
            self.weigh(head, inputs.get(3).copied());
        }
        let unseen: Vec<usize> = (0..rows)
            .filter(|row| {
                let mut row = self.weights[row * keys..][..keys].iter();
                row.all(|x| *x == T::neg_infinity())
            })
            .collect();
        let mut weights = vec![T::zero(); rows * keys];
        softmax::forward(cx, rows, keys, &self.weights, &mut weights);
        // A query that sees no key gets zeros.
        for row in unseen {
            weights[row * keys..][..keys].fill(T::zero());
        }
        let [_, _, all_v] = self.operands(inputs);
        let mut apart = vec![T::zero(); if self.flat { outputs[0].len() } else { 0 }];
        let made = if self.flat {
            &mut apart[..]
        } else {
            &mut *outputs[0]
        };
        for (head, shared) in self.heads() {
            let to = one_mut(made, head, y);
            matmul(
                cx,
                one(&weights, head, scores),
                one(all_v, shared, v),
                to,
                false,
            );
        }
        if self.flat {
            let sizes = [self.samples, y[0], y[1], y[2]];
            shuffle::transpose(cx, &apart, &sizes, &[0, 2, 1, 3], outputs[0], false);
        }
        self.weights = weights;
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let (queries, keys) = (self.sizes.queries, self.sizes.keys);
        let [q, k, v, y] = [0, 1, 2, 3].map(|which| self.operand(which));
        let scores = [0, queries, keys];
        let mut dy = pass.output_gradients[0].to_vec();
        if self.flat {
            let sizes = [self.samples, y[1], y[0], y[2]];
            let given = pass.output_gradients[0];
            shuffle::transpose(cx, given, &sizes, &[0, 2, 1, 3], &mut dy, false);
        }
        let [all_q, all_k, all_v] = self.operands(pass.inputs);
        let mut fresh = [all_q, all_k, all_v].map(|operand| vec![T::zero(); operand.len()]);
        let [dq, dk, dv] = &mut fresh;
        let mut dmask = vec![T::zero(); pass.inputs.get(3).map_or(0, |mask| mask.len())];
        let mut dweights = vec![T::zero(); queries * keys];
        let mut slopes = vec![T::zero(); queries * keys];
        for (head, shared) in self.heads() {
            let dy = one(&dy, head, y);
            let weights = one(&self.weights, head, scores);
            matmul(cx, weights.t(), dy, one_mut(dv, shared, v), true);
            matmul(cx, dy, one(all_v, shared, v).t(), &mut dweights, false);
            let own = &self.weights[head * queries * keys..][..queries * keys];
            softmax::backward(cx, queries, keys, own, &dweights, &mut slopes, false);
            let added = (!self.boolean_mask).then_some(&mut dmask[..]);
            self.unweigh(head, &mut slopes, added);
            let slopes = Matrix::new(&slopes, queries, keys);
            matmul(
                cx,
                slopes,
                one(all_k, shared, k),
                one_mut(dq, head, q),
                false,
            );
            matmul(
                cx,
                slopes.t(),
                one(all_q, head, q),
                one_mut(dk, shared, k),
                true,
            );
        }
        for (which, fresh) in fresh.iter().enumerate() {
            if let Some(gradient) = &mut pass.input_gradients[which] {
                self.put(cx, which, fresh, gradient);
            }
        }
        if let Some(Some(gradient)) = pass.input_gradients.get_mut(3) {
            gradient.put(&dmask);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_that_fit_no_memory_are_refused() {
        let shape = Shape::batched(&[1, 1 << 20, 4]);
        let error = Attention::default().infer(&[&shape; 3]).unwrap_err();
        assert!(error.contains("2^31 scores"), "{error}");
        let other = Shape::batched(&[1, 4, 3]);
        assert!(
            Attention::default()
                .infer(&[&shape, &other, &other])
                .is_err()
        );
    }
}
