//! One more branch of a concatenation.
//!
//! What reads the concatenation grows as it does when an input of a network gets more channels: the
//! last of its old branches is taken for such an input, which cuts it off from what makes it.

use std::collections::BTreeMap;

use super::builder::Builder;
use super::{ApplyError, Fresh, Stage, widen};
use crate::dims::{Dim, Refusal, Spaces};
use crate::graph::{Graph, ValueId};
use crate::ops::{Op, Relu, Window};
use crate::plan::{Extend, Join};

/// The name of the input that stands for the last branch while its readers grow.
const STAND_IN: &str = "\u{0}branch";

/// Rebuilds the graph with one more branch; `number` is that of the step in its plan.
pub(super) fn join(graph: &Graph, step: &Join, number: usize) -> Result<Stage, ApplyError> {
    let refuse = |why: &str| ApplyError::Refused {
        step: number,
        refusal: Refusal {
            space: step.concat.clone(),
            node: None,
            why: why.to_owned(),
        },
    };
    let invalid = |why: String| ApplyError::Invalid { step: number, why };
    let find = |name: &str| graph.find(name).map_err(|error| refuse(&error.to_string()));
    let (concat, from) = (find(&step.concat)?, find(&step.from)?);
    let node = graph.producer(concat).map(|id| graph.at(id));
    let Some((last, 1)) = node.and_then(|node| match &node.op {
        Op::Concat(op) => Some((*node.inputs.last()?, op.axis)),
        _ => None,
    }) else {
        return Err(refuse("it is no concatenation of channels"));
    };
    let images = graph.get(from).shape.rank() == 4 && graph.get(concat).shape.rank() == 4;
    if !images
        || step.kernel.is_multiple_of(2)
        || step.kernel > 63
        || !(1..=1 << 20).contains(&step.channels)
    {
        return Err(invalid(format!(
            "a branch of {} channels with a filter of {} from `{}` is not one of images",
            step.channels, step.kernel, step.from
        )));
    }
    if from >= concat {
        return Err(refuse("the branch would read what comes after it"));
    }
    let cut = cut(graph, concat, last)?;
    let readers = readers(&cut, graph.get(last).name.as_str(), step, number)?;
    build(graph, &readers, step, [concat, last])
}

/// The graph with an input in place of the last branch of a concatenation.
fn cut(graph: &Graph, concat: ValueId, last: ValueId) -> Result<Graph, ApplyError> {
    let mut builder = Builder::new(graph);
    let sizes = |id| graph.get(id).shape.at(1);
    let at = graph.producer(concat);
    builder.rebuild(
        graph,
        sizes,
        |_| true,
        |builder, id, inputs| {
            let mut inputs = inputs.to_vec();
            if Some(id) == at {
                let shape = graph.get(last).shape.clone();
                let stand_in = builder.grown.input(STAND_IN, shape)?;
                // Only the last operand, should the same value be concatenated twice.
                if let Some(operand) = inputs.last_mut() {
                    *operand = stand_in;
                }
            }
            builder.keep(graph, id, &inputs)
        },
    )?;
    Ok(builder.grown)
}

/// The cut graph with more channels in its stand-in.
fn readers(cut: &Graph, last: &str, step: &Join, number: usize) -> Result<Stage, ApplyError> {
    let refused = |refusal: Refusal| ApplyError::Refused {
        step: number,
        refusal: Refusal {
            space: step.concat.clone(),
            ..refusal
        },
    };
    let because = |why: String| {
        refused(Refusal {
            space: String::new(),
            node: None,
            why,
        })
    };
    let spaces = Spaces::infer(cut);
    let stand_in = cut.find(STAND_IN)?;
    let Some(Dim::Atom(id)) = spaces.axes(stand_in).get(1) else {
        return Err(because("its last branch is read in parts".to_owned()));
    };
    let space = &spaces.all()[id.index()];
    let extend = Extend {
        space: space.name.clone(),
        size: space.size.at(1) + step.channels,
        seed: Some(step.seed),
        fill: 0.0,
    };
    spaces.extensible(&extend.space).map_err(refused)?;
    let stage = widen::widen(cut, &[widen::Units::Fresh(&extend)], number)?;
    let before = &cut.get(cut.find(last)?).shape;
    let after = &stage.graph.get(stage.graph.find(last)?).shape;
    let borders = |graph: &Graph| -> Vec<_> {
        let all = graph.inputs().iter().chain(graph.outputs()).copied();
        let own = all.filter(|id| graph.get(*id).name != STAND_IN);
        own.map(|id| graph.get(id).shape.clone()).collect()
    };
    if before != after || borders(cut) != borders(&stage.graph) {
        let why =
            format!("its channels have to match those of `{last}` elsewhere, or of an output");
        return Err(because(why));
    }
    Ok(stage)
}

/// The readers' graph with the real last branch and the new one in place of the stand-in.
fn build(
    graph: &Graph,
    readers: &Stage,
    step: &Join,
    [concat, last]: [ValueId; 2],
) -> Result<Stage, ApplyError> {
    let wide = &readers.graph;
    let mut builder = Builder::new(graph);
    builder.prefix.clone_from(&step.name);
    let (stand_in, at) = (wide.find(STAND_IN)?, wide.find(&graph.get(concat).name)?);
    let old = [last, graph.find(&step.from)?].map(|id| graph.get(id).name.clone());
    let [last, from] = [wide.find(&old[0])?, wide.find(&old[1])?];
    let at = wide.producer(at);
    builder.rebuild(
        wide,
        |id| wide.get(id).shape.at(1),
        |id| id != stand_in,
        |builder, id, inputs| {
            let mut inputs = inputs.to_vec();
            if Some(id) == at {
                inputs.extend(builder.new_id(last));
                if let Some(from) = builder.new_id(from) {
                    inputs.push(branch(builder, from, step)?);
                }
            }
            builder.keep(wide, id, &inputs)
        },
    )?;
    let mut stage = builder.finish();
    let mut origins: BTreeMap<_, _> = readers.origins.clone();
    origins.append(&mut stage.origins);
    Ok(Stage { origins, ..stage })
}

fn branch(builder: &mut Builder, from: ValueId, step: &Join) -> Result<ValueId, ApplyError> {
    let kernel = [step.kernel; 2];
    let conv = format!("{}.conv", step.name);
    let random = Fresh::Random {
        seed: step.seed,
        fan_in: builder.fan_in(from, &kernel),
    };
    let window = (&kernel[..], Window::same(kernel));
    let units = step.channels;
    let mut y = builder.layer_of([&conv; 2], from, units, window, random, !step.norm)?;
    if step.norm {
        y = builder.plain_norm(&format!("{}.norm", step.name), y)?;
    }
    builder.activation(&format!("{}.activation", step.name), &Op::from(Relu), y)
}
