//! Nodes that growth has copied: the document's own ones again, under other names.

use std::collections::{BTreeSet, HashMap};

use net2net_core::apply::Growth;
use net2net_core::graph::NodeId;

use super::Writer;
use crate::error::OnnxError;
use crate::import::{Imported, Link, Place, Stored};
use crate::proto::{NodeProto, TensorProto};
use crate::tensor;

/// New parameters that the document does not get, since they are computed from constants and the
/// copy reads what its original does.
pub(super) fn shared<'g>(imported: &Imported, growth: &'g Growth) -> BTreeSet<&'g str> {
    let folded = |name: &&str| {
        let stored = growth
            .copied_from(name)
            .and_then(|of| imported.parameters.get(of));
        stored.is_some_and(|stored| matches!(stored.place, Place::Folded(..)))
    };
    let graph = growth.graph();
    let names = graph.parameters().map(|id| graph.get(id).name.as_str());
    names.filter(folded).collect()
}

impl Writer<'_> {
    /// The nodes of the document by the name of the graph's node that they are.
    pub(super) fn node_of_name(&self) -> HashMap<String, usize> {
        let links = self.imported.links.iter().enumerate();
        let named = links.filter_map(|(index, link)| match link {
            Link::Node(first) => Some((first.clone(), index)),
            _ => None,
        });
        named.collect()
    }

    /// The place in the document of the parameter that a new one is a copy of.
    pub(super) fn copied_from(&self, name: &str) -> Option<&'_ Stored> {
        self.imported.parameters.get(self.growth.copied_from(name)?)
    }

    /// States a parameter that the document does not have.
    pub(super) fn new_parameter(
        &mut self,
        name: &str,
        sizes: &[usize],
        numbers: Vec<f64>,
    ) -> Result<(), OnnxError> {
        let template = self.template(name);
        let tensor = |sizes: &[usize], numbers: &[f64]| {
            tensor::with_numbers(&template, sizes, numbers.iter().copied())
        };
        match self.copied_from(name) {
            // It is shared with the node that it was copied from.
            Some(of) if matches!(of.place, Place::Folded(..)) => {}
            Some(of) => {
                let plain = tensor(sizes, &numbers)?;
                let (sizes, turned) = of.turn_back(sizes, numbers);
                let turned = tensor(&sizes, &turned)?;
                self.plain.insert(name.to_owned(), plain);
                self.tensors.insert(name.to_owned(), turned);
            }
            None => {
                self.tensors
                    .insert(name.to_owned(), tensor(sizes, &numbers)?);
            }
        }
        Ok(())
    }

    /// The same without making its numbers; `None` if they have to be made now.
    pub(super) fn new_unmade(&mut self, name: &str, sizes: &[usize]) -> Option<TensorProto> {
        let tensor = tensor::unmade(&self.template(name), sizes, name);
        if let Some(of) = self.copied_from(name) {
            let whole = matches!(of.place, Place::Initializer(_)) && of.is_as_stored();
            if !whole {
                return None;
            }
            self.plain.insert(name.to_owned(), tensor.clone());
        }
        Some(tensor)
    }

    /// The node of the document that a new node is a copy of, written for the copy. `Some(None)` if
    /// it is written with another one.
    pub(super) fn copied_node(
        &mut self,
        after: NodeId,
        by_name: &HashMap<String, usize>,
    ) -> Result<Option<Option<NodeProto>>, OnnxError> {
        let (old, new) = (&self.imported.graph, self.growth.graph());
        let name = new.node_name(after);
        let Some(original) = self.growth.copied_from(name) else {
            return Ok(None);
        };
        let mut renamed = self.renamed.iter();
        let known = renamed.find(|(_, now)| *now == original);
        let original = known.map_or(original, |(was, _)| was.as_str()).to_owned();
        let original = original.as_str();
        if self.imported.internal.contains(original) && !by_name.contains_key(original) {
            return Ok(Some(None));
        }
        let before = old.find(original).ok().and_then(|id| old.producer(id));
        let (Some(index), Some(before)) = (by_name.get(original), before) else {
            return Ok(None);
        };
        let mut node = self.document.graph().node[*index].clone();
        self.rewire(&mut node, before, after)?;
        if self.differs(before, after) {
            self.patch(&mut node, before, after)?;
        }
        node.name = Some(name.to_owned());
        let outputs = new.at(after).outputs.iter();
        node.output = outputs.map(|id| new.get(*id).name.clone()).collect();
        self.state_numbers(&mut node)?;
        Ok(Some(Some(node)))
    }

    /// Gives the copy of a node the inputs that it has in the grown graph.
    fn rewire(
        &mut self,
        node: &mut NodeProto,
        before: NodeId,
        after: NodeId,
    ) -> Result<(), OnnxError> {
        let (old, new) = (&self.imported.graph, self.growth.graph());
        let mut pending = vec![(before, after)];
        // An operand may be read twice.
        let mut done: BTreeSet<&str> = BTreeSet::new();
        while let Some((before, after)) = pending.pop() {
            let pairs = old.at(before).inputs.iter().zip(&new.at(after).inputs);
            for (slot, (from, to)) in pairs.enumerate() {
                if self.imported.internal.contains(&old.get(*from).name)
                    && let (Some(before), Some(after)) = (old.producer(*from), new.producer(*to))
                {
                    pending.push((before, after));
                    continue;
                }
                let (from, to) = (&old.get(*from).name, &new.get(*to).name);
                let folded = |place: &Place| matches!(place, Place::Folded(..));
                let stored = self.imported.parameters.get(from);
                // What is computed from constants is the same for the copy.
                let shared = from == to || stored.is_some_and(|stored| folded(&stored.place));
                if shared || !done.insert(from) {
                    continue;
                }
                let mut reads = node
                    .input
                    .iter_mut()
                    .filter(|input| *input == from)
                    .peekable();
                if reads.peek().is_some() {
                    reads.for_each(|input| input.clone_from(to));
                } else if let (Some(input), Some(plain)) =
                    (node.input.get_mut(slot), self.plain.remove(to))
                {
                    // The document turns the tensor first; the copy's is turned already.
                    input.clone_from(to);
                    self.tensors.insert(to.clone(), plain);
                } else {
                    return Err(OnnxError::Export {
                        name: to.clone(),
                        why: format!("the copy of `{from}` has no place in its node"),
                    });
                }
            }
        }
        Ok(())
    }
}
