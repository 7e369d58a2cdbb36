//! The proof that nothing changed: both networks evaluated on the same inputs.

use std::borrow::Cow;

use net2net_kernels::{Context, Real};
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use crate::apply::{ApplyError, Growth};
use crate::border;
use crate::engine::{CompileError, Precision, evaluate};
use crate::graph::{Graph, ValueId};
use crate::plan::Plan;
use crate::weights::{Source, Weights, Widened};

/// The largest relative difference in f64 that is rounding and not a fault.
pub const TOLERANCE: f64 = 1e-10;

/// How far one output of two networks differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputEvidence {
    /// The output's name.
    pub output: String,
    /// Largest absolute difference over all samples and elements.
    #[serde(deserialize_with = "null_as_nan")]
    pub max_abs: f64,
    /// The same divided by the scale.
    #[serde(deserialize_with = "null_as_nan")]
    pub max_rel: f64,
    /// The largest absolute value of the old network's output.
    #[serde(deserialize_with = "null_as_nan")]
    pub scale: f64,
}

/// The evidence for one growth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What was fed, e.g. `64 validation images`.
    pub inputs: String,
    /// Both networks in f64, grown in f64.
    pub f64: Vec<OutputEvidence>,
    /// Both networks in f32, the grown one as it is stored.
    pub f32: Vec<OutputEvidence>,
    /// What the relative difference in f64 must not exceed; infinite if noise was asked for.
    #[serde(with = "tolerance")]
    pub tolerance: f64,
    /// Whether it does not.
    pub exact: bool,
}

impl Evidence {
    /// Whether the proof holds: within the tolerance, and a finite number for every output.
    #[must_use]
    pub fn holds(&self) -> bool {
        let finite = |e: &OutputEvidence| e.max_abs.is_finite() && e.max_rel.is_finite();
        self.exact && !self.f64.is_empty() && self.f64.iter().chain(&self.f32).all(finite)
    }
}

/// JSON has no number for what is not finite and serde_json writes null for it.
fn null_as_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// JSON has no infinity; `null` stands for it.
mod tolerance {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        value.is_finite().then_some(*value).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
    }
}

/// Why there is no evidence, or why it does not suffice.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The networks differ.
    #[error(
        "the grown network is not the same function: output `{output}` differs by {difference:.1e} \
         relative in f64, and {TOLERANCE:.0e} is allowed; nothing was written"
    )]
    Changed {
        /// The output that differs most.
        output: String,
        /// By how much, relative to its scale.
        difference: f64,
    },
    /// One of the networks does not compute numbers.
    #[error(
        "output `{output}` of the old or the grown network is not finite on these inputs, in f64 or in f32, so that \
         the proof is not complete; nothing was written"
    )]
    NotFinite {
        /// The output.
        output: String,
    },
    /// The two networks have different outputs.
    #[error("the networks have different outputs: {old} against {new}")]
    Outputs {
        /// Of the old network.
        old: String,
        /// Of the new network.
        new: String,
    },
    /// The two networks have different inputs.
    #[error("the networks have different inputs: {old} against {new}")]
    Inputs {
        /// Of the old network.
        old: String,
        /// Of the new network.
        new: String,
    },
    /// A network cannot be run.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The weights cannot be grown.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// Compares the outputs of two networks on the same inputs (see [`evaluate`]), in the precision
/// of `T`: the largest difference of each output, never a sum in which differences cancel.
///
/// The second network may have more features in its inputs and more classes in its outputs, behind
/// those of the first: the new features are fed other numbers, and the old classes compared. If the
/// classes come out of a softmax, their probabilities are compared as parts of what the new classes
/// leave to them.
pub fn compare<T: Precision, A: Source<T> + ?Sized, B: Source<T> + ?Sized>(
    cx: &mut Context<T>,
    old: (&Graph, &A),
    new: (&Graph, &B),
    batch: usize,
    inputs: &[&[T]],
) -> Result<Vec<OutputEvidence>, VerifyError> {
    check_borders(old.0, new.0)?;
    let before = evaluate(cx, old.0, old.1, batch, inputs)?;
    compare_with(cx, old.0, &before, new, batch, inputs)
}

