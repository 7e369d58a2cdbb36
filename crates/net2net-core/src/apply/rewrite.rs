//! Where the numbers of a grown parameter come from.

use net2net_kernels::Real;
use net2net_kernels::slices::Number;

use super::Copies;
use super::noise::{LiftNoise, ZeroSum, mapped_rms};
use super::take::take_all;
use crate::dims::{AxisMap, Unit};
use crate::plan::NoiseKind;
use crate::weights::{Tensor, normal, stream};

/// The origin of one parameter of a grown graph.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// The old one, unchanged.
    Kept,
    /// The old one, with axes mapped.
    Lifted(Lift),
    /// Another one's numbers, under a name of its own.
    Copied(String),
    /// New with an inserted layer.
    Fresh(Fresh),
}

impl Origin {
    /// Whether the parameter was not there before.
    pub(super) fn is_new(&self) -> bool {
        matches!(self, Origin::Copied(_) | Origin::Fresh(_))
    }
}

/// A parameter of an inserted layer.
#[derive(Clone, Debug, PartialEq)]
pub enum Fresh {
    /// One number throughout.
    Full(f64),
    /// The given numbers.
    Values(Vec<f64>),
    /// A matrix, or a filter whose centre is one: what it makes is what it reads.
    Identity,
    /// He initialisation from a seed and the parameter's name.
    Random {
        /// The seed.
        seed: u64,
        /// How many inputs each output sums over.
        fan_in: usize,
    },
}

/// A parameter whose axes are mapped.
#[derive(Clone, Debug, PartialEq)]
pub struct Lift {
    /// One map an axis.
    pub axes: Vec<AxisMap>,
    /// Noise along axes.
    pub noise: Vec<LiftNoise>,
    /// What makes the units that copy none; zeros where there is nothing.
    pub made: Option<Fresh>,
    /// The axis whose new slices are the mean of the old ones, if there is one.
    pub mean: Option<usize>,
    /// What all of it is multiplied by.
    pub scale: f64,
}

impl Fresh {
    /// The tensor of the given sizes.
    pub fn tensor<T: Real>(&self, sizes: &[usize], name: &str) -> Tensor<T> {
        let mut tensor = Tensor::full(sizes, T::zero());
        let data = tensor.data_mut();
        match self {
            Fresh::Full(value) => data.fill(T::from_f64(*value)),
            Fresh::Values(values) => {
                for (x, value) in data.iter_mut().zip(values) {
                    *x = T::from_f64(*value);
                }
            }
            Fresh::Identity => {
                let taps: usize = sizes[2..].iter().product();
                // All spatial sizes are odd, so the middle of the flattened window is its centre.
                for unit in 0..sizes[0].min(sizes[1]) {
                    data[(unit * sizes[1] + unit) * taps + taps / 2] = T::one();
                }
            }
            Fresh::Random { seed, fan_in } => {
                let std = (2.0 / (*fan_in).max(1) as f64).sqrt();
                let mut random = stream(*seed, name);
                for x in data {
                    *x = T::from_f64(std * normal(&mut random));
                }
            }
        }
        tensor
    }
}

impl Lift {
    /// Axes that are mapped, and nothing else.
    pub fn new(axes: Vec<AxisMap>) -> Lift {
        Lift {
            axes,
            noise: Vec::new(),
            made: None,
            mean: None,
            scale: 1.0,
        }
    }

    /// Whether it changes nothing.
    pub fn is_identity(&self) -> bool {
        self.scale == 1.0 && self.axes.iter().all(AxisMap::is_identity)
    }

    /// A weight, a running statistic or a moving average: copied, with shares where it is read.
    /// From one precision to another everything but the old numbers is of the new one.
    pub fn weight<S: Real, T: Real>(&self, old: &Tensor<S>, name: &str) -> Tensor<T> {
        let mut tensor = take_all(old, &self.axes);
        let sizes = tensor.shape().to_vec();
        let noises = self.zero_sum(old.data(), name, &sizes);
        let rows = 0..sizes.first().copied().unwrap_or(1);
        for noise in noises {
            noise.add(old.data(), rows.clone(), tensor.data_mut());
        }
        for noise in self.noise_of(NoiseKind::Incoming) {
            noise.add_to_copies(&mut tensor, name);
        }
        if self.has_new() {
            self.make(&mut tensor, name);
        }
        if let Some(axis) = self.mean {
            fill_with_means(&mut tensor, axis, &self.axes[axis]);
        }
        scaled(tensor, self.scale)
    }

    fn has_new(&self) -> bool {
        let new = |map: &AxisMap| map.units.iter().any(|unit| *unit != Unit::Copy);
        self.axes.iter().any(new)
    }

    fn noise_of(&self, kind: NoiseKind) -> impl Iterator<Item = &LiftNoise> {
        self.noise.iter().filter(move |own| own.noise.kind == kind)
    }

    /// The noise that sums to zero, for the grown tensor of some sizes.
    pub(super) fn zero_sum<S: Number>(
        &self,
        old: &[S],
        name: &str,
        sizes: &[usize],
    ) -> Vec<ZeroSum> {
        let mut noises = self.noise_of(NoiseKind::ZeroSum).enumerate().peekable();
        let rms = match noises.peek() {
            Some(_) => mapped_rms(old, &self.axes),
            None => 0.0,
        };
        let ready = |(index, noise)| {
            let name = format!("{name} {index}");
            ZeroSum::new(noise, &name, &self.axes, sizes, rms)
        };
        noises.map(ready).collect()
    }

