//! Planning more units for a space over which a mean is taken, to any size.

use serde::{Deserialize, Serialize};

use super::MAX_UNITS;
use super::padding::Padding;
use crate::dims::{AtomId, Refusal, Spaces};
use crate::graph::Graph;

/// More units in a space over which layers are normalised, to any size: the new ones hold nothing
/// that the means would notice, and what reads them starts as training starts it.
///
/// Of n units among m, the mean of the squares is n/m of what it was, which a scale of √(n/m) and an
/// epsilon of n/m undo exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pad {
    /// The space's name.
    pub space: String,
    /// The number of units, old and new.
    pub size: usize,
    /// What the new units hold.
    pub fill: Fill,
    /// The seed that what reads them is drawn with.
    pub seed: u64,
}

/// What makes the new units of a padded space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// Zeros, where only mean squares are taken.
    Zero,
    /// The mean of what makes the old ones, where a mean is subtracted: it stays as it is.
    Mean,
}

/// Plans `size` units for a space that can be padded, or says why it cannot.
pub fn pad(
    graph: &Graph,
    spaces: &Spaces,
    name: &str,
    size: usize,
    seed: u64,
) -> Result<Pad, Refusal> {
    let id = paddable(spaces, name)?;
    let fill = fill(graph, spaces, id)?;
    let old = spaces.all()[id.index()].size.at(1);
    if size <= old || size > MAX_UNITS {
        return Err(Refusal {
            space: name.to_owned(),
            node: None,
            why: format!("it has {old} units, and {size} are not more and at most {MAX_UNITS}"),
        });
    }
    Ok(Pad {
        space: name.to_owned(),
        size,
        fill,
        seed,
    })
}

/// With what a space can be padded: zeros if they will do.
pub fn fill(graph: &Graph, spaces: &Spaces, space: AtomId) -> Result<Fill, Refusal> {
    let try_fill = |fill| Padding::find(graph, spaces, space, fill).map(|_| fill);
    try_fill(Fill::Zero).or_else(|zeros| {
        try_fill(Fill::Mean).map_err(|means| {
            // The reason of whichever comes further says more.
            let place = |refusal: &Refusal| {
                let node = refusal.node.as_ref().and_then(|node| graph.lookup(node));
                node.map_or(usize::MAX, crate::graph::ValueId::index)
            };
            match place(&zeros) > place(&means) {
                true => zeros,
                false => means,
            }
        })
    })
}

/// The space of a name, if a mean is taken over it and nothing else stands in the way than that, or
/// that copies of it would be counted again.
pub(crate) fn paddable(spaces: &Spaces, name: &str) -> Result<AtomId, Refusal> {
    let id = match spaces.position(name) {
        Some(id) if spaces.all()[id.index()].counted => id,
        _ => spaces.find(name)?,
    };
    let space = &spaces.all()[id.index()];
    if space.uniform && space.size.fixed().is_some() {
        return Ok(id);
    }
    Err(Refusal {
        space: name.to_owned(),
        node: None,
        why: "no mean is taken over it, so that it is widened by copies".to_owned(),
    })
}