/// The same where it is known what the old network makes of the inputs.
pub fn compare_with<T: Precision, S: Source<T> + ?Sized>(
    cx: &mut Context<T>,
    old: &Graph,
    before: &[Vec<T>],
    new: (&Graph, &S),
    batch: usize,
    inputs: &[&[T]],
) -> Result<Vec<OutputEvidence>, VerifyError> {
    check_borders(old, new.0)?;
    let sizes = |graph: &Graph, id: &ValueId| graph.get(*id).shape.at(batch);
    let mut fed: Vec<Cow<'_, [T]>> = Vec::with_capacity(inputs.len());
    for (data, (a, b)) in inputs.iter().zip(old.inputs().iter().zip(new.0.inputs())) {
        let (small, large) = (fed_sizes(sizes(old, a)), fed_sizes(sizes(new.0, b)));
        fed.push(match small == large {
            true => Cow::Borrowed(*data),
            false => Cow::Owned(border::surround(data, &small, &large)),
        });
    }
    let fed: Vec<&[T]> = fed.iter().map(AsRef::as_ref).collect();
    let after = evaluate(cx, new.0, new.1, batch, &fed)?;
    let outputs = old.outputs().iter().zip(new.0.outputs());
    let pairs = outputs.zip(before.iter().zip(&after));
    let compared = pairs.map(|((id, other), (a, b))| {
        let (small, large) = (sizes(old, id), sizes(new.0, other));
        let name = &old.get(*id).name;
        match small == large {
            true => difference(name, a, b),
            false => {
                let mut part = border::part(b, &small, &large);
                let classes = small.last().copied().unwrap_or(1);
                if classes != large.last().copied().unwrap_or(1)
                    && let Some((_, scale)) = border::final_softmax(old, *id)
                {
                    border::normalize(&mut part, classes, scale);
                }
                difference(name, a, &part)
            }
        }
    });
    Ok(compared.collect())
}

/// Refuses networks whose inputs or outputs are not those of the first, with more behind them.
fn check_borders(old: &Graph, new: &Graph) -> Result<(), VerifyError> {
    let differ = |of: fn(&Graph) -> &[ValueId]| {
        let described = |graph: &Graph| described(graph, of(graph));
        let fit = border::all_fit(old, of(old), new, of(new));
        (!fit).then(|| (described(old), described(new)))
    };
    if let Some((old, new)) = differ(Graph::outputs) {
        return Err(VerifyError::Outputs { old, new });
    }
    match differ(Graph::inputs) {
        Some((old, new)) => Err(VerifyError::Inputs { old, new }),
        None => Ok(()),
    }
}

/// The sizes of an input as it is fed, which is channels-last.
fn fed_sizes(mut sizes: Vec<usize>) -> Vec<usize> {
    if sizes.len() > 2 {
        sizes[1..].rotate_left(1);
    }
    sizes
}

fn described(graph: &Graph, ids: &[ValueId]) -> String {
    let describe = |id: &ValueId| {
        let value = graph.get(*id);
        format!("`{}` {}", value.name, value.shape)
    };
    let all: Vec<String> = ids.iter().map(describe).collect();
    match all.is_empty() {
        true => "none".to_owned(),
        false => all.join(", "),
    }
}

fn difference<T: Real>(output: &str, a: &[T], b: &[T]) -> OutputEvidence {
    assert_eq!(a.len(), b.len(), "the inputs are the same");
    let mut max_abs: f64 = 0.0;
    let mut scale: f64 = 0.0;
    for (x, y) in a.iter().zip(b) {
        let (x, y) = ((*x).to_f64(), (*y).to_f64());
        let apart = (x - y).abs();
        // A maximum ignores what is not a number, and this must not.
        max_abs = if apart.is_nan() {
            f64::INFINITY
        } else {
            max_abs.max(apart)
        };
        scale = scale.max(x.abs());
    }
    let max_rel = if max_abs == 0.0 {
        0.0
    } else {
        max_abs / scale.max(f64::MIN_POSITIVE)
    };
    OutputEvidence {
        output: output.to_owned(),
        max_abs,
        max_rel,
        scale,
    }
}

/// A grown network that was proved to be the same function.
#[derive(Clone, Debug)]
pub struct Proved {
    /// The grown weights.
    pub weights: Weights<f32>,
    /// The proof.
    pub evidence: Evidence,
}

/// A proof in f64, and what it was made with. [`Proof::in_f32`] completes it.
#[derive(Clone, Debug)]
pub struct Proof {
    /// Both networks in f64, grown in f64.
    double: Vec<OutputEvidence>,
    /// What they must not exceed.
    tolerance: f64,
    /// What was fed, in words.
    inputs: String,
    /// What the old network makes of the inputs in f64, one row-major tensor an output: what a
    /// written file is compared with.
    pub outputs: Vec<Vec<f64>>,
    /// The same in f32.
    single: Vec<Vec<f32>>,
}

