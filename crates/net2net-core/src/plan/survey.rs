//! What planning looks up in a graph, found once for any number of steps.

use std::collections::BTreeSet;

use crate::graph::{Graph, NodeId};

/// The readers and the names of a graph, and the names of what is planned on top of it.
pub(crate) struct Survey {
    /// For each value, the nodes that read it.
    pub(crate) readers: Vec<Vec<NodeId>>,
    names: BTreeSet<String>,
}

impl Survey {
    pub(crate) fn of(graph: &Graph) -> Survey {
        Survey {
            readers: graph.consumers(),
            names: graph.values().iter().map(|v| v.name.clone()).collect(),
        }
    }

    /// `layer.deeper1`, or the first number with which no name begins.
    pub(crate) fn fresh_name(&self, layer: &str, what: &str) -> String {
        let mut number = 1;
        loop {
            let name = format!("{layer}.{what}{number}");
            let next = self.names.range(name.clone()..).next();
            if next.is_none_or(|next| !next.starts_with(&name)) {
                return name;
            }
            number += 1;
        }
    }

    /// Keeps what is planned from giving its name to another one.
    pub(crate) fn take(&mut self, name: &str) {
        self.names.insert(name.to_owned());
    }
}
