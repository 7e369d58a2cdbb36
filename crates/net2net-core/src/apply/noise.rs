//! Noise that makes copies part, for any rows of a parameter at a time.
//!
//! Each number's draw follows from its place alone, so a matrix that is made a few rows at a time
//! gets the same noise as one that is made at once.

use std::ops::Range;

use net2net_kernels::Real;
use net2net_kernels::slices::Number;
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
/// What is zero stays zero: what was pruned, and units that are zero to the last bit because nothing
/// makes them.
pub(super) struct ZeroSum {
    random: ChaCha8Rng,
    scale: f64,
    axis: usize,
    /// Units that have several copies: where these are.
    groups: Vec<Vec<usize>>,
    /// All of those places.
    places: usize,
    /// The length of the axis, and the numbers in one slice of it.
    length: usize,
    inner: usize,
    /// How many times the axis is there in a row.
    blocks: usize,
}

impl ZeroSum {
    /// That of a lift for the grown tensor of some name and sizes, whose root mean square is `rms`
    /// without noise.
    pub(super) fn new(noise: &LiftNoise, name: &str, sizes: &[usize], rms: f64) -> ZeroSum {
        let axis = noise.axis;
        let count = noise.map.group.iter().max().map_or(0, |g| *g as usize + 1);
        let mut groups = vec![Vec::new(); count];
        for (place, group) in noise.map.group.iter().enumerate() {
            groups[*group as usize].push(place);
        }
        groups.retain(|group: &Vec<usize>| group.len() > 1);
        ZeroSum {
            random: noise.random(name),
            scale: noise.noise.std * rms,
            axis,
            places: groups.iter().map(Vec::len).sum(),
            groups,
            length: sizes[axis],
            inner: sizes[axis + 1..].iter().product(),
            blocks: sizes.get(1..axis).map_or(1, |outer| outer.iter().product()),
        }
    }

    /// Adds it to some rows (slices along the first axis).
    pub(super) fn add<T: Real>(&self, rows: Range<usize>, to: &mut [T]) {
        let mut random = self.random.clone();
        match self.axis {
            0 => self.add_to_slices(&mut random, rows, to),
            _ => {
                let blocks = rows.start * self.blocks..rows.end * self.blocks;
                let width = (self.length * self.inner).max(1);
                let mut drawn = vec![0.0; self.places * self.inner];
                for (block, to) in blocks.zip(to.chunks_exact_mut(width)) {
                    draw(&mut random, block * drawn.len(), &mut drawn);
                    self.add_to_block(&drawn, to);
                }
            }
        }
    }

    /// To the axis as a whole.
    fn add_to_block<T: Real>(&self, drawn: &[f64], to: &mut [T]) {
        let mut first = 0;
        for group in &self.groups {
            let drawn = &drawn[first * self.inner..][..group.len() * self.inner];
            first += group.len();
            for at in 0..self.inner {
                if group
                    .iter()
                    .all(|place| to[place * self.inner + at] == T::zero())
                {
                    continue;
                }
                let each = || (0..group.len()).map(|copy| drawn[copy * self.inner + at]);
                let mean = each().sum::<f64>() / group.len() as f64;
                for (place, one) in group.iter().zip(each()) {
                    to[place * self.inner + at] += T::from_f64(self.scale * (one - mean));
                }
            }
        }
    }

    /// To some slices of the axis, which is the first.
    fn add_to_slices<T: Real>(&self, random: &mut ChaCha8Rng, slices: Range<usize>, to: &mut [T]) {
        let mut drawn = vec![0.0; self.inner];
        let mut sum = vec![0.0; self.inner];
        let mut first = 0;
        for group in &self.groups {
            for (copy, place) in group.iter().enumerate() {
                if !slices.contains(place) {
                    continue;
                }
                let to = &mut to[(place - slices.start) * self.inner..][..self.inner];
                sum.fill(0.0);
                for other in 0..group.len() {
                    draw(random, (first + other) * self.inner, &mut drawn);
                    sum.iter_mut().zip(&drawn).for_each(|(sum, x)| *sum += x);
                }
                draw(random, (first + copy) * self.inner, &mut drawn);
                // No copy has a share of zero, so all of them are zero or none.
                for ((x, one), sum) in to.iter_mut().zip(&drawn).zip(&sum) {
                    if *x != T::zero() {
                        *x += T::from_f64(self.scale * (one - sum / group.len() as f64));
                    }
                }
            }
            first += group.len();
        }
    }
}

/// The draws of some places that follow each other, of mean 0 and variance 1.
fn draw(random: &mut ChaCha8Rng, from: usize, to: &mut [f64]) {
    random.set_word_pos(from as u128);
    for x in to {
        *x = HALF_WIDTH * (f64::from(random.next_u32()) / f64::from(1u32 << 31) - 1.0);
    }
}

/// The root mean square of a tensor after maps of its axes, from the numbers before.
pub(super) fn mapped_rms<S: Number>(old: &[S], axes: &[AxisMap]) -> f64 {
    let mut weights = axes.iter().map(squares);
    let first = weights.next().unwrap_or_else(|| vec![1.0]);
    let row = weights.fold(vec![1.0], |all, axis| {
        let each = all.iter().flat_map(|a| axis.iter().map(move |b| a * b));
        each.collect()
    });
    let rows = old.chunks_exact(row.len().max(1)).zip(first);
    let sum: f64 = rows.map(|(x, weight)| weight * weighted(x, &row)).sum();
    let numbers: usize = axes.iter().map(|map| map.source.len()).product();
    (sum / numbers.max(1) as f64).sqrt()
}

/// For each old position, the sum of the squares of the factors of its copies.
fn squares(map: &AxisMap) -> Vec<f64> {
    let mut squares = vec![0.0; map.old];
    for (source, factor) in map.source.iter().zip(&map.factor) {
        squares[*source as usize] += factor * factor;
    }
    squares
}

/// The sum of squares, each times a weight.
fn weighted<S: Number>(x: &[S], weights: &[f64]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    for (x, weights) in x.chunks(LANES).zip(weights.chunks(LANES)) {
        for ((sum, x), weight) in sums.iter_mut().zip(x).zip(weights) {
            let x: f64 = x.value();
            *sum += x * x * weight;
        }
    }
    sums.iter().sum()
}
