//! Growth that is refused for its size alone, before memory is taken for it.

use std::collections::HashMap;

use crate::dims::{AtomId, Refusal, Spaces};
use crate::graph::{Graph, MAX_ELEMENTS, ValueId};

/// The most units of a space that grows, and of an axis of a parameter that it is a part of.
pub const MAX_UNITS: usize = 1 << 24;

/// The strongest noise on copies, in units of the weights.
pub const MAX_NOISE: f64 = 100.0;

/// The most parameters of a grown network: as f32 they are 1 TiB.
pub const MAX_PARAMETERS: u64 = 1 << 38;

/// The most units of all axes that grow, over all parameters: a map has an entry of about 25 bytes
/// for each of them.
pub const MAX_MAPPED: usize = 1 << 28;

/// Refuses new sizes of spaces that are above [`MAX_UNITS`], or that make a parameter larger than
/// [`MAX_ELEMENTS`], all of them together more than [`MAX_PARAMETERS`], or their maps longer than
/// [`MAX_MAPPED`]. The refusal names the space that is largest where it happens.
pub fn check_sizes(
    graph: &Graph,
    spaces: &Spaces,
    sizes: &HashMap<AtomId, usize>,
) -> Result<(), Refusal> {
    let refuse = |space: AtomId, why: String| Refusal {
        space: spaces.all()[space.index()].name.clone(),
        node: None,
        why,
    };
    let huge = sizes.iter().filter(|(_, size)| **size > MAX_UNITS).min();
    if let Some((space, size)) = huge {
        let why = format!("{size} units are more than {MAX_UNITS}, the most that a space may have");
        return Err(refuse(*space, why));
    }
    let (mut total, mut mapped) = (0u64, 0usize);
    // Of the largest parameter that grows: its elements and its largest space.
    let mut largest: Option<(usize, AtomId)> = None;
    for id in graph.parameters() {
        let grown = GrownSize::of(spaces, sizes, id);
        total = total.saturating_add(grown.elements as u64);
        mapped = mapped.saturating_add(grown.mapped);
        let Some(space) = grown.space else {
            continue;
        };
        let name = &graph.get(id).name;
        if grown.longest > MAX_UNITS {
            let long = grown.longest;
            let why = format!(
                "an axis of `{name}` would have {long} units, and {MAX_UNITS} are the most"
            );
            return Err(refuse(space, why));
        }
        if grown.elements > MAX_ELEMENTS {
            let count = grown.elements;
            let why =
                format!("`{name}` would have {count} elements, and {MAX_ELEMENTS} are the most");
            return Err(refuse(space, why));
        }
        if largest.is_none_or(|(elements, _)| grown.elements > elements) {
            largest = Some((grown.elements, space));
        }
    }
    let Some((_, space)) = largest else {
        return Ok(());
    };
    let units = sizes.get(&space).copied().unwrap_or(0);
    if total > MAX_PARAMETERS {
        let why = format!(
            "with {units} units of it the network would have {total} parameters, and \
             {MAX_PARAMETERS} are the most"
        );
        return Err(refuse(space, why));
    }
    if mapped > MAX_MAPPED {
        let why = format!(
            "with {units} units of it the axes that grow would have {mapped} units together, and \
             {MAX_MAPPED} are the most"
        );
        return Err(refuse(space, why));
    }
    Ok(())
}

/// What a machine has room for, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Of memory, if it is known.
    pub memory: Option<u64>,
    /// Of the disk, if something is written to it and its room is known.
    pub disk: Option<u64>,
}

/// The bytes of a map for each unit.
const MAP_BYTES: u64 = 25;

/// The bytes of an element of a matrix, which is read a few rows at a time, but may be written.
const MATRIX_BYTES: u64 = 8;

/// The bytes of an element of anything else: whole in f64, laid out for its kernel, and to be written.
const WHOLE_BYTES: u64 = 20;

/// Refuses new sizes of spaces for which a machine has no room: their maps and the largest parameter, old
/// and new in f64, are in memory, and all parameters are written.
pub fn check_room(
    graph: &Graph,
    spaces: &Spaces,
    sizes: &HashMap<AtomId, usize>,
    room: Room,
) -> Result<(), Refusal> {
    let (mut total, mut most, mut mapped) = (0u64, (0u64, String::new()), 0u64);
    for id in graph.parameters() {
        let grown = GrownSize::of(spaces, sizes, id);
        let elements = grown.elements as u64;
        total = total.saturating_add(elements);
        mapped = mapped.saturating_add(grown.mapped as u64);
        let bytes = elements.saturating_mul(match graph.get(id).shape.rank() {
            2 => MATRIX_BYTES,
            _ => WHOLE_BYTES,
        });
        if bytes > most.0 {
            most = (bytes, graph.get(id).name.clone());
        }
    }
    let refuse = |bytes: u64, of: &str, there: u64| {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        Err(Refusal {
            space: "*".to_owned(),
            node: None,
            why: format!(
                "{total} parameters, the largest of them `{}`, would need about {:.1} GiB of {of}, and \
                 {:.1} are there; grow by less",
                most.1,
                gib(bytes),
                gib(there)
            ),
        })
    };
    let memory = most.0.saturating_add(mapped.saturating_mul(MAP_BYTES));
    let disk = total.saturating_mul(4);
    match room {
        Room {
            memory: Some(there),
            ..
        } if memory > there => refuse(memory, "memory", there),
        Room {
            disk: Some(there), ..
        } if disk > there => refuse(disk, "the disk", there),
        _ => Ok(()),
    }
}

/// What becomes of one parameter.
struct GrownSize {
    /// The number of its elements, saturating.
    elements: usize,
    /// The units of its axes that grow.
    mapped: usize,
    /// The most units of an axis that grows.
    longest: usize,
    /// The largest space that makes it grow, if one does.
    space: Option<AtomId>,
}

impl GrownSize {
    fn of(spaces: &Spaces, sizes: &HashMap<AtomId, usize>, parameter: ValueId) -> GrownSize {
        let mut grown = GrownSize {
            elements: 1,
            mapped: 0,
            longest: 0,
            space: None,
        };
        let mut most = 0;
        for dim in spaces.axes(parameter) {
            let units = spaces.extent(dim, &|atom| sizes.get(&atom).copied()).at(1);
            grown.elements = grown.elements.saturating_mul(units);
            let mut grows = false;
            dim.for_each_atom(&mut |atom| {
                let Some(size) = sizes.get(&atom) else {
                    return;
                };
                grows = true;
                if *size > most {
                    most = *size;
                    grown.space = Some(atom);
                }
            });
            if grows {
                grown.mapped = grown.mapped.saturating_add(units);
                grown.longest = grown.longest.max(units);
            }
        }
        grown
    }
}
