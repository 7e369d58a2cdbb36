//! Plans in words.

use super::{Enlarge, Extend, Insert, Join, Layer, Noise, NoiseKind, Pad, Step, Widen};

impl Step {
    /// The step in a line.
    pub fn describe(&self) -> String {
        match self {
            Step::Widen(widen) => widened(widen),
            Step::Insert(insert) => inserted(insert),
            Step::Extend(Extend { space, size, .. }) => {
                format!("extend {space} to {size} units, the new ones without effect")
            }
            Step::Enlarge(Enlarge { layer, kernel }) => {
                let sides: Vec<String> = kernel.iter().map(usize::to_string).collect();
                format!("enlarge the filter of {layer} to {}", sides.join("x"))
            }
            Step::Pad(Pad { space, size, .. }) => format!(
                "pad {space} to {size} units; the epsilon of normalisations over it shrinks by as much"
            ),
            Step::Join(Join {
                concat,
                from,
                channels,
                ..
            }) => {
                format!(
                    "add a branch of {channels} channels from {from} to {concat}, without effect"
                )
            }
        }
    }
}

fn widened(widen: &Widen) -> String {
    let old = widen.source.iter().max().map_or(0, |s| s.saturating_add(1));
    let noise = match widen.noise {
        Some(Noise {
            kind: NoiseKind::ZeroSum,
            std,
            ..
        }) => format!(", zero-sum noise of {std}"),
        Some(Noise {
            kind: NoiseKind::Incoming,
            std,
            ..
        }) => format!(", incoming noise of {std} (not exact)"),
        None => String::new(),
    };
    let (space, size) = (&widen.space, widen.source.len());
    format!("widen {space} from {old} to {size}{noise}")
}

fn inserted(Insert { after, name, layer }: &Insert) -> String {
    let what = match layer {
        Layer::Identity { norm: Some(_), .. } => "identity, batch norm and activation",
        Layer::Identity { norm: None, .. } => "identity and activation",
        Layer::Residual { .. } => "residual block that starts at zero",
        Layer::Branch { .. } => {
            return format!("add {name} beside {after}: branch that starts at zero");
        }
        Layer::Copy { .. } => "copy of the block that ends there, which starts at zero",
        Layer::Factor { .. } => "linear factor",
    };
    format!("insert {name} after {after}: {what}")
}
