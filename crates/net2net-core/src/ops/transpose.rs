//! Permutations of axes: as such, and of blocks of pixels with channels.

use net2net_kernels::Real;

use super::moves::{PermuteKernel, as_ints, map_axis, moving_parts, row_major, sizes_of};
use super::window::image_sizes;
use super::{Arity, Attributes, Operator};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Kernel, Layout, Layouts, Site};
use crate::graph::{Extent, Shape};

/// `Transpose(x) -> y`: axis `j` of `y` is axis `perm[j]` of `x`. The batch stays outermost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transpose {
    /// The axes of the input in the order of the output; empty means reversed, ONNX's default.
    pub perm: Vec<usize>,
}

impl Transpose {
    fn order(&self, rank: usize) -> Vec<usize> {
        match self.perm.is_empty() {
            true => (0..rank).rev().collect(),
            false => self.perm.clone(),
        }
    }
}

impl Operator for Transpose {
    const NAME: &'static str = "Transpose";
    const RULE: &'static str = "n a b … -> n b a …, by perm";
    const ARITY: Arity = Arity::exactly(1);

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        Ok(Transpose {
            perm: sizes_of(attributes, "perm", 0)?.unwrap_or_default(),
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        if !self.perm.is_empty() {
            attributes.insert("perm", as_ints(&self.perm));
        }
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let extents = inputs[0].extents();
        let order = self.order(extents.len());
        if order.len() != extents.len() || !(0..order.len()).all(|axis| order.contains(&axis)) {
            return Err(format!(
                "perm {order:?} is not an order of the axes of {}",
                inputs[0]
            ));
        }
        if extents.first() == Some(&Extent::Batch) && order[0] != 0 {
            return Err(format!(
                "perm {order:?} would move the batch N of {}, which must stay outermost",
                inputs[0]
            ));
        }
        Ok(vec![order.iter().map(|axis| extents[*axis]).collect()])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        let order = self.order(rule.output_shape(0).rank());
        for (to, from) in order.into_iter().enumerate() {
            map_axis(rule, from, 0, to);
        }
    }

    fn resize(&self, _: &Grown<'_>) -> Self {
        self.clone()
    }

    fn layouts(&self, _: &[Layout], inputs: &[&Shape], outputs: &[&Shape]) -> Layouts {
        row_major(inputs, outputs)
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let sizes = site.inputs[0].clone();
        let order = self.order(sizes.len());
        Box::new(PermuteKernel::new(sizes, order))
    }

    moving_parts!();
}

/// Which factor of the channels is the outermost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DepthOrder {
    /// Depth, column, row: the position in the block; ONNX's `DCR`, its default.
    #[default]
    BlockFirst,
    /// Column, row, depth: the channel, as PyTorch's pixel shuffle; ONNX's `CRD`.
    ChannelFirst,
}

/// `DepthToSpace(x [N, b·b·c, h, w]) -> [N, c, h·b, w·b]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DepthToSpace {
    /// The side of the blocks.
    pub blocksize: usize,
    /// How channels are cut; ONNX's `mode`.
    pub order: DepthOrder,
}

/// `SpaceToDepth(x [N, c, h·b, w·b]) -> [N, b·b·c, h, w]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceToDepth {
    /// The side of the blocks.
    pub blocksize: usize,
}

/// Channels, height and width.
fn plane_sizes(shape: &Shape) -> Result<[usize; 3], String> {
    match image_sizes(shape)? {
        (c, sizes) if sizes.len() == 2 => Ok([c, sizes[0], sizes[1]]),
        _ => Err(format!(
            "the input must have shape [N, channels, height, width], not {shape}"
        )),
    }
}

fn block_axes(rule: &mut AxisRule<'_>, notation: &str, side: usize) {
    let labels = rule.notation(notation, &[("b1", side), ("b2", side)]);
    for (name, label) in labels {
        if name.starts_with('b') {
            rule.freeze(label, "blocks of pixels keep their size");
        }
    }
}

fn blocksize(attributes: &mut Attributes) -> Result<usize, String> {
    match attributes.size("blocksize", 0, 1)? {
        0 => Err("attribute `blocksize` is missing".to_owned()),
        side => Ok(side),
    }
}