    /// Whether each row of a weight follows from the old numbers, the maps and the row's place.
    pub(super) fn has_rows(&self) -> bool {
        let sums = self.noise_of(NoiseKind::Incoming).next().is_none();
        sums && self.scale == 1.0 && !self.has_new()
    }

    /// Writes what makes new units, and zeros for what reads them.
    fn make<T: Real>(&self, tensor: &mut Tensor<T>, name: &str) {
        let sizes = tensor.shape().to_vec();
        let zero = Fresh::Full(0.0);
        let made = self.made.as_ref().unwrap_or(&zero);
        let fresh: Tensor<T> = made.tensor(&sizes, &format!("made {name}"));
        let mut index = vec![0; sizes.len()];
        for (to, from) in tensor.data_mut().iter_mut().zip(fresh.data()) {
            let units = index.iter().zip(&self.axes).map(|(i, map)| map.units[*i]);
            match units.max() {
                Some(Unit::Made) => *to = *from,
                Some(Unit::Read) => *to = T::zero(),
                _ => {}
            }
            advance(&mut index, &sizes);
        }
    }

    /// An optimizer's moment: copies receive this power of their share of the gradient.
    pub(super) fn shared<T: Real>(&self, old: &Tensor<T>, power: i32) -> Tensor<T> {
        let mut tensor = old.clone();
        for (axis, map) in self.axes.iter().enumerate() {
            tensor = take(&tensor, axis, map, |i| map.gradient[i].powi(power));
        }
        // What is multiplied by a factor has its gradient divided by it.
        scaled(tensor, self.scale.powi(-power))
    }

    /// The old numbers where the first copies are, `random` elsewhere.
    pub fn pad<T: Real>(&self, old: &Tensor<T>, random: &Tensor<T>) -> Tensor<T> {
        let mut copied = old.clone();
        for (axis, map) in self.axes.iter().enumerate() {
            copied = take(&copied, axis, map, |_| 1.0);
        }
        let mut padded = random.clone();
        let mut index = vec![0; self.axes.len()];
        for (to, from) in padded.data_mut().iter_mut().zip(copied.data()) {
            if index
                .iter()
                .zip(&self.axes)
                .all(|(i, map)| map.original[*i])
            {
                *to = *from;
            }
            advance(&mut index, copied.shape());
        }
        padded
    }

    /// The copies along each axis whose slices are copied but not summed.
    pub(super) fn copies(&self, name: &str) -> Vec<Copies> {
        let mut all = Vec::new();
        for (axis, map) in self.axes.iter().enumerate() {
            let mut first = vec![None; map.old];
            let mut pairs = Vec::new();
            let summed = map.group.iter().enumerate().any(|(i, g)| i != *g as usize);
            let copies = map.source.iter().enumerate();
            for (position, source) in copies.filter(|(at, _)| map.units[*at] == Unit::Copy) {
                match first[*source as usize] {
                    None => first[*source as usize] = Some(position),
                    // What is multiplied by uneven shares is not equal to begin with.
                    Some(at) if map.factor[at] != map.factor[position] => {}
                    Some(original) => pairs.push((original, position)),
                }
            }
            if !pairs.is_empty() && !summed {
                all.push(Copies {
                    parameter: name.to_owned(),
                    axis,
                    pairs,
                });
            }
        }
        all
    }
}

/// Writes the mean of the old slices along an axis to the new ones.
fn fill_with_means<T: Real>(tensor: &mut Tensor<T>, axis: usize, map: &AxisMap) {
    let shape = tensor.shape().to_vec();
    let inner: usize = shape[axis + 1..].iter().product();
    let old = |at: &usize| map.units[*at] == Unit::Copy;
    for block in tensor.data_mut().chunks_exact_mut(shape[axis] * inner) {
        for at in 0..inner {
            let each = (0..shape[axis]).filter(old);
            let sum: f64 = each.map(|row| block[row * inner + at].to_f64()).sum();
            let mean = T::from_f64(sum / map.old as f64);
            for row in (0..shape[axis]).filter(|row| !old(row)) {
                block[row * inner + at] = mean;
            }
        }
    }
}

/// A tensor times a factor.
fn scaled<T: Real>(mut tensor: Tensor<T>, factor: f64) -> Tensor<T> {
    if factor != 1.0 {
        let factor = T::from_f64(factor);
        tensor.data_mut().iter_mut().for_each(|x| *x *= factor);
    }
    tensor
}

/// Copies slices along one axis, each times its factor.
fn take<T: Real>(
    old: &Tensor<T>,
    axis: usize,
    map: &AxisMap,
    factor: impl Fn(usize) -> f64,
) -> Tensor<T> {
    let mut shape = old.shape().to_vec();
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    let length = shape[axis];
    shape[axis] = map.source.len();
    let mut data = Vec::with_capacity(outer * shape[axis] * inner);
    for block in old.data().chunks_exact(length * inner) {
        for (position, source) in map.source.iter().enumerate() {
            let factor = factor(position);
            if factor == 0.0 {
                // Not a product: what is copied need not be finite.
                data.resize(data.len() + inner, T::zero());
                continue;
            }
            let slice = &block[*source as usize * inner..][..inner];
            if factor == 1.0 {
                data.extend_from_slice(slice);
            } else {
                let factor = T::from_f64(factor);
                data.extend(slice.iter().map(|x| *x * factor));
            }
        }
    }
    let mut tensor = Tensor::full(&shape, T::zero());
    tensor.data_mut().copy_from_slice(&data);
    tensor
}

fn advance(index: &mut [usize], shape: &[usize]) {
    for axis in (0..shape.len()).rev() {
        index[axis] += 1;
        if index[axis] < shape[axis] {
            return;
        }
        index[axis] = 0;
    }
}
