//! Which inputs a sliding window meets, along one axis.
//!
//! Output `o` meets input `o · stride + tap · dilation − pad` for each tap of the kernel. With
//! the pairs written out, padding, strides and dilation vanish from the loops over channels, and
//! the way back (from an input to the outputs that met it) is the same kind of table.

/// For each position of one side, the positions of the other side that it meets, by tap.
pub(crate) struct Taps {
    /// Position `i` owns `pairs[starts[i]..starts[i + 1]]`.
    starts: Vec<usize>,
    /// `(position on the other side, tap)`, in the order of the taps.
    pairs: Vec<(usize, usize)>,
    other_len: usize,
}

/// One axis of a sliding window.
#[derive(Clone, Copy)]
pub(crate) struct Axis {
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    pub(crate) pad: usize,
}

impl Axis {
    /// The input that output `o` meets at `tap`, unless it is padding.
    pub(crate) fn meets(&self, o: usize, tap: usize) -> Option<usize> {
        let i = (o * self.stride + tap * self.dilation).checked_sub(self.pad)?;
        (i < self.input).then_some(i)
    }

    /// From outputs to the inputs that they meet.
    pub(crate) fn inputs_of_outputs(&self) -> Taps {
        let met = |o| (0..self.kernel).filter_map(move |tap| Some((self.meets(o, tap)?, tap)));
        Taps::new(self.output, self.input, met)
    }

    /// From inputs to the outputs that meet them.
    pub(crate) fn outputs_of_inputs(&self) -> Taps {
        let meeting = |i: usize| {
            (0..self.kernel).filter_map(move |tap| {
                let at = (i + self.pad).checked_sub(tap * self.dilation)?;
                let o = at / self.stride;
                (at % self.stride == 0 && o < self.output).then_some((o, tap))
            })
        };
        Taps::new(self.input, self.output, meeting)
    }
}

impl Taps {
    fn new<I>(len: usize, other_len: usize, pairs_of: impl Fn(usize) -> I) -> Self
    where
        I: Iterator<Item = (usize, usize)>,
    {
        let mut starts = vec![0];
        let mut pairs = Vec::new();
        for i in 0..len {
            pairs.extend(pairs_of(i));
            starts.push(pairs.len());
        }
        Self {
            starts,
            pairs,
            other_len,
        }
    }

    /// How many positions this side has.
    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// How many positions the other side has.
    pub(crate) fn other_len(&self) -> usize {
        self.other_len
    }

    /// What position `i` meets: `(position, tap)`.
    #[inline(always)]
    pub(crate) fn of(&self, i: usize) -> &[(usize, usize)] {
        &self.pairs[self.starts[i]..self.starts[i + 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_hold_the_same_pairs() {
        for stride in 1..4 {
            for dilation in 1..4 {
                for pad in 0..4 {
                    let axis = Axis {
                        input: 9,
                        output: 5,
                        kernel: 3,
                        stride,
                        dilation,
                        pad,
                    };
                    let (there, back) = (axis.inputs_of_outputs(), axis.outputs_of_inputs());
                    for o in 0..5 {
                        for &(i, tap) in there.of(o) {
                            assert_eq!(i + pad, o * stride + tap * dilation);
                            assert!(back.of(i).contains(&(o, tap)));
                        }
                    }
                    assert_eq!(there.pairs.len(), back.pairs.len());
                }
            }
        }
    }
}
