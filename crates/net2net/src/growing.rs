//! One growth carried out: proved and written at the same time, run again from what was written, and
//! only then put in place.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use net2net_core::apply::Growth;
use net2net_core::graph::Graph;
use net2net_core::plan::Plan;
use net2net_core::verify::{Evidence, OutputEvidence, Proof, prove};
use net2net_core::weights::Source;

use crate::lengths::Lengths;
use crate::model::{Grown, Model};
use crate::samples::Samples;
use crate::state_dict::{self, StateDict};
use crate::verify;

/// What grows, and how.
pub(crate) struct Growing<'a> {
    pub(crate) model: &'a Model,
    pub(crate) plan: &'a Plan,
    pub(crate) growth: &'a Arc<Growth>,
    pub(crate) samples: &'a Samples,
    pub(crate) threads: usize,
}

/// What shows that a growth changed nothing.
pub(crate) struct Proved {
    /// Both networks, grown in f64, and as they are stored in f32.
    pub(crate) evidence: Evidence,
    /// The old network and what was written, in f64.
    pub(crate) file: Vec<OutputEvidence>,
    /// The same at other lengths of what the model leaves open.
    pub(crate) lengths: Lengths,
}

impl Growing<'_> {
    /// Grows the model itself into temporary files beside `path`.
    pub(crate) fn model(&self, path: &Path, seconds: &mut Seconds) -> Result<(Grown, Proved)> {
        let (model, threads) = (self.model, self.threads);
        let write = || model.grown(self.plan, self.growth, path, threads);
        let (proof, grown) = self.prove_and_write(model, write, seconds)?;
        let new = &grown.model;
        let file = timed(|| self.file_evidence(&proof, &new.graph, new));
        let file = seconds.add("running_what_was_written", file)?;
        refuse_difference(proof.is_exact(), &file, new.rounding())?;
        let lengths = timed(|| Lengths::of(model, new, threads, self.plan.seed));
        let lengths = seconds.add("running_what_was_written", lengths);
        let lengths = lengths.context("nothing was written")?;
        refuse_difference(proof.is_exact(), lengths.outputs(), new.rounding())?;
        let evidence = timed(|| self.in_f32(proof, &new.graph, new));
        let evidence = seconds.add("running_what_was_written", evidence)?;
        let proved = Proved {
            evidence,
            file,
            lengths,
        };
        Ok((grown, proved))
    }

    /// Grows a state dict of the model's module into temporary files beside `path`.
    pub(crate) fn state_dict(
        &self,
        dict: &StateDict,
        path: &Path,
        seconds: &mut Seconds,
    ) -> Result<(state_dict::Staged, Proved)> {
        let (model, growth) = (self.model, &**self.growth);
        let write = || dict.stage(model, growth, path, self.threads);
        let (proof, staged) =
            dict.with_source(model, |old| self.prove_and_write(old, write, &mut *seconds))?;
        let graph = growth.graph();
        let rounding = if dict.is_half() { 5e-2 } else { 1e-4 };
        let run = timed(|| {
            dict.with_grown(model, growth, &staged, |new| {
                let file = self.file_evidence(&proof, graph, new)?;
                refuse_difference(proof.is_exact(), &file, rounding)?;
                anyhow::Ok((file, self.in_f32(proof, graph, new)?))
            })
        });
        let (file, evidence) = seconds.add("running_what_was_written", run)??;
        // A state dict states no lengths.
        let lengths = Lengths::Fixed;
        let proved = Proved {
            evidence,
            file,
            lengths,
        };
        Ok((staged, proved))
    }

    /// Neither needs the other: what is written is dropped if the proof fails.
    fn prove_and_write<G: Send>(
        &self,
        old: &dyn Source<f32>,
        write: impl FnOnce() -> Result<G> + Send,
        seconds: &mut Seconds,
    ) -> Result<(Proof, G)> {
        let (proof, written) = thread::scope(|scope| {
            let writing = scope.spawn(|| timed(write));
            (timed(|| self.prove(old)), writing.join())
        });
        let proof = seconds.add("proof", proof)?;
        let written = written.map_err(|_| Lost)?;
        Ok((proof, seconds.add("growing_and_writing", written)?))
    }

    fn prove(&self, old: &dyn Source<f32>) -> Result<Proof> {
        let (graph, samples) = (&self.model.graph, self.samples);
        let (batch, inputs, what) = (samples.batch, samples.narrow(), &samples.what);
        let (plan, growth, threads) = (self.plan, self.growth, self.threads);
        Ok(prove(
            graph, plan, growth, old, threads, batch, &inputs, what,
        )?)
    }

    fn in_f32(&self, proof: Proof, graph: &Graph, new: &dyn Source<f32>) -> Result<Evidence> {
        let (batch, inputs) = (self.samples.batch, self.samples.narrow());
        let old = &self.model.graph;
        Ok(proof.in_f32(old, (graph, new), self.threads, batch, &inputs)?)
    }

    fn file_evidence(
        &self,
        proof: &Proof,
        graph: &Graph,
        new: &dyn Source<f32>,
    ) -> Result<Vec<OutputEvidence>> {
        // What is in the file is what people go on with, so it is run too.
        let (old, before) = (&self.model.graph, &proof.outputs);
        verify::evidence_with(old, before, (graph, new), self.threads, self.samples)
    }
}

/// Refuses a file that does not compute what was proved: a fault in writing it.
fn refuse_difference(exact: bool, file: &[OutputEvidence], rounding: f64) -> Result<()> {
    let worst = file.iter().max_by(|a, b| a.max_rel.total_cmp(&b.max_rel));
    match worst {
        Some(worst) if exact && (worst.max_rel > rounding || worst.max_rel.is_nan()) => {
            bail!(
                "the grown model would not be the same function once written: output `{}` differs by \
             {:.1e} relative; nothing was written. It computes with sizes that grow, in a way that the file cannot \
             follow: grow a part of it (`--spaces`), or export it with fixed sizes and the batch alone open",
                worst.output,
                worst.max_rel
            )
        }
        _ => Ok(()),
    }
}

/// A thread of this program that has failed.
#[derive(Debug)]
struct Lost;

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the thread that writes the grown model has failed; nothing was written")
    }
}

impl std::error::Error for Lost {}

/// Where the time of a growth goes. Proving and writing go on at the same time.
pub(crate) struct Seconds {
    start: Instant,
    parts: BTreeMap<&'static str, f64>,
}

impl Seconds {
    /// Planning ends now.
    pub(crate) fn new(start: Instant) -> Seconds {
        let planning = start.elapsed().as_secs_f64();
        Seconds {
            start,
            parts: BTreeMap::from([("reading_and_planning", planning)]),
        }
    }

    /// Keeps the time that something took, and gives what came of it.
    pub(crate) fn add<T>(&mut self, name: &'static str, (made, seconds): (T, f64)) -> T {
        *self.parts.entry(name).or_default() += seconds;
        made
    }

    /// All parts, and the whole until now.
    pub(crate) fn all(mut self) -> BTreeMap<&'static str, f64> {
        self.parts.insert("all", self.start.elapsed().as_secs_f64());
        self.parts
    }
}

/// What was made, and the seconds that it took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let made = work();
    (made, start.elapsed().as_secs_f64())
}
