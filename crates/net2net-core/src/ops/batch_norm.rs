//! Batch normalisation (Ioffe & Szegedy 2015).

use net2net_kernels::{Context, Real, batch_norm};

use super::{Arity, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Mode, Needs, Site, Tail};
use crate::graph::{Extent, Shape};

/// `BatchNormalization(x [N, c, …], scale [c], shift [c], mean [c], variance [c]) -> x's shape`.
///
/// Training normalises by the batch's own statistics and moves the running ones:
/// `running = momentum · running + (1 − momentum) · batch`, with the unbiased variance, as
/// PyTorch does (whose `momentum` is one minus this one). Evaluation uses the running ones.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f64,
    /// The share of the old running statistics that stays.
    pub momentum: f64,
}

impl Default for BatchNorm {
    fn default() -> Self {
        BatchNorm {
            epsilon: 1e-5,
            momentum: 0.9,
        }
    }
}

impl Operator for BatchNorm {
    const NAME: &'static str = "BatchNormalization";
    const RULE: &'static str = "n c * , c , c , c , c -> n c *";
    const ARITY: Arity = Arity::exactly(5);

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        let norm = BatchNorm {
            epsilon: attributes.float("epsilon", 1e-5)?,
            momentum: attributes.float("momentum", 0.9)?,
        };
        if norm.epsilon < 0.0 || !(0.0..=1.0).contains(&norm.momentum) {
            return Err("epsilon must not be negative and momentum must be in 0..=1".to_owned());
        }
        Ok(norm)
    }

    fn write(&self, attributes: &mut Attributes) {
        attributes.put_float("epsilon", self.epsilon, 1e-5);
        attributes.put_float("momentum", self.momentum, 0.9);
    }

    fn role(&self, slot: usize) -> Role {
        [
            Role::Activation,
            Role::Scale,
            Role::Shift,
            Role::RunningMean,
            Role::RunningVariance,
        ][slot]
    }

    fn fan_in(&self, _: usize, _: &[usize]) -> usize {
        1
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [_, Extent::Fixed(channels), ..] = inputs[0].extents() else {
            return Err(format!(
                "the input must have shape [N, channels, …], not {}",
                inputs[0]
            ));
        };
        let per_channel = Shape::fixed(&[*channels]);
        for (name, shape) in ["scale", "shift", "mean", "variance"]
            .iter()
            .zip(&inputs[1..])
        {
            if **shape != per_channel {
                return Err(format!(
                    "the {name} must have shape {per_channel}, not {shape}"
                ));
            }
        }
        Ok(vec![inputs[0].clone()])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        rule.notation(Self::RULE, &[]);
    }

    fn resize(&self, _: &Grown<'_>) -> Self {
        self.clone()
    }

    fn cost(&self, inputs: &[&Shape], _: &[&Shape]) -> u64 {
        // A multiplication and an addition for each element.
        2 * super::elements(inputs[0])
    }

    fn layouts(&self, _: &[Layout], inputs: &[&Shape], _: &[&Shape]) -> Layouts {
        let image = Layout::channels_last(inputs[0].rank());
        let mut wanted = vec![image.clone()];
        wanted.extend(std::iter::repeat_n(Layout::row_major(1), 4));
        Layouts {
            inputs: wanted,
            outputs: vec![image],
        }
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        self.fused_kernel(site, Tail::default())
    }

    fn nature(&self) -> Nature {
        Nature::Other
    }
}

impl BatchNorm {
    /// The kernel with what follows it; a residual is the last input.
    pub(crate) fn fused_kernel<T: Real>(&self, site: &Site<'_>, tail: Tail) -> Box<dyn Kernel<T>> {
        let channels = site.inputs[0][1];
        let elements: usize = site.inputs[0].iter().product();
        Box::new(BatchNormKernel {
            channels,
            rows: elements / channels,
            epsilon: self.epsilon,
            tail,
            mode: site.mode,
            batch: BatchStatistics::new(channels, elements / channels, self.momentum),
        })
    }
}

/// Whether the backward pass reads the output, which says where the rectifier let something through: without a residual that
/// is computed again.
pub(super) fn reads_output_again(tail: Tail) -> bool {
    tail.residual && tail.relu
}

/// A batch's statistics, from forward to backward and to the update.
pub(super) struct BatchStatistics<T> {
    rows: usize,
    momentum: f64,
    pub(super) mean: Vec<T>,
    pub(super) inv_std: Vec<T>,
    /// It divides by the number of rows.
    pub(super) variance: Vec<T>,
}

