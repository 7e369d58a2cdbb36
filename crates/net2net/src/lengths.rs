//! The proof at other lengths: an axis that a model leaves open has one length while it is proved, and the
//! function must be the same at others.

use anyhow::{Context as _, Result, bail};
use net2net_core::engine::evaluate;
use net2net_core::graph::{Extent, Graph};
use net2net_core::verify::{OutputEvidence, compare_with};
use net2net_core::weights::Widened;
use net2net_kernels::Context;
use net2net_onnx::Imported;

use crate::model::Model;

/// Samples that are run: lengths are what is looked at here.
const SAMPLES: usize = 2;

/// What is known of two models at lengths other than those of their proof.
pub(crate) enum Lengths {
    /// Nothing is open but the batch.
    Fixed,
    /// The old model does not run at the lengths that were tried, and why.
    Unknown(String),
    /// How far the models differ there, as they are stored, in f64.
    Compared {
        /// The inputs.
        what: String,
        /// Each output.
        outputs: Vec<OutputEvidence>,
    },
}

impl Lengths {
    /// Runs both models at other lengths of what the old one leaves open.
    ///
    /// Where the old one runs and the new one does not, that is an error.
    pub(crate) fn of(old: &Model, new: &Model, threads: usize, seed: u64) -> Result<Lengths> {
        let mut unknown = None;
        for which in 0..Imported::OTHER_LENGTHS {
            match Lengths::at(old, new, which, threads, seed)? {
                Lengths::Unknown(why) => unknown = unknown.or(Some(why)),
                known => return Ok(known),
            }
        }
        Ok(unknown.map_or(Lengths::Fixed, Lengths::Unknown))
    }

    fn at(old: &Model, new: &Model, which: usize, threads: usize, seed: u64) -> Result<Lengths> {
        let unknown = |error: anyhow::Error| Ok(Lengths::Unknown(format!("{error:#}")));
        let before = match old.at_other_lengths(which) {
            Ok(Some(before)) => before,
            Ok(None) => return Ok(Lengths::Fixed),
            Err(error) => return unknown(error),
        };
        let graph = before.graph();
        let inputs = match before.inputs(SAMPLES, seed) {
            Ok(inputs) => inputs,
            Err(error) => return unknown(error),
        };
        let inputs: Vec<&[f64]> = inputs.iter().map(Vec::as_slice).collect();
        let mut cx = Context::<f64>::new(threads)?;
        let source = before.source();
        let outputs = match evaluate(&mut cx, graph, &Widened(&source), SAMPLES, &inputs) {
            Ok(outputs) => outputs,
            Err(error) => return unknown(error.into()),
        };
        let finite = |output: &Vec<f64>| output.iter().all(|x| x.is_finite());
        if !outputs.iter().all(finite) {
            return Ok(Lengths::Unknown("its outputs are not finite".to_owned()));
        }
        let what = in_words(graph);
        let there = || format!("the new model at {what}, where the old one runs");
        let Some(after) = new.read_as(&before).with_context(there)? else {
            bail!("the new model fixes lengths that the old one leaves open ({what})");
        };
        let source = after.source();
        let new = (after.graph(), &Widened(&source));
        let outputs = compare_with(&mut cx, graph, &outputs, new, SAMPLES, &inputs);
        let outputs = outputs.with_context(there)?;
        Ok(Lengths::Compared { what, outputs })
    }

    /// The evidence, if there is any.
    pub(crate) fn outputs(&self) -> &[OutputEvidence] {
        match self {
            Lengths::Compared { outputs, .. } => outputs,
            Lengths::Fixed | Lengths::Unknown(_) => &[],
        }
    }

    /// What is to be said of it.
    pub(crate) fn said(&self) -> Option<String> {
        match self {
            Lengths::Fixed => None,
            Lengths::Unknown(why) => Some(format!(
                "other lengths of what the model leaves open could not be tried: {why}"
            )),
            Lengths::Compared { what, outputs } => {
                let worst = outputs.iter().map(|e| e.max_rel).fold(0.0, f64::max);
                Some(format!("{worst:.1e} as written at other lengths, {what}"))
            }
        }
    }
}

/// The inputs with their sizes.
fn in_words(graph: &Graph) -> String {
    let inputs = graph.inputs().iter().map(|id| graph.get(*id));
    let size = |extent: &Extent| match extent {
        Extent::Batch => "N".to_owned(),
        Extent::Fixed(size) => size.to_string(),
    };
    let described = inputs.map(|input| {
        let sizes: Vec<String> = input.shape.extents().iter().map(size).collect();
        format!("{} {}", input.name, sizes.join("x"))
    });
    described.collect::<Vec<_>>().join(", ")
}