macro_rules! block_operator_parts {
    ($notation:expr) => {
        fn axes(&self, rule: &mut AxisRule<'_>) {
            let notation: fn(&Self) -> &'static str = $notation;
            block_axes(rule, notation(self), self.blocksize);
        }

        fn resize(&self, _: &Grown<'_>) -> Self {
            self.clone()
        }

        fn layouts(&self, _: &[Layout], inputs: &[&Shape], outputs: &[&Shape]) -> Layouts {
            row_major(inputs, outputs)
        }

        moving_parts!();
    };
}

impl Operator for DepthToSpace {
    const NAME: &'static str = "DepthToSpace";
    const RULE: &'static str = "n (b1 b2 c) h w -> n c (h b1) (w b2)";
    const ARITY: Arity = Arity::exactly(1);

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        Ok(DepthToSpace {
            blocksize: blocksize(attributes)?,
            order: match attributes.text("mode", "DCR")?.as_str() {
                "DCR" => DepthOrder::BlockFirst,
                "CRD" => DepthOrder::ChannelFirst,
                other => return Err(format!("mode must be \"DCR\" or \"CRD\", not {other:?}")),
            },
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        attributes.put_size("blocksize", self.blocksize, 0);
        if self.order == DepthOrder::ChannelFirst {
            attributes.put_text("mode", "CRD", "DCR");
        }
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [c, h, w] = plane_sizes(inputs[0])?;
        let side = self.blocksize;
        let square = side.checked_mul(side).filter(|square| *square > 0);
        let sizes = square
            .filter(|square| c.is_multiple_of(*square))
            .and_then(|square| Some([c / square, h.checked_mul(side)?, w.checked_mul(side)?]));
        match sizes {
            Some(sizes) => Ok(vec![inputs[0].with_inner(&sizes)]),
            None => Err(format!(
                "{c} channels cannot be laid out in blocks of {side} by {side} pixels"
            )),
        }
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let [n, c, h, w] = site.inputs[0][..] else {
            return Box::new(PermuteKernel::new(Vec::new(), Vec::new()));
        };
        let b = self.blocksize;
        Box::new(match self.order {
            DepthOrder::BlockFirst => {
                PermuteKernel::new(vec![n, b, b, c / (b * b), h, w], vec![0, 3, 4, 1, 5, 2])
            }
            DepthOrder::ChannelFirst => {
                PermuteKernel::new(vec![n, c / (b * b), b, b, h, w], vec![0, 1, 4, 2, 5, 3])
            }
        })
    }

    block_operator_parts!(|this| match this.order {
        DepthOrder::BlockFirst => DepthToSpace::RULE,
        DepthOrder::ChannelFirst => "n (c b1 b2) h w -> n c (h b1) (w b2)",
    });
}

impl Operator for SpaceToDepth {
    const NAME: &'static str = "SpaceToDepth";
    const RULE: &'static str = "n c (h b1) (w b2) -> n (b1 b2 c) h w";
    const ARITY: Arity = Arity::exactly(1);

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        Ok(SpaceToDepth {
            blocksize: blocksize(attributes)?,
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        attributes.put_size("blocksize", self.blocksize, 0);
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [c, h, w] = plane_sizes(inputs[0])?;
        let side = self.blocksize;
        let fits = side > 0 && h.is_multiple_of(side) && w.is_multiple_of(side);
        let channels = side
            .checked_mul(side)
            .and_then(|square| c.checked_mul(square));
        match channels.filter(|_| fits) {
            Some(c) => Ok(vec![inputs[0].with_inner(&[c, h / side, w / side])]),
            None => Err(format!(
                "{h} by {w} pixels cannot be cut into blocks of {side} by {side}"
            )),
        }
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let [n, c, h, w] = site.inputs[0][..] else {
            return Box::new(PermuteKernel::new(Vec::new(), Vec::new()));
        };
        let b = self.blocksize;
        let sizes = vec![n, c, h / b, b, w / b, b];
        Box::new(PermuteKernel::new(sizes, vec![0, 3, 5, 1, 2, 4]))
    }

    block_operator_parts!(|_| SpaceToDepth::RULE);
}