/// Grows weights and proves it on inputs, as [`prove`] does.
pub fn grow_and_prove(
    graph: &Graph,
    plan: &Plan,
    growth: &Growth,
    weights: &Weights<f32>,
    threads: usize,
    batch: usize,
    inputs: &[&[f32]],
    what: &str,
) -> Result<Proved, VerifyError> {
    weights.check(graph).map_err(ApplyError::Weights)?;
    let proof = prove(graph, plan, growth, weights, threads, batch, inputs, what)?;
    let weights = growth.weights(weights)?;
    let evidence = proof.in_f32(graph, (growth.graph(), &weights), threads, batch, inputs)?;
    Ok(Proved { weights, evidence })
}

/// Proves growth on inputs in f64; no command grows without it, and [`Proof::in_f32`] after it. Parameters are read
/// from `weights`, grown and dropped one by one. The old network is run in f32 too, for that.
///
/// A difference beyond [`TOLERANCE`] is an error, unless the plan asks for noise that is not
/// exact. `what` says for people what the inputs are.
pub fn prove(
    graph: &Graph,
    plan: &Plan,
    growth: &Growth,
    weights: &dyn Source<f32>,
    threads: usize,
    batch: usize,
    inputs: &[&[f32]],
    what: &str,
) -> Result<Proof, VerifyError> {
    check_borders(graph, growth.graph())?;
    let single = evaluate(&mut context(threads)?, graph, weights, batch, inputs)?;
    let finite = |numbers: &Vec<f32>| numbers.iter().all(|x| x.is_finite());
    if let Some(broken) = single.iter().position(|numbers| !finite(numbers)) {
        let output = graph.get(graph.outputs()[broken]).name.clone();
        return Err(VerifyError::NotFinite { output });
    }
    let wide_inputs: Vec<Vec<f64>> = inputs
        .iter()
        .map(|data| data.iter().map(|x| f64::from(*x)).collect())
        .collect();
    let wide_inputs: Vec<&[f64]> = wide_inputs.iter().map(Vec::as_slice).collect();
    let mut wide = context::<f64>(threads)?;
    let wide_weights = Widened(weights);
    let outputs = evaluate(&mut wide, graph, &wide_weights, batch, &wide_inputs)?;
    let grown = (growth.graph(), &growth.wide_source(weights));
    let double = compare_with(&mut wide, graph, &outputs, grown, batch, &wide_inputs)?;
    let tolerance = if plan.is_exact() {
        TOLERANCE
    } else {
        f64::INFINITY
    };
    refuse_not_finite(&double)?;
    let worst = double.iter().max_by(|a, b| a.max_rel.total_cmp(&b.max_rel));
    if let Some(worst) = worst
        && worst.max_rel > tolerance
    {
        return Err(VerifyError::Changed {
            output: worst.output.clone(),
            difference: worst.max_rel,
        });
    }
    Ok(Proof {
        double,
        tolerance,
        inputs: what.to_owned(),
        outputs,
        single,
    })
}

impl Proof {
    /// Whether the difference in f64 is rounding.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.double.iter().all(|output| output.max_rel <= TOLERANCE)
    }

    /// Completes the evidence: the grown network in f32, with its parameters as they are stored (numbers of double precision
    /// rounded), on the inputs of the proof.
    ///
    /// # Panics
    /// If `graph`, `batch` or `inputs` are not those of the proof.
    pub fn in_f32<S: Source<f32> + ?Sized>(
        self,
        graph: &Graph,
        new: (&Graph, &S),
        threads: usize,
        batch: usize,
        inputs: &[&[f32]],
    ) -> Result<Evidence, VerifyError> {
        let mut cx = context(threads)?;
        let single = compare_with(&mut cx, graph, &self.single, new, batch, inputs)?;
        refuse_not_finite(&single)?;
        Ok(Evidence {
            exact: self.is_exact(),
            inputs: self.inputs,
            f64: self.double,
            f32: single,
            tolerance: self.tolerance,
        })
    }
}

fn context<T: Precision>(threads: usize) -> Result<Context<T>, CompileError> {
    Context::new(threads).map_err(|error| CompileError::Threads {
        threads,
        why: error.to_string(),
    })
}

fn refuse_not_finite(outputs: &[OutputEvidence]) -> Result<(), VerifyError> {
    match outputs.iter().find(|output| !output.max_abs.is_finite()) {
        Some(broken) => Err(VerifyError::NotFinite {
            output: broken.output.clone(),
        }),
        None => Ok(()),
    }
}
