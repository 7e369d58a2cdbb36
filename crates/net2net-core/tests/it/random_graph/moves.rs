//! Blocks that move elements.

use net2net_core::graph::ValueId;
use net2net_core::ops::{
    Add, Concat, Coordinates, DepthOrder, DepthToSpace, Expand, Flatten, Gather, GlobalAveragePool,
    Interpolation, Mul, Op, Pad, PadMode, Reshape, Resize, Slice, SpaceToDepth, Split, Take, Tile,
    Transpose,
};

use super::Maker;

impl Maker {
    /// A block of an image, which may have another size afterwards.
    pub(super) fn moved(&mut self, x: ValueId, out: usize) -> ValueId {
        let [c, h, w] = self.sizes(x)[..] else {
            unreachable!()
        };
        match self.below(10) {
            0 => self.shuffled(x),
            1 => self.sliced(x, out),
            2 => self.split(x),
            3 => self.padded(x, out),
            4 => self.expanded(x, out),
            5 => {
                let y = self.layer(x, 2);
                let repeats = vec![1, 2, 1, 1 + self.below(2)];
                let y = self.node(Tile { repeats }, &[y]);
                if w > 4 { self.pool(y) } else { y }
            }
            6 => self.looked_up(x, out),
            7 => self.blocks_of_pixels(x, h, w),
            8 => self.resampled(x, h, w),
            _ => {
                let axis = 1 + self.below(3);
                let size = [c, h, w][axis - 1] as i64;
                let indices = match self.below(3) {
                    0 => vec![size - 1, 0, -1],
                    1 => (size / 2..size).collect(),
                    _ => vec![-size],
                };
                let keep = indices.len() > 1 || self.chance(0.5);
                let y = self.node(
                    Take {
                        axis,
                        indices,
                        keep,
                    },
                    &[x],
                );
                let mut sizes = self.sizes(y);
                if !keep {
                    sizes.insert(axis - 1, 1);
                }
                self.node(Reshape { sizes }, &[y])
            }
        }
    }

    /// The channels of two groups mixed, as in shuffle nets; or rows and columns exchanged.
    fn shuffled(&mut self, x: ValueId) -> ValueId {
        if self.chance(0.3) {
            let perm = vec![0, 1, 3, 2];
            return self.node(Transpose { perm }, &[x]);
        }
        let y = self.layer(x, 4);
        let (kernel, window) = self.same();
        let y = self.conv(y, 8, 2, kernel, window);
        let [_, h, w] = self.sizes(y)[..] else {
            unreachable!()
        };
        let sizes = vec![2, 4, h, w];
        let y = self.node(Reshape { sizes }, &[y]);
        let perm = vec![0, 2, 1, 3, 4];
        let y = self.node(Transpose { perm }, &[y]);
        let sizes = vec![8, h, w];
        let y = self.node(Reshape { sizes }, &[y]);
        let (kernel, window) = self.same();
        let groups = [2, 8][self.below(2)];
        self.conv(y, 8, groups, kernel, window)
    }

    fn sliced(&mut self, x: ValueId, out: usize) -> ValueId {
        let y = self.layer(x, out + 2);
        let last = self.sizes(y)[2] as i64;
        let first = self.below(out + 1) as i64;
        let step = [1, 2, -1][self.below(3)];
        let (start, end) = if step > 0 { (0, last) } else { (-1, i64::MIN) };
        let slice = Slice {
            axes: vec![1, 3],
            starts: vec![first, start],
            ends: vec![first + 2, end],
            steps: vec![1, step],
        };
        self.node(slice, &[y])
    }

    /// Three parts, one of which nobody reads.
    fn split(&mut self, x: ValueId) -> ValueId {
        let y = self.layer(x, 6);
        let split = Op::from(Split {
            axis: 1,
            sizes: vec![2, 1, 3],
        });
        self.count += 1;
        let names = [0, 1, 2].map(|part| format!("split{}.{part}", self.count));
        let parts = self.graph.node_with_outputs(&names, split, &[y]).unwrap();
        match self.below(3) {
            0 => self.node(Concat::default(), &[parts[2], parts[0]]),
            1 => self.node(Add, &[parts[1], parts[2]]),
            _ => {
                let y = self.same_conv(parts[0], 3);
                self.node(Add, &[y, parts[2]])
            }
        }
    }

