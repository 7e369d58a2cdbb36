//! A network that answers batch after batch, with weights that stay.

use std::collections::BTreeMap;

use net2net_kernels::Context;

use super::evaluate::check_inputs;
use super::kernel::Mode;
use super::parameters::Parameters;
use super::precision::Precision;
use super::program::{CompileError, Program};
use crate::graph::Graph;
use crate::weights::Weights;

/// A network compiled for evaluation: its parameters are in memory, and a program is kept for each
/// size of batch. [`super::evaluate`] is for a single pass.
pub struct Predictor<T: Precision> {
    graph: Graph,
    cx: Context<T>,
    parameters: Parameters<T>,
    programs: BTreeMap<usize, Program<T>>,
}

impl<T: Precision> Predictor<T> {
    /// Takes the weights in.
    pub fn new(graph: &Graph, weights: &Weights<T>, threads: usize) -> Result<Self, CompileError> {
        weights.check(graph)?;
        let mut cx = Context::new(threads).map_err(|error| CompileError::Threads {
            threads,
            why: error.to_string(),
        })?;
        let (_, layouts) = Program::<T>::compile(graph, 1, Mode::Evaluate)?;
        let parameters = Parameters::new(&mut cx, graph, &layouts, weights, false)?;
        Ok(Predictor {
            graph: graph.clone(),
            cx,
            parameters,
            programs: BTreeMap::new(),
        })
    }

    /// The graph's outputs for a batch, row-major; inputs of rank 3 and more are channels-last.
    pub fn run(&mut self, batch: usize, inputs: &[&[T]]) -> Result<Vec<Vec<T>>, CompileError> {
        check_inputs(&self.graph, batch, inputs)?;
        if !self.programs.contains_key(&batch) {
            let (program, _) = Program::compile(&self.graph, batch, Mode::Evaluate)?;
            self.programs.insert(batch, program);
        }
        let Some(program) = self.programs.get_mut(&batch) else {
            return Ok(Vec::new());
        };
        program.forward(&mut self.cx, &self.parameters, inputs);
        let outputs = 0..self.graph.outputs().len();
        Ok(outputs
            .map(|i| program.output(i, &self.parameters.values, inputs).to_vec())
            .collect())
    }
}
