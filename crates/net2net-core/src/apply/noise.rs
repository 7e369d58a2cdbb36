//! Noise that makes copies part, for any rows of a parameter at a time.
//!
//! Each number's draw follows from its place alone, so a matrix that is made a few rows at a time
//! gets the same noise as one that is made at once.

use std::ops::Range;

use net2net_kernels::Real;
use net2net_kernels::slices::{Number, sum_of_squares, uniform, weighted_sum_of_squares};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::dims::AxisMap;
use crate::plan::Noise;
use crate::weights::{Tensor, normal, stream};

/// Half the width of a uniform distribution of variance 1.
const HALF_WIDTH: f64 = 1.732_050_807_568_877_2;

/// Noise on the copies of one space along an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct LiftNoise {
    /// The axis.
    pub axis: usize,
    /// The noise.
    pub noise: Noise,
    /// The map of the axis if only that space grew: positions of one group are its copies.
    pub map: AxisMap,
}

impl LiftNoise {
    fn random(&self, name: &str) -> ChaCha8Rng {
        stream(self.noise.seed, &format!("noise {name} {}", self.axis))
    }

    /// Adds noise to added copies only, so that the originals stay as they are, in units of the
    /// tensor's root mean square.
    pub(super) fn add_to_copies<T: Real>(&self, tensor: &mut Tensor<T>, name: &str) {
        let scale = self.noise.std * tensor.rms();
        let mut random = self.random(name);
        let shape = tensor.shape().to_vec();
        let inner: usize = shape[self.axis + 1..].iter().product();
        for block in tensor.data_mut().chunks_exact_mut(shape[self.axis] * inner) {
            for (row, original) in block.chunks_exact_mut(inner).zip(&self.map.original) {
                for x in row {
                    let add = scale * normal(&mut random);
                    if !original {
                        *x += T::from_f64(add);
                    }
                }
            }
        }
    }
}

/// Noise that sums to zero over the copies of each unit, ready to be added to any rows of one tensor.
///
/// Of two copies one gets what is drawn, and from the other it is taken away. Of more each has a draw and gets
/// its own less that of the next copy of the same unit. Either way all copies together get nothing. What is
/// zero stays zero: what was pruned, and units that are zero to the last bit because nothing makes them.
pub(super) struct ZeroSum {
    random: ChaCha8Rng,
    /// Where the slices come from, if the axis is the first.
    slices: Option<Slices>,
    /// Where the copies of units are that have two: most of those that have several. Their draws come first.
    pairs: Vec<[u32; 2]>,
    /// The copies of units that have more.
    groups: Vec<Group>,
    /// What the draws of a pair are multiplied by.
    scale: f64,
    /// The length of the axis, and the numbers in one slice of it.
    length: usize,
    inner: usize,
    /// How many times the axis is there in a row.
    blocks: usize,
}

/// More than two copies of one unit.
struct Group {
    /// Where they are.
    places: Vec<usize>,
    /// Which of all draws is that of the first.
    first: usize,
    /// What draws are multiplied by.
    scale: f64,
}

impl ZeroSum {
    /// That of a lift with these maps, for the grown tensor of some sizes, whose root mean square is
    /// `rms` without noise. `name` tells it from all others of the plan.
    pub(super) fn new(
        noise: &LiftNoise,
        name: &str,
        axes: &[AxisMap],
        sizes: &[usize],
        rms: f64,
    ) -> ZeroSum {
        let axis = noise.axis;
        let count = noise.map.group.iter().max().map_or(0, |g| *g as usize + 1);
        let mut places = vec![Vec::new(); count];
        for (place, group) in noise.map.group.iter().enumerate() {
            places[*group as usize].push(place);
        }
        let pairs: Vec<[u32; 2]> = places
            .iter()
            .filter_map(|places| <[usize; 2]>::try_from(&places[..]).ok())
            .map(|pair| pair.map(|place| place as u32))
            .collect();
        // As strong as independent draws are when their mean is taken away.
        let strength = |r: f64| noise.noise.std * rms * ((r - 1.0) / r).sqrt();
        let mut first = pairs.len();
        let groups = places.into_iter().filter(|places| places.len() > 2);
        let groups = groups.map(|places| {
            let group = Group {
                first,
                scale: strength(places.len() as f64) * 0.5_f64.sqrt(),
                places,
            };
            first += group.places.len();
            group
        });
        ZeroSum {
            groups: groups.collect(),
            pairs,
            scale: strength(2.0),
            random: noise.random(name),
            slices: (axis == 0).then(|| Slices::new(axes)),
            length: sizes[axis],
            inner: sizes[axis + 1..].iter().product(),
            blocks: sizes.get(1..axis).map_or(1, |outer| outer.iter().product()),
        }
    }

