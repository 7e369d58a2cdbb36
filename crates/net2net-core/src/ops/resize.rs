//! Resampling of images.

use net2net_kernels::resize::{self, Taps};
use net2net_kernels::{Context, Real};

use super::moves::{NOTHING, RemapKernel, as_ints, freeze_axis, map_axis, moving_parts, sizes_of};
use super::{Arity, Attribute, Attributes, Operator};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::{Extent, MAX_ELEMENTS, Shape};

/// An enumeration whose members are texts of an attribute, the default first.
macro_rules! text_enum {
    ($(#[$doc:meta])* $type:ident { $(#[$first_doc:meta])* $first:ident = $first_name:literal,
        $($(#[$member_doc:meta])* $member:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $type {
            $(#[$first_doc])* #[default] $first,
            $($(#[$member_doc])* $member,)*
        }

        impl $type {
            const ALL: &'static [($type, &'static str)] =
                &[($type::$first, $first_name), $(($type::$member, $name)),*];

            fn read(attributes: &mut Attributes, key: &str) -> Result<Self, String> {
                let text = attributes.text(key, $first_name)?;
                let found = Self::ALL.iter().find(|(_, name)| *name == text);
                found.map(|(value, _)| *value).ok_or_else(|| {
                    let names: Vec<&str> = Self::ALL.iter().map(|(_, name)| *name).collect();
                    format!("attribute `{key}` must be one of {names:?}, not {text:?}")
                })
            }

            fn write(self, attributes: &mut Attributes, key: &str) {
                let name = Self::ALL.iter().find(|(value, _)| *value == self);
                attributes.put_text(key, name.map_or($first_name, |(_, name)| name), $first_name);
            }
        }
    };
}

text_enum! {
    /// How values between positions are made; ONNX's `mode`.
    Interpolation {
        /// The nearest position's.
        Nearest = "nearest",
        /// Along straight lines between two positions.
        Linear = "linear",
        /// Along the cubic of Keys 1981 through four positions.
        Cubic = "cubic",
    }
}

text_enum! {
    /// Which place in the input a position of the output is; ONNX's
    /// `coordinate_transformation_mode`.
    Coordinates {
        /// `(i + ½) / scale − ½`
        HalfPixel = "half_pixel",
        /// The same, and 0 where the output has one position.
        PytorchHalfPixel = "pytorch_half_pixel",
        /// `i · (size − 1) / (new size − 1)`
        AlignCorners = "align_corners",
        /// `i / scale`
        Asymmetric = "asymmetric",
    }
}

text_enum! {
    /// Which position is the nearest; ONNX's `nearest_mode`.
    NearestMode {
        /// Rounded, halves down.
        RoundPreferFloor = "round_prefer_floor",
        /// Rounded, halves up.
        RoundPreferCeil = "round_prefer_ceil",
        /// Rounded down.
        Floor = "floor",
        /// Rounded up.
        Ceil = "ceil",
    }
}

/// `Resize(x [N, c, h, w]) -> [N, c, h', w']`: the innermost axes by `scales` or to `sizes`.
///
/// One of the two is empty. The axes in front of those that it speaks of stay as they are. Outside
/// of the input lies what is at its border.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// The factor of each of the innermost axes; the new size is rounded down.
    pub scales: Vec<f64>,
    /// The new size of each of the innermost axes.
    pub sizes: Vec<usize>,
    /// How values between positions are made.
    pub mode: Interpolation,
    /// Which place in the input a position of the output is.
    pub coordinates: Coordinates,
    /// Which position is the nearest.
    pub nearest_mode: NearestMode,
    /// The slope of the cubic.
    pub cubic_coeff_a: f64,
}

impl Default for Resize {
    /// ONNX's defaults, and nothing to resize to.
    fn default() -> Self {
        Resize {
            scales: Vec::new(),
            sizes: Vec::new(),
            mode: Interpolation::default(),
            coordinates: Coordinates::default(),
            nearest_mode: NearestMode::default(),
            cubic_coeff_a: -0.75,
        }
    }
}

/// What is done to one axis.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    old: usize,
    new: usize,
    scale: f64,
}

impl Axis {
    fn is_kept(&self) -> bool {
        self.old == self.new && self.scale == 1.0
    }

    /// The place in the input of a position of the output.
    fn place(&self, coordinates: Coordinates, at: usize) -> f64 {
        let (at, last) = (at as f64, (self.new - 1) as f64);
        match coordinates {
            Coordinates::PytorchHalfPixel if self.new == 1 => 0.0,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (at + 0.5) / self.scale - 0.5,
            Coordinates::AlignCorners if self.new == 1 => 0.0,
            Coordinates::AlignCorners => at * (self.old - 1) as f64 / last,
            Coordinates::Asymmetric => at / self.scale,
        }
    }
}

impl Resize {
    /// What is done to each axis of the given sizes; `None` to those in front.
    fn plan(&self, sizes: &[usize]) -> Result<Vec<Option<Axis>>, String> {
        let count = self.scales.len() + self.sizes.len();
        if !self.scales.is_empty() && !self.sizes.is_empty() {
            return Err("either scales or sizes must be given, not both".to_owned());
        }
        let Some(skipped) = sizes.len().checked_sub(count).filter(|_| count > 0) else {
            return Err(format!("{count} axes of {} cannot be resized", sizes.len()));
        };
        let mut plan = vec![None; skipped];
        for (index, old) in sizes[skipped..].iter().copied().enumerate() {
            let (new, scale) = match self.scales.get(index) {
                // ONNX multiplies in f32, where 1.6666666 times 3 is 5.
                Some(scale) => ((old as f32 * *scale as f32).floor() as usize, *scale),
                None => (self.sizes[index], self.sizes[index] as f64 / old as f64),
            };
            if new == 0 || new > MAX_ELEMENTS || !scale.is_finite() || scale <= 0.0 {
                return Err(format!("an axis of {old} cannot be resized by {scale}"));
            }
            plan.push(Some(Axis { old, new, scale }));
        }
        Ok(plan)
    }

    /// The nearest position to that of the output.
    fn nearest(&self, axis: &Axis, at: usize) -> usize {
        // In f32, as ONNX's implementations: a quotient that is a whole number must come out so.
        let place = axis.place(self.coordinates, at) as f32;
        let rounded = match self.nearest_mode {
            NearestMode::RoundPreferFloor => (place - 0.5).ceil(),
            NearestMode::RoundPreferCeil => (place + 0.5).floor(),
            NearestMode::Floor => place.floor(),
            NearestMode::Ceil => place.ceil(),
        };
        // The cast makes negative numbers zero.
        (rounded as usize).min(axis.old - 1)
    }

    fn taps(&self, axis: &Axis) -> Taps {
        let last = axis.old - 1;
        let tap = |at: usize| {
            let place = axis.place(self.coordinates, at);
            match self.mode {
                Interpolation::Nearest => vec![(self.nearest(axis, at), 1.0)],
                Interpolation::Linear => {
                    let place = place.clamp(0.0, last as f64);
                    let (low, part) = (place.floor() as usize, place.fract());
                    vec![(low, 1.0 - part), ((low + 1).min(last), part)]
                }
                Interpolation::Cubic => {
                    let low = place.floor();
                    let weights = cubic(place - low, self.cubic_coeff_a);
                    let position = |i: usize| (low + i as f64 - 1.0).clamp(0.0, last as f64);
                    let taps = weights.into_iter().enumerate();
                    taps.map(|(i, weight)| (position(i) as usize, weight))
                        .collect()
                }
            }
        };
        Taps {
            source: axis.old,
            taps: (0..axis.new).map(tap).collect(),
        }
    }
}

/// The weights of the positions −1, 0, 1 and 2 at a place between 0 and 1.
fn cubic(t: f64, a: f64) -> [f64; 4] {
    let near = |x: f64| ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
    [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
}

impl Operator for Resize {
    const NAME: &'static str = "Resize";
    const RULE: &'static str = "n c h w -> n c y x";
    const ARITY: Arity = Arity::exactly(1);

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        Ok(Resize {
            scales: attributes.floats("scales")?.unwrap_or_default(),
            sizes: sizes_of(attributes, "sizes", 1)?.unwrap_or_default(),
            mode: Interpolation::read(attributes, "mode")?,
            coordinates: Coordinates::read(attributes, "coordinate_transformation_mode")?,
            nearest_mode: NearestMode::read(attributes, "nearest_mode")?,
            cubic_coeff_a: attributes.float("cubic_coeff_a", -0.75)?,
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        if !self.scales.is_empty() {
            attributes.insert("scales", Attribute::Floats(self.scales.clone()));
        }
        if !self.sizes.is_empty() {
            attributes.insert("sizes", as_ints(&self.sizes));
        }
        self.mode.write(attributes, "mode");
        let key = "coordinate_transformation_mode";
        self.coordinates.write(attributes, key);
        self.nearest_mode.write(attributes, "nearest_mode");
        attributes.put_float("cubic_coeff_a", self.cubic_coeff_a, -0.75);
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        if !self.cubic_coeff_a.is_finite() {
            return Err("cubic_coeff_a must be finite".to_owned());
        }
        let plan = self.plan(&inputs[0].at(1))?;
        let each = inputs[0].extents().iter().zip(plan);
        let resized = each.map(|(extent, axis)| match (extent, axis) {
            (extent, None) => Ok(*extent),
            (Extent::Fixed(_), Some(axis)) => Ok(Extent::Fixed(axis.new)),
            (Extent::Batch, Some(_)) => Err("the batch cannot be resized".to_owned()),
        });
        Ok(vec![resized.collect::<Result<Shape, String>>()?])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        let plan = self.plan(&rule.input_shape(0).at(1)).unwrap_or_default();
        for (at, axis) in plan.into_iter().enumerate() {
            match axis {
                Some(axis) if !axis.is_kept() => {
                    freeze_axis(rule, at, Some(at), "this axis is resampled");
                }
                _ => map_axis(rule, at, 0, at),
            }
        }
    }

    fn resize(&self, grown: &Grown<'_>) -> Self {
        let sizes = grown.output(0).at(1);
        Resize {
            sizes: sizes[sizes.len() - self.sizes.len()..].to_vec(),
            ..self.clone()
        }
    }

    fn layouts(&self, incoming: &[Layout], _: &[&Shape], _: &[&Shape]) -> Layouts {
        Layouts::pass_through(incoming)
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let plan = self.plan(&site.inputs[0]).unwrap_or_default();
        let changed = |axis: &Axis| !axis.is_kept();
        let plan: Vec<Option<Axis>> = plan.into_iter().map(|a| a.filter(changed)).collect();
        let op = self.clone();
        if self.mode == Interpolation::Nearest {
            let place = move |at: usize, position: usize| match plan.get(at) {
                Some(Some(axis)) => Some(op.nearest(axis, position)),
                _ => Some(position),
            };
            return Box::new(RemapKernel::same_rank(site, 0.0, Box::new(place)));
        }
        let layout = &site.output_layouts[0];
        let mut sizes = layout.apply(&site.inputs[0]);
        let mut passes = Vec::new();
        for (at, axis) in plan.into_iter().enumerate() {
            let Some(axis) = axis else { continue };
            let position = layout.position(at);
            passes.push(Pass {
                axis,
                outer: sizes[..position].iter().product(),
                inner: sizes[position + 1..].iter().product(),
            });
            sizes[position] = axis.new;
        }
        Box::new(ResizeKernel {
            op,
            passes,
            taps: Vec::new(),
            between: Vec::new(),
        })
    }

    moving_parts!();
}

/// The interpolation along one axis, the others as they are by then.
struct Pass {
    axis: Axis,
    outer: usize,
    inner: usize,
}

impl Pass {
    fn result(&self) -> usize {
        self.outer * self.axis.new * self.inner
    }
}

/// One pass an axis: linear and cubic interpolation of several are products.
struct ResizeKernel<T> {
    op: Resize,
    passes: Vec<Pass>,
    /// Of each pass; made at the first pass, as are the buffers.
    taps: Vec<Taps>,
    /// What stands between two passes, going forth or back.
    between: Vec<Vec<T>>,
}

impl<T: Real> ResizeKernel<T> {
    fn make(&mut self) {
        if self.taps.len() < self.passes.len() {
            self.taps = self.passes.iter().map(|p| self.op.taps(&p.axis)).collect();
            let inner = self.passes.len() - 1;
            let buffer = |pass: &Pass| vec![T::zero(); pass.result()];
            self.between = self.passes[..inner].iter().map(buffer).collect();
        }
    }
}

impl<T: Real> Kernel<T> for ResizeKernel<T> {
    fn needs(&self) -> Needs {
        NOTHING
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        self.make();
        let Some(last) = self.passes.len().checked_sub(1) else {
            outputs[0].copy_from_slice(inputs[0]);
            return;
        };
        for (index, (pass, taps)) in self.passes.iter().zip(&self.taps).enumerate() {
            let (done, rest) = self.between.split_at_mut(index);
            let x = done.last().map_or(inputs[0], |x| x);
            let y = if index == last {
                &mut *outputs[0]
            } else {
                &mut rest[0]
            };
            resize::forward(cx, pass.outer, pass.inner, taps, x, y);
        }
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        self.make();
        let dy = pass.output_gradients[0];
        let Some(dx) = &mut pass.input_gradients[0] else {
            return;
        };
        if self.passes.is_empty() {
            dx.put(dy);
            return;
        }
        for (index, (pass, taps)) in self.passes.iter().zip(&self.taps).enumerate().rev() {
            let (before, after) = self.between.split_at_mut(index);
            let from = after.first().map_or(dy, |dy| dy);
            let (to, accumulate) = match before.last_mut() {
                Some(to) => (&mut to[..], false),
                None => (&mut *dx.data, dx.accumulate),
            };
            resize::backward(cx, pass.outer, pass.inner, taps, from, to, accumulate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linear(coordinates: Coordinates, old: usize, new: usize) -> Vec<f64> {
        let op = Resize {
            sizes: vec![new],
            mode: Interpolation::Linear,
            coordinates,
            ..Resize::default()
        };
        let axis = op.plan(&[old]).unwrap()[0].unwrap();
        let value = |taps: &Vec<(usize, f64)>| taps.iter().map(|(p, w)| *p as f64 * w).sum();
        op.taps(&axis).taps.iter().map(value).collect()
    }

    #[test]
    fn places_are_those_of_the_formulas() {
        assert_eq!(linear(Coordinates::HalfPixel, 2, 4), [0.0, 0.25, 0.75, 1.0]);
        assert_eq!(linear(Coordinates::Asymmetric, 2, 4), [0.0, 0.5, 1.0, 1.0]);
        assert_eq!(
            linear(Coordinates::AlignCorners, 3, 5),
            [0.0, 0.5, 1.0, 1.5, 2.0]
        );
        assert_eq!(linear(Coordinates::HalfPixel, 4, 1), [1.5]);
        assert_eq!(linear(Coordinates::PytorchHalfPixel, 4, 1), [0.0]);
        assert_eq!(linear(Coordinates::AlignCorners, 4, 1), [0.0]);
    }

    #[test]
    fn cubic_weights_sum_to_one_and_pass_through_the_positions() {
        assert_eq!(cubic(0.0, -0.75), [0.0, 1.0, 0.0, 0.0]);
        assert_eq!(cubic(0.5, -0.75), [-0.09375, 0.59375, 0.59375, -0.09375]);
        assert!((cubic(0.3, -0.5).iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn nearest_positions_are_those_of_each_mode() {
        let nearest = |nearest_mode, scale: f64, coordinates| -> Vec<usize> {
            let op = Resize {
                scales: vec![scale],
                coordinates,
                nearest_mode,
                ..Resize::default()
            };
            let axis = op.plan(&[3]).unwrap()[0].unwrap();
            (0..axis.new).map(|at| op.nearest(&axis, at)).collect()
        };
        let asymmetric = Coordinates::Asymmetric;
        assert_eq!(
            nearest(NearestMode::Floor, 2.0, asymmetric),
            [0, 0, 1, 1, 2, 2]
        );
        assert_eq!(
            nearest(NearestMode::Ceil, 2.0, asymmetric),
            [0, 1, 1, 2, 2, 2]
        );
        let prefer_floor = NearestMode::RoundPreferFloor;
        assert_eq!(nearest(prefer_floor, 2.0, asymmetric), [0, 0, 1, 1, 2, 2]);
        let prefer_ceil = NearestMode::RoundPreferCeil;
        assert_eq!(nearest(prefer_ceil, 2.0, asymmetric), [0, 1, 1, 2, 2, 2]);
        assert_eq!(
            nearest(prefer_floor, 2.0, Coordinates::HalfPixel),
            [0, 0, 1, 1, 2, 2]
        );
        // The f32 nearest to two thirds, and to five thirds.
        assert_eq!(
            nearest(NearestMode::Floor, 0.666_666_686_534_881_6, asymmetric),
            [0, 1]
        );
        assert_eq!(
            nearest(NearestMode::Floor, 1.666_666_626_930_236_8, asymmetric).len(),
            5
        );
    }
}
