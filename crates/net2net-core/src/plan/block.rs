//! Planning a residual block once more.

use std::collections::HashMap;

use super::{Insert, Layer, Region, Survey};
use crate::dims::Refusal;
use crate::graph::Graph;
use crate::ops::{Nature, Op};

/// A residual block that can be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What the names of its parameters have in common, with `#1`, `#2` and so on where several blocks
    /// have that; or else the name of its output. No other block has it.
    pub name: String,
    /// The same without a number.
    pub stem: String,
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
                let stem = name.clone();
                found.push(Block {
                    name,
                    stem,
                    from,
                    after,
                });
                break;
            }
        }
    }
    number(&mut found);
    found
}

/// Tells blocks of one name apart, such as the two of a transformer's layer.
fn number(blocks: &mut [Block]) {
    let mut counts: HashMap<String, [usize; 2]> = HashMap::new();
    for block in &*blocks {
        counts.entry(block.stem.clone()).or_default()[0] += 1;
    }
    for block in blocks {
        if let Some([all, before]) = counts.get_mut(&block.stem)
            && *all > 1
        {
            *before += 1;
            block.name = format!("{}#{before}", block.stem);
        }
    }
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
        name: survey.fresh_name(&block.stem, "deeper"),
        layer: Layer::Copy {
            from: block.from.clone(),
        },
    })
}