    /// Slices of the axis for which there are draws.
    fn draws(&self) -> usize {
        let last = self.groups.last();
        last.map_or(self.pairs.len(), |last| last.first + last.places.len())
    }

    /// Adds it to some rows (slices along the first axis) that were taken from `old`.
    pub(super) fn add<S: Number, T: Real>(&self, old: &[S], rows: Range<usize>, to: &mut [T]) {
        let mut random = self.random.clone();
        if let Some(slices) = &self.slices {
            return self.add_to_slices(&mut random, old, slices, rows, to);
        }
        let blocks = rows.start * self.blocks..rows.end * self.blocks;
        let width = (self.length * self.inner).max(1);
        let mut drawn = vec![0.0; self.draws() * self.inner];
        for (block, to) in blocks.zip(to.chunks_exact_mut(width)) {
            draw(&mut random, block * drawn.len(), &mut drawn);
            self.add_to_block(&drawn, to);
        }
    }

    /// To the axis as a whole.
    fn add_to_block<T: Real>(&self, drawn: &[f64], to: &mut [T]) {
        let (of_pairs, of_groups) = drawn.split_at(self.pairs.len() * self.inner);
        match self.inner {
            1 => self.add_to_pairs(of_pairs, to),
            inner => {
                let pairs = self.pairs.iter().zip(of_pairs.chunks_exact(inner.max(1)));
                for (pair, drawn) in pairs {
                    let [first, second] = pair.map(|place| place as usize * inner);
                    for (at, drawn) in drawn.iter().enumerate() {
                        self.part(*drawn, [first + at, second + at], to);
                    }
                }
            }
        }
        let mut rest = of_groups;
        for group in &self.groups {
            let (drawn, others) = rest.split_at(group.places.len() * self.inner);
            rest = others;
            for at in 0..self.inner {
                group.part(&drawn[at..], self.inner, at, to);
            }
        }
    }

    /// The same where a slice is one number, as in the matrices of most large models: without a loop over slices
    /// it takes two thirds of the time.
    fn add_to_pairs<T: Real>(&self, drawn: &[f64], to: &mut [T]) {
        for (pair, drawn) in self.pairs.iter().zip(drawn) {
            self.part(*drawn, pair.map(|place| place as usize), to);
        }
    }

    /// To one number of a pair, and from the other.
    #[inline(always)]
    fn part<T: Real>(&self, drawn: f64, [first, second]: [usize; 2], to: &mut [T]) {
        let (a, b) = (to[first], to[second]);
        if a != T::zero() || b != T::zero() {
            let noise = T::from_f64(self.scale * drawn);
            to[first] = a + noise;
            to[second] = b - noise;
        }
    }

    /// To some slices of the axis, which is the first. The other copies are not at hand: whether they
    /// are zero is seen in what they are all taken from.
    fn add_to_slices<S: Number, T: Real>(
        &self,
        random: &mut ChaCha8Rng,
        old: &[S],
        slices: &Slices,
        rows: Range<usize>,
        to: &mut [T],
    ) {
        let inner = self.inner;
        let mut add = |place: usize, noise: &[f64]| {
            let from = slices.old(old, place);
            let to = &mut to[(place - rows.start) * inner..][..inner];
            for ((x, at), noise) in to.iter_mut().zip(&slices.inner).zip(noise) {
                if from[*at as usize].value::<f64>() != 0.0 {
                    *x += T::from_f64(*noise);
                }
            }
        };
        let mut own = vec![0.0; inner];
        let mut next = vec![0.0; inner];
        for (index, pair) in self.pairs.iter().enumerate() {
            for (place, scale) in pair.iter().zip([self.scale, -self.scale]) {
                let place = *place as usize;
                if rows.contains(&place) {
                    draw(random, index * inner, &mut own);
                    own.iter_mut().for_each(|own| *own *= scale);
                    add(place, &own);
                }
            }
        }
        for group in &self.groups {
            for (copy, place) in group.places.iter().enumerate() {
                if rows.contains(place) {
                    draw(random, (group.first + copy) * inner, &mut own);
                    draw(random, (group.first + group.next(copy)) * inner, &mut next);
                    let both = own.iter_mut().zip(&next);
                    both.for_each(|(own, next)| *own = group.scale * (*own - next));
                    add(*place, &own);
                }
            }
        }
    }
}

