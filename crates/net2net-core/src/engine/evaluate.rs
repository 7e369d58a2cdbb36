//! Running a graph once, with each parameter in memory only while it is read.

use net2net_kernels::Context;

use super::kernel::Mode;
use super::layout::Layout;
use super::precision::Precision;
use super::program::{CompileError, Program};
use crate::graph::Graph;
use crate::weights::{Source, WeightsError};

/// Runs a graph once in evaluation mode on row-major or channels-last inputs (see [`Program`]),
/// and returns its outputs, row-major.
///
/// `batch` is the number of samples that each input holds. A parameter is asked for before the
/// first step that reads it and dropped after the last; those that no output needs are not asked
/// for.
pub fn evaluate<T: Precision, S: Source<T> + ?Sized>(
    cx: &mut Context<T>,
    graph: &Graph,
    weights: &S,
    batch: usize,
    inputs: &[&[T]],
) -> Result<Vec<Vec<T>>, CompileError> {
    let (mut program, layouts) = Program::<T>::compile(graph, batch, Mode::Evaluate)?;
    check_inputs(graph, batch, inputs)?;
    let names: Vec<(&str, Vec<usize>)> = graph
        .parameters()
        .map(|id| (graph.get(id).name.as_str(), graph.get(id).shape.at(1)))
        .collect();
    let mut values: Vec<Vec<T>> = vec![Vec::new(); names.len()];
    let load = |cx: &mut Context<T>, values: &mut [Vec<T>], index: usize| {
        let (name, sizes) = &names[index];
        values[index] = stored(cx, weights, name, sizes, &layouts[index])?;
        Ok::<(), WeightsError>(())
    };
    let reads = program.parameter_reads(names.len());
    for (at, step) in reads.steps.iter().enumerate() {
        for index in &step.first {
            load(cx, &mut values, *index)?;
        }
        program.step(cx, at, &values, inputs);
        for index in &step.last {
            values[*index] = Vec::new();
        }
    }
    for index in &reads.outputs {
        if values[*index].is_empty() {
            load(cx, &mut values, *index)?;
        }
    }
    Ok((0..graph.outputs().len())
        .map(|i| program.output(i, &values, inputs).to_vec())
        .collect())
}

/// A parameter's numbers in the order in which the program wants them.
fn stored<T: Precision, S: Source<T> + ?Sized>(
    cx: &mut Context<T>,
    weights: &S,
    name: &str,
    sizes: &[usize],
    layout: &Layout,
) -> Result<Vec<T>, WeightsError> {
    let tensor = weights.tensor(name)?;
    if tensor.shape() != sizes {
        return Err(WeightsError::Shape {
            name: name.to_owned(),
            found: tensor.shape().to_vec(),
            expected: sizes.to_vec(),
        });
    }
    let order = Layout::row_major(sizes.len()).permutation_to(layout);
    if order.iter().enumerate().all(|(to, from)| to == *from) {
        return Ok(tensor.into_owned().into_data());
    }
    let mut data = vec![T::zero(); tensor.data().len()];
    T::transpose(cx, tensor.data(), sizes, &order, &mut data, false);
    Ok(data)
}

/// Refuses inputs that are missing or not as long as a batch.
pub(super) fn check_inputs<T>(
    graph: &Graph,
    batch: usize,
    inputs: &[&[T]],
) -> Result<(), CompileError> {
    for (index, id) in graph.inputs().iter().enumerate() {
        let value = graph.get(*id);
        let expected = value.shape.elements(batch);
        let found = inputs.get(index).map_or(0, |data| data.len());
        if found != expected {
            return Err(CompileError::Input {
                name: value.name.clone(),
                found,
                expected,
            });
        }
    }
    Ok(())
}
