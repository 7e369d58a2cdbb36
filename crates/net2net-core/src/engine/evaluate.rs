//! Running a graph once, with each parameter in memory only while it is read.

use std::borrow::Cow;

use net2net_kernels::Context;

use super::kernel::Mode;
use super::layout::Layout;
use super::precision::Precision;
use super::program::{CompileError, Program};
use crate::graph::{Graph, ValueId};
use crate::weights::{Rows, Source, Tensor, WeightsError, in_turns};

/// Networks whose parameters have fewer elements on average are read on one thread.
const SMALL: usize = 1 << 14;
/// Matrices of fewer elements are read as a whole.
const STREAMED_MIN: usize = 1 << 18;

/// Runs a graph once in evaluation mode on row-major or channels-last inputs (see [`Program`]),
/// and returns its outputs, row-major.
///
/// `batch` is the number of samples that each input holds. A parameter is asked for before the
/// first step that reads it, up to two ahead if the context has more than one thread, and dropped
/// after the last; those that no output needs are not asked for. A large matrix that one product
/// reads is not in memory at all where its source has it a few rows at a time.
pub fn evaluate<T: Precision, S: Source<T> + ?Sized>(
    cx: &mut Context<T>,
    graph: &Graph,
    weights: &S,
    batch: usize,
    inputs: &[&[T]],
) -> Result<Vec<Vec<T>>, CompileError> {
    let (mut program, layouts) = Program::<T>::compile(graph, batch, Mode::Evaluate)?;
    check_inputs(graph, batch, inputs)?;
    let parameters: Vec<ValueId> = graph.parameters().collect();
    let reads = program.parameter_reads(parameters.len());
    let mut streamed = Vec::with_capacity(parameters.len());
    for (index, reader) in program.streamed(parameters.len()).iter().enumerate() {
        let reader = reader.filter(|_| is_plain(&layouts[index]));
        let rows = match reader {
            Some(_) => rows(graph, weights, parameters[index])?,
            None => None,
        };
        streamed.push(reader.zip(rows));
    }
    let mut order: Vec<usize> = reads.order();
    order.retain(|index| streamed[*index].is_none());
    let elements = order
        .iter()
        .map(|i| graph.get(parameters[*i]).shape.elements(1));
    let threads = match elements.fold(0, usize::saturating_add) / order.len().max(1) {
        0..SMALL => 1,
        _ => cx.threads(),
    };
    let read = |at: usize| checked(graph, weights, parameters[order[at]]);
    in_turns(order.len(), threads, read, |next| {
        let mut values: Vec<Vec<T>> = vec![Vec::new(); parameters.len()];
        let mut load = |cx: &mut Context<T>, index: usize, values: &mut [Vec<T>]| {
            if let Some(tensor) = next() {
                values[index] = stored(cx, tensor?.into_owned(), &layouts[index]);
            }
            Ok::<(), WeightsError>(())
        };
        for (at, step) in reads.steps.iter().enumerate() {
            let mut own = None;
            for index in &step.first {
                match streamed[*index].take() {
                    Some((_, rows)) => own = Some(rows),
                    None => load(cx, *index, &mut values)?,
                }
            }
            let own = own.as_ref().map(Rows::source);
            program.step(cx, at, &values, inputs, own);
            for index in &step.last {
                values[*index] = Vec::new();
            }
        }
        for index in &reads.unread_outputs {
            load(cx, *index, &mut values)?;
        }
        Ok((0..graph.outputs().len())
            .map(|i| program.output(i, &values, inputs).to_vec())
            .collect())
    })
}

/// Whether a parameter is stored in the order of its axes.
fn is_plain(layout: &Layout) -> bool {
    *layout == Layout::row_major(layout.rank())
}

/// A large matrix a few rows at a time, if it can be had so.
fn rows<'a, T: Precision, S: Source<T> + ?Sized>(
    graph: &Graph,
    weights: &'a S,
    parameter: ValueId,
) -> Result<Option<Rows<'a, T>>, WeightsError> {
    let value = graph.get(parameter);
    let expected = value.shape.at(1);
    if expected.len() != 2 || value.shape.elements(1) < STREAMED_MIN {
        return Ok(None);
    }
    let rows = weights.rows(&value.name)?;
    Ok(rows.filter(|rows| rows.shape() == expected))
}

/// A parameter of the shape that the graph says.
fn checked<'a, T: Precision, S: Source<T> + ?Sized>(
    graph: &Graph,
    weights: &'a S,
    parameter: ValueId,
) -> Result<Cow<'a, Tensor<T>>, WeightsError> {
    let value = graph.get(parameter);
    let tensor = weights.tensor(&value.name)?;
    let expected = value.shape.at(1);
    if tensor.shape() != expected {
        return Err(WeightsError::Shape {
            name: value.name.clone(),
            found: tensor.shape().to_vec(),
            expected,
        });
    }
    Ok(tensor)
}

/// A parameter's numbers in the order in which the program wants them.
fn stored<T: Precision>(cx: &mut Context<T>, tensor: Tensor<T>, layout: &Layout) -> Vec<T> {
    let sizes = tensor.shape();
    let order = Layout::row_major(sizes.len()).permutation_to(layout);
    if order.iter().enumerate().all(|(to, from)| to == *from) {
        return tensor.into_data();
    }
    let mut data = vec![T::zero(); tensor.data().len()];
    T::transpose(cx, tensor.data(), sizes, &order, &mut data, false);
    data
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