impl Group {
    /// To the numbers at one place of all slices, whose draws are `inner` apart.
    #[inline(always)]
    fn part<T: Real>(&self, drawn: &[f64], inner: usize, at: usize, to: &mut [T]) {
        let place = |place: &usize| place * inner + at;
        if self.places.iter().all(|p| to[place(p)] == T::zero()) {
            return;
        }
        let mut next = drawn[0];
        for (copy, p) in self.places.iter().enumerate().rev() {
            let own = drawn[copy * inner];
            to[place(p)] += T::from_f64(self.scale * (own - next));
            next = own;
        }
    }

    fn next(&self, copy: usize) -> usize {
        (copy + 1) % self.places.len()
    }
}

/// Where the slices along a first axis are taken from.
struct Slices {
    /// The old slice that each new one copies.
    first: Vec<u32>,
    /// The old number within a slice that each new one copies.
    inner: Vec<u32>,
    /// Numbers in an old slice.
    width: usize,
}

impl Slices {
    fn new(axes: &[AxisMap]) -> Slices {
        let inner = axes[1..].iter().fold(vec![0], |all: Vec<u32>, map| {
            let within = |at: &u32| {
                let base = at * map.old as u32;
                map.source.iter().map(move |source| base + source)
            };
            all.iter().flat_map(within).collect()
        });
        Slices {
            first: axes[0].source.clone(),
            inner,
            width: axes[1..].iter().map(|map| map.old).product(),
        }
    }

    fn old<'a, S>(&self, numbers: &'a [S], place: usize) -> &'a [S] {
        &numbers[self.first[place] as usize * self.width..][..self.width]
    }
}

/// The draws of some places that follow each other, of mean 0 and variance 1.
///
/// Words come in bulk and are turned into numbers in a loop of their own, so that both loops run in vectors.
fn draw(random: &mut ChaCha8Rng, from: usize, to: &mut [f64]) {
    // Setting the position throws away what was generated ahead.
    if random.get_word_pos() != from as u128 {
        random.set_word_pos(from as u128);
    }
    let mut words = [[0; 4]; 256];
    for to in to.chunks_mut(words.len()) {
        let words = &mut words[..to.len()];
        random.fill_bytes(words.as_flattened_mut());
        uniform(words, HALF_WIDTH, to);
    }
}

/// The root mean square of a tensor after maps of its axes, from the numbers before; 0 if it is not
/// finite.
pub(super) fn mapped_rms<S: Number>(old: &[S], axes: &[AxisMap]) -> f64 {
    let last = axes.iter().rposition(|map| !map.is_identity());
    let (outer, behind) = axes.split_at(last.unwrap_or(0));
    let inner: usize = behind.iter().skip(1).map(|map| map.old).product();
    let weights = behind.first().map_or_else(|| vec![1.0], squares);
    let outer: Vec<Vec<f64>> = outer.iter().map(squares).collect();
    let lines = old.chunks_exact((weights.len() * inner).max(1));
    let each = lines.enumerate().map(|(line, x)| {
        let sum = match inner {
            1 => weighted_sum_of_squares(x, &weights),
            _ => {
                let slices = x.chunks_exact(inner.max(1)).zip(&weights);
                slices.map(|(x, weight)| weight * sum_of_squares(x)).sum()
            }
        };
        sum * weight_of(line, &outer)
    });
    let sum: f64 = each.sum();
    let numbers: usize = axes.iter().map(|map| map.source.len()).product();
    let rms = (sum / numbers.max(1) as f64).sqrt();
    if rms.is_finite() { rms } else { 0.0 }
}

/// The product of the weights of a line's positions on the axes before its own.
fn weight_of(mut line: usize, outer: &[Vec<f64>]) -> f64 {
    let mut weight = 1.0;
    for axis in outer.iter().rev() {
        weight *= axis[line % axis.len()];
        line /= axis.len();
    }
    weight
}

/// For each old position, the sum of the squares of the factors of its copies.
fn squares(map: &AxisMap) -> Vec<f64> {
    let mut squares = vec![0.0; map.old];
    for (source, factor) in map.source.iter().zip(&map.factor) {
        squares[*source as usize] += factor * factor;
    }
    squares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_from_their_place_alone() {
        let mut random = stream(7, "noise");
        let mut words = random.clone();
        let each: Vec<f64> = (0..1500)
            .map(|_| HALF_WIDTH * (f64::from(words.next_u32()) / f64::from(1u32 << 31) - 1.0))
            .collect();
        for range in [0..3, 3..700, 5..6, 1..1400, 1400..1500, 0..1500] {
            let mut some = vec![0.0; range.len()];
            draw(&mut random, range.start, &mut some);
            assert_eq!(some, each[range]);
        }
    }
}
