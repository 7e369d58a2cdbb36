//! Names for values that the document does not have.

use super::builder::Builder;
use crate::proto::NodeProto;

impl Builder<'_> {
    /// A name for a value that the document does not have, like the wanted one.
    pub(super) fn internal_name(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        while self.taken.contains(name.as_str()) || self.internal.contains(&name) {
            name.push('_');
        }
        name
    }

    /// A name for a value that is made for one node alone. It goes by the node's own name if it has one,
    /// since what is inserted behind the node takes over the name of its output.
    pub(super) fn internal_name_of(&mut self, node: &NodeProto, what: &str) -> String {
        let output = node.output.first().map_or("", String::as_str);
        let name = match node.name() {
            "" => output,
            name => name,
        };
        self.internal_name(&format!("{name}.{what}"))
    }
}