impl<T: Real> BatchStatistics<T> {
    pub(super) fn new(channels: usize, rows: usize, momentum: f64) -> Self {
        let statistics = || vec![T::zero(); channels];
        Self {
            rows,
            momentum,
            mean: statistics(),
            inv_std: statistics(),
            variance: statistics(),
        }
    }

    /// Moves a running mean towards the batch's.
    pub(super) fn update_mean(&self, running: &mut [T]) {
        self.update(running, &self.mean, 1.0);
    }

    /// Moves a running variance, which estimates the population's, towards the batch's.
    pub(super) fn update_variance(&self, running: &mut [T]) {
        let count = self.rows as f64;
        let unbiased = if count > 1.0 {
            count / (count - 1.0)
        } else {
            1.0
        };
        self.update(running, &self.variance, unbiased);
    }

    fn update(&self, running: &mut [T], batch: &[T], correction: f64) {
        let keep = T::from_f64(self.momentum);
        let take = (T::one() - keep) * T::from_f64(correction);
        for (old, new) in running.iter_mut().zip(batch) {
            *old = keep * *old + take * *new;
        }
    }
}

/// The input slot of a residual.
const RESIDUAL: usize = 5;

struct BatchNormKernel<T> {
    channels: usize,
    rows: usize,
    epsilon: f64,
    tail: Tail,
    mode: Mode,
    batch: BatchStatistics<T>,
}

impl<T: Real> Kernel<T> for BatchNormKernel<T> {
    fn needs(&self) -> Needs {
        Needs {
            inputs: true,
            outputs: reads_output_again(self.tail),
        }
    }

    fn reads_again(&self, slot: usize) -> bool {
        slot != RESIDUAL
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let [x, scale, shift, mean, variance] = [0, 1, 2, 3, 4].map(|slot| inputs[slot]);
        let (rows, c, relu) = (self.rows, self.channels, self.tail.relu);
        let residual = inputs.get(RESIDUAL).copied();
        let y = &mut *outputs[0];
        match self.mode {
            Mode::Train => batch_norm::forward_train(
                cx,
                rows,
                c,
                x,
                scale,
                shift,
                self.epsilon,
                residual,
                relu,
                y,
                &mut self.batch.mean,
                &mut self.batch.inv_std,
                &mut self.batch.variance,
            ),
            Mode::Evaluate => batch_norm::forward_eval(
                cx,
                rows,
                c,
                x,
                scale,
                shift,
                mean,
                variance,
                self.epsilon,
                residual,
                relu,
                y,
            ),
        }
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let y = pass.outputs.first().copied().unwrap_or_default();
        let [dx, dscale, dshift, dmean, dvariance, residual @ ..] = pass.input_gradients else {
            return;
        };
        // A computed value may stand for a running statistic; training does not read it.
        for gradient in [dmean, dvariance].into_iter().flatten() {
            if !gradient.accumulate {
                gradient.data.fill(T::zero());
            }
        }
        // Both parameters' gradients come out of the one reduction that dx needs as well.
        let mut spare = (
            vec![T::zero(); self.channels],
            vec![T::zero(); self.channels],
        );
        let mut no_dx = Vec::new();
        let (dx_data, accumulate) = match dx {
            Some(gradient) => (&mut *gradient.data, gradient.accumulate),
            None => {
                no_dx.resize(self.rows * self.channels, T::zero());
                (&mut no_dx[..], false)
            }
        };
        let residual = residual.iter_mut().flatten().next();
        let residual = residual.map(|gradient| (&mut *gradient.data, gradient.accumulate));
        batch_norm::backward(
            cx,
            self.rows,
            self.channels,
            pass.inputs[0],
            y,
            pass.output_gradients[0],
            [pass.inputs[1], pass.inputs[2]],
            &self.batch.mean,
            &self.batch.inv_std,
            self.tail.relu,
            residual,
            dx_data,
            accumulate,
            &mut spare.0,
            &mut spare.1,
            false,
        );
        for (gradient, fresh) in [(dscale, &spare.0), (dshift, &spare.1)] {
            if let Some(gradient) = gradient {
                gradient.put(fresh);
            }
        }
    }

    fn update(&mut self, slot: usize, running: &mut [T]) {
        match slot {
            3 => self.batch.update_mean(running),
            _ => self.batch.update_variance(running),
        }
    }
}
