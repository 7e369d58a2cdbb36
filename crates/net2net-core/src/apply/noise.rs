//! Noise that makes copies part, for any rows of a parameter at a time.
//!
//! Each number's draw follows from its place alone, so a matrix that is made a few rows at a time
//! gets the same noise as one that is made at once.

use std::ops::Range;

use net2net_kernels::Real;
use net2net_kernels::slices::{Number, sum_of_squares, weighted_sum_of_squares};
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
/// Each number has a draw; a copy gets its own less that of the next copy of the same unit, so that
/// all copies together get nothing. What is zero stays zero: what was pruned, and units that are zero
/// to the last bit because nothing makes them.
pub(super) struct ZeroSum {
    random: ChaCha8Rng,
    /// Where the slices come from, if the axis is the first.
    slices: Option<Slices>,
    /// Units that have several copies.
    groups: Vec<Group>,
    /// Where their copies are, one group after the other.
    places: Vec<usize>,
    /// The length of the axis, and the numbers in one slice of it.
    length: usize,
    inner: usize,
    /// How many times the axis is there in a row.
    blocks: usize,
}

/// The copies of one unit.
struct Group {
    /// Which of all places are theirs.
    copies: Range<usize>,
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
        places.retain(|group: &Vec<usize>| group.len() > 1);
        let mut first = 0;
        let groups = places.iter().map(|places| {
            let (copies, r) = (first..first + places.len(), places.len() as f64);
            first = copies.end;
            // As strong as independent draws are when their mean is taken away.
            let scale = noise.noise.std * rms * ((r - 1.0) / (2.0 * r)).sqrt();
            Group { copies, scale }
        });
        ZeroSum {
            groups: groups.collect(),
            places: places.concat(),
            random: noise.random(name),
            slices: (axis == 0).then(|| Slices::new(axes)),
            length: sizes[axis],
            inner: sizes[axis + 1..].iter().product(),
            blocks: sizes.get(1..axis).map_or(1, |outer| outer.iter().product()),
        }
    }

    /// Adds it to some rows (slices along the first axis) that were taken from `old`.
    pub(super) fn add<S: Number, T: Real>(&self, old: &[S], rows: Range<usize>, to: &mut [T]) {
        let mut random = self.random.clone();
        if let Some(slices) = &self.slices {
            return self.add_to_slices(&mut random, old, slices, rows, to);
        }
        let blocks = rows.start * self.blocks..rows.end * self.blocks;
        let width = (self.length * self.inner).max(1);
        let mut drawn = vec![0.0; self.places.len() * self.inner];
        for (block, to) in blocks.zip(to.chunks_exact_mut(width)) {
            draw(&mut random, block * drawn.len(), &mut drawn);
            self.add_to_block(&drawn, to);
        }
    }

    /// To the axis as a whole.
    fn add_to_block<T: Real>(&self, drawn: &[f64], to: &mut [T]) {
        for group in &self.groups {
            let places = &self.places[group.copies.clone()];
            let drawn = &drawn[group.copies.start * self.inner..][..places.len() * self.inner];
            for at in 0..self.inner {
                let place = |copy: usize| places[copy] * self.inner + at;
                if let [first, second] = [0, 1].map(place)
                    && places.len() == 2
                {
                    // What most groups are; the same numbers as below.
                    if to[first] != T::zero() || to[second] != T::zero() {
                        let noise = group.scale * (drawn[at] - drawn[self.inner + at]);
                        to[first] += T::from_f64(noise);
                        to[second] -= T::from_f64(noise);
                    }
                    continue;
                }
                if (0..places.len()).all(|copy| to[place(copy)] == T::zero()) {
                    continue;
                }
                for copy in 0..places.len() {
                    let next = group.next(copy);
                    let noise = drawn[copy * self.inner + at] - drawn[next * self.inner + at];
                    to[place(copy)] += T::from_f64(group.scale * noise);
                }
            }
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
        let mut own = vec![0.0; self.inner];
        let mut next = vec![0.0; self.inner];
        for group in &self.groups {
            let places = &self.places[group.copies.clone()];
            for (copy, place) in places.iter().enumerate() {
                if !rows.contains(place) {
                    continue;
                }
                let first = group.copies.start;
                draw(random, (first + copy) * self.inner, &mut own);
                draw(random, (first + group.next(copy)) * self.inner, &mut next);
                let from = slices.old(old, *place);
                let to = &mut to[(place - rows.start) * self.inner..][..self.inner];
                let draws = own.iter().zip(&next);
                for ((x, at), (own, next)) in to.iter_mut().zip(&slices.inner).zip(draws) {
                    if from[*at as usize].value::<f64>() != 0.0 {
                        *x += T::from_f64(group.scale * (own - next));
                    }
                }
            }
        }
    }
}

impl Group {
    fn next(&self, copy: usize) -> usize {
        (copy + 1) % self.copies.len()
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
        for (x, word) in to.iter_mut().zip(words) {
            let word = f64::from(u32::from_le_bytes(*word));
            *x = HALF_WIDTH * (word / f64::from(1u32 << 31) - 1.0);
        }
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
