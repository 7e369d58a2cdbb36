//! A watcher that notes what happens and can ask for a stop.

use std::sync::atomic::{AtomicBool, Ordering};

use net2net_core::graph::Graph;
use net2net_core::plan::Plan;
use net2net_core::verify::Evidence;
use net2net_lab::compare::Watcher;
use net2net_lab::report::{Metric, RunRecord};
use net2net_lab::train::{Observer, Progress};

pub struct Silent<'a> {
    pub stop: &'a AtomicBool,
    /// Raises `stop` after this many steps.
    pub stop_after: Option<u64>,
    pub steps: u64,
    pub found: usize,
    pub evidence: Vec<Evidence>,
}

impl<'a> Silent<'a> {
    pub fn new(stop: &'a AtomicBool, stop_after: Option<u64>) -> Self {
        stop.store(false, Ordering::Relaxed);
        Silent {
            stop,
            stop_after,
            steps: 0,
            found: 0,
            evidence: Vec::new(),
        }
    }
}

impl Observer for Silent<'_> {
    fn started(&mut self, _: Progress<'_>) {}

    fn stepped(&mut self, _: Progress<'_>) {
        self.steps += 1;
        if self.stop_after.is_some_and(|limit| self.steps >= limit) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn evaluated(&mut self, _: Progress<'_>, _: &Metric) {}

    fn finished(&mut self, _: &RunRecord, found: bool) {
        self.found += usize::from(found);
    }
}

impl Watcher for Silent<'_> {
    fn noted(&mut self, _: &str) {}

    fn planned(&mut self, _: usize, _: u64) {}

    fn grown(&mut self, _: u64, _: &str, _: &Plan, evidence: &Evidence, _: &Graph) {
        self.evidence.push(evidence.clone());
    }
}
