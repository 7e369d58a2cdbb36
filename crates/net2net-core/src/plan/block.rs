//! Planning a residual block once more.

use super::{Insert, Layer, Region, Survey};
use crate::dims::Refusal;
use crate::graph::Graph;
use crate::ops::{Nature, Op};

/// A residual block that can be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What the names of its parameters have in common; or else the name of its output.
    pub name: String,
    /// What it reads.
    pub from: String,
    /// What it makes.
    pub after: String,
}

/// All residual blocks that can be copied, in topological order.
pub fn blocks(graph: &Graph) -> Vec<Block> {
    let consumers = graph.consumers();
    let mut found = Vec::new();
    for id in graph.node_ids() {
        let node = graph.at(id);
        if !matches!(node.op, Op::Add(_)) {
            continue;
        }
        let sum = node.outputs[0];
        let mut after = sum;
        if let [reader] = consumers[sum.index()][..]
            && !graph.outputs().contains(&sum)
            && graph.at(reader).op.nature() == (Nature::Activation { idempotent: true })
        {
            after = graph.at(reader).outputs[0];
        }
        for from in &node.inputs {
            let from = &graph.get(*from).name;
            if let Ok(region) = Region::find(graph, &consumers, from, after) {
                let after = graph.get(after).name.clone();
                let name = match region.name() {
                    "" => after.clone(),
                    name => name.to_owned(),
                };
                let from = from.clone();
                found.push(Block { name, from, after });
                break;
            }
        }
    }
    found
}

/// Plans a copy of a block, which begins without effect.
pub fn copy_block(graph: &Graph, block: &Block) -> Result<Insert, Refusal> {
    copied(graph, &Survey::of(graph), block)
}

/// The same with what is known of the graph.
pub(crate) fn copied(graph: &Graph, survey: &Survey, block: &Block) -> Result<Insert, Refusal> {
    let refuse = |why: String| Refusal {
        space: block.name.clone(),
        node: None,
        why,
    };
    let after = graph
        .find(&block.after)
        .map_err(|error| refuse(error.to_string()))?;
    Region::find(graph, &survey.readers, &block.from, after).map_err(refuse)?;
    Ok(Insert {
        after: block.after.clone(),
        name: survey.fresh_name(&block.name, "deeper"),
        layer: Layer::Copy {
            from: block.from.clone(),
        },
    })
}