    /// A shortcut that has fewer channels than what it is added to; or a border.
    fn padded(&mut self, x: ValueId, out: usize) -> ValueId {
        if self.chance(0.4) {
            let mode = [PadMode::Constant, PadMode::Reflect, PadMode::Edge][self.below(3)];
            let rows = self.sizes(x)[1];
            let front = if rows > 1 { 1 } else { 0 };
            let pads = vec![0, 0, front, 0, 0, 0, 0, 0];
            let value = -0.5;
            return self.node(Pad { pads, mode, value }, &[x]);
        }
        let c = self.sizes(x)[0] as i64;
        let (front, behind) = (self.below(3) as i64, out as i64);
        let crop = if c > 1 && self.chance(0.3) { 1 } else { 0 };
        let pads = vec![0, front, 0, 0, 0, behind - crop, 0, 0];
        let mode = PadMode::Constant;
        let value = if self.chance(0.5) { 0.0 } else { 0.7 };
        let shortcut = self.node(Pad { pads, mode, value }, &[x]);
        let wide = self.sizes(shortcut)[0];
        let y = self.layer(x, wide);
        self.node(Add, &[y, shortcut])
    }

    fn expanded(&mut self, x: ValueId, out: usize) -> ValueId {
        let [_, h, w] = self.sizes(x)[..] else {
            unreachable!()
        };
        match self.below(3) {
            0 => {
                let y = self.node(GlobalAveragePool, &[x]);
                let y = self.node(Expand { shape: vec![h, w] }, &[y]);
                self.node(Mul, &[x, y])
            }
            1 => {
                // One channel as many.
                let y = self.layer(x, 1);
                let shape = vec![1, out, 1, 1];
                let y = self.node(Expand { shape }, &[y]);
                let z = self.layer(x, out);
                self.node(Add, &[y, z])
            }
            _ => {
                let own = self.parameter("own", &[out, 1, w]);
                let shape = vec![0, out, h, w];
                let own = self.node(Expand { shape }, &[own]);
                self.node(Concat::default(), &[x, own])
            }
        }
    }

    /// An embedding of rounded channels.
    fn looked_up(&mut self, x: ValueId, out: usize) -> ValueId {
        let y = self.node(GlobalAveragePool, &[x]);
        let y = self.node(Flatten, &[y]);
        let y = self.gemm(y, 3);
        let table = self.parameter("table", &[5, out]);
        let y = self.node(Gather { axis: 0 }, &[table, y]);
        let perm = vec![0, 2, 1];
        let y = self.node(Transpose { perm }, &[y]);
        let sizes = vec![out, 3, 1];
        let y = self.node(Reshape { sizes }, &[y]);
        let x = self.same_conv(x, out);
        let x = self.node(GlobalAveragePool, &[x]);
        self.node(Add, &[x, y])
    }

    fn blocks_of_pixels(&mut self, x: ValueId, h: usize, w: usize) -> ValueId {
        if h.is_multiple_of(2) && w.is_multiple_of(2) {
            let y = self.layer(x, 2);
            return self.node(SpaceToDepth { blocksize: 2 }, &[y]);
        }
        let out = 4 * (1 + self.below(2));
        let y = self.layer(x, out);
        let order = [DepthOrder::BlockFirst, DepthOrder::ChannelFirst][self.below(2)];
        let blocksize = 2;
        let y = self.node(DepthToSpace { blocksize, order }, &[y]);
        if h * w > 8 { self.pool(y) } else { y }
    }

    fn resampled(&mut self, x: ValueId, h: usize, w: usize) -> ValueId {
        use Interpolation::{Cubic, Linear, Nearest};
        let mode = [Nearest, Linear, Cubic][self.below(3)];
        let coordinates = [
            Coordinates::HalfPixel,
            Coordinates::PytorchHalfPixel,
            Coordinates::AlignCorners,
            Coordinates::Asymmetric,
        ][self.below(4)];
        let mut resize = Resize {
            mode,
            coordinates,
            ..Resize::default()
        };
        if self.chance(0.5) {
            resize.scales = vec![1.0, if w < 6 { 1.5 } else { 0.5 }];
        } else {
            resize.sizes = vec![1 + self.below(h + 1), 1 + self.below(w + 1)];
        }
        self.node(resize, &[x])
    }
}
