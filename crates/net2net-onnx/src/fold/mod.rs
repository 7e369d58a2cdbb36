//! Shape arithmetic: what exporters compute from shapes and constants, done once.
//!
//! Sizes of the batch stand for themselves as one large prime, so that ordinary arithmetic carries
//! them through: what is a multiple of it in the end has the batch as a factor.

mod moves;

use std::collections::{BTreeSet, HashMap};

use moves::{concat, gather, reshape, scatter, slice, squeeze, transpose, triangle, unsqueeze};

/// What the batch counts as in shape arithmetic.
pub(crate) const BATCH: i64 = 1_000_003;
/// More numbers than this are data and no shape.
pub(crate) const MAX_NUMBERS: usize = 1 << 18;
/// More axes than this are a broken file.
pub(crate) const MAX_RANK: usize = 64;

/// A small tensor whose numbers are known. Integers are exact up to 2^53 and saturate beyond.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    pub(crate) dims: Vec<usize>,
    pub(crate) numbers: Vec<f64>,
    /// Whether division rounds to zero.
    pub(crate) integer: bool,
}

impl Known {
    pub(crate) fn new(dims: Vec<usize>, numbers: Vec<f64>, integer: bool) -> Option<Known> {
        let count = elements(&dims)?;
        (count == numbers.len()).then_some(Known {
            dims,
            numbers,
            integer,
        })
    }

    /// How much work it is to read it.
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    fn vector(numbers: Vec<f64>) -> Known {
        Known {
            dims: vec![numbers.len()],
            numbers,
            integer: true,
        }
    }

    pub(crate) fn ints(&self) -> Vec<i64> {
        self.numbers.iter().map(|x| *x as i64).collect()
    }
}

/// The parts of a node that folding looks at.
pub(crate) struct Call<'a> {
    pub(crate) op: &'a str,
    pub(crate) ints: HashMap<&'a str, Vec<i64>>,
    pub(crate) inputs: Vec<Option<&'a Known>>,
    /// The shape of the first input, the batch as [`BATCH`].
    pub(crate) shape: Option<Vec<i64>>,
}

impl Call<'_> {
    fn int(&self, name: &str, default: i64) -> i64 {
        let given = self.ints.get(name).and_then(|values| values.first());
        given.copied().unwrap_or(default)
    }

    fn input(&self, index: usize) -> Option<&Known> {
        self.inputs.get(index).copied().flatten()
    }

    /// A list that older operator sets give as an attribute and newer ones as an input.
    fn list(&self, name: &str, input: usize) -> Option<Vec<i64>> {
        match self.ints.get(name) {
            Some(values) => Some(values.clone()),
            None => self.input(input).map(Known::ints),
        }
    }
}

/// The result of a node whose inputs are known, or of `Shape` and `Size`, if this is one of the
/// operators that exporters make shapes with.
pub(crate) fn fold(call: &Call<'_>) -> Option<Known> {
    match call.op {
        "Shape" => {
            let shape = call.shape.as_ref()?;
            let rank = shape.len() as i64;
            let at = |position: i64| {
                let counted = if position < 0 {
                    position + rank
                } else {
                    position
                };
                counted.clamp(0, rank) as usize
            };
            let (start, end) = (at(call.int("start", 0)), at(call.int("end", i64::MAX)));
            let part = shape.get(start..end.max(start))?;
            return Some(Known::vector(part.iter().map(|d| *d as f64).collect()));
        }
        "Size" => {
            let count: f64 = call.shape.as_ref()?.iter().map(|d| *d as f64).product();
            return Known::new(vec![], vec![count], true);
        }
        _ => {}
    }
    let x = call.input(0)?;
    let same = |numbers: Vec<f64>| Known::new(x.dims.clone(), numbers, x.integer);
    match call.op {
        "Identity" => Some(x.clone()),
        "Cast" => {
            let integer = !matches!(call.int("to", 1), 1 | 10 | 11 | 16);
            let cut = |v: &f64| if integer { v.trunc() } else { *v };
            Known::new(x.dims.clone(), x.numbers.iter().map(cut).collect(), integer)
        }
        "Neg" => same(x.numbers.iter().map(|v| -v).collect()),
        "Floor" => same(x.numbers.iter().map(|v| v.floor()).collect()),
        "Ceil" => same(x.numbers.iter().map(|v| v.ceil()).collect()),
        "Sqrt" => same(x.numbers.iter().map(|v| v.sqrt()).collect()),
        "Not" => same(x.numbers.iter().map(|v| 1.0 - v).collect()),
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Pow" | "Min" | "Max" | "Equal" | "Greater"
        | "Less" | "GreaterOrEqual" | "LessOrEqual" | "And" | "Or" => {
            (call.inputs.len() == 2).then_some(())?;
            binary(call.op, x, call.input(1)?)
        }
        "Where" => select(x, call.input(1)?, call.input(2)?),
        "ReduceProd" => product(call, x),
        "Squeeze" => squeeze(x, call.list("axes", 1)),
        "Unsqueeze" => unsqueeze(x, &call.list("axes", 1)?),
        "Reshape" => reshape(x, &call.input(1)?.ints()),
        "Concat" => concat(call, call.int("axis", 0)),
        "Gather" => gather(x, call.input(1)?, call.int("axis", 0)),
        "Slice" => slice(call, x),
        "Transpose" => transpose(x, call.ints.get("perm")),
        "Trilu" => triangle(x, call.int("upper", 1) != 0, call.inputs.get(1).copied()),
        "ScatterND" => scatter(x, call.input(1)?, call.input(2)?),
        "ConstantOfShape" => {
            let value = match call.input(1) {
                Some(value) => *value.numbers.first()?,
                None => 0.0,
            };
            let dims = sizes(&x.ints())?;
            let integer = call.input(1).is_some_and(|v| v.integer);
            let numbers = vec![value; elements(&dims)?];
            Known::new(dims, numbers, integer)
        }
        "Range" => {
            let (start, limit, step) =
                (scalar(x)?, scalar(call.input(1)?)?, scalar(call.input(2)?)?);
            let count = ((limit - start) / step).ceil().max(0.0);
            (count <= MAX_NUMBERS as f64).then_some(())?;
            let numbers = (0..count as usize).map(|i| start + step * i as f64);
            let numbers: Vec<f64> = numbers.collect();
            Known::new(vec![numbers.len()], numbers, x.integer)
        }
        "Expand" => {
            let target = sizes(&call.input(1)?.ints())?;
            let ones = vec![1.0; elements(&target)?];
            let ones = Known::new(target, ones, x.integer)?;
            broadcast(x, &ones, x.integer, |a, _| a)
        }
        _ => None,
    }
}

/// The product over all axes; none is made over some of them.
fn product(call: &Call<'_>, x: &Known) -> Option<Known> {
    let rank = x.dims.len();
    let given = call.list("axes", 1).filter(|axes| !axes.is_empty());
    let all = match given {
        Some(axes) => {
            let axes: Option<BTreeSet<usize>> = axes.iter().map(|a| axis_of(*a, rank)).collect();
            axes?.len() == rank
        }
        None => call.int("noop_with_empty_axes", 0) == 0,
    };
    all.then_some(())?;
    let dims = match call.int("keepdims", 1) {
        0 => vec![],
        _ => vec![1; rank],
    };
    Known::new(dims, vec![x.numbers.iter().product()], x.integer)
}

fn scalar(x: &Known) -> Option<f64> {
    (x.numbers.len() == 1).then(|| x.numbers[0])
}

/// The number of elements of few axes and few numbers. Axes without any count as one each, so
/// that no product of a part of the sizes overflows either.
fn elements(dims: &[usize]) -> Option<usize> {
    let bound = dims
        .iter()
        .try_fold(1usize, |n, d| n.checked_mul((*d).max(1)))?;
    (dims.len() <= MAX_RANK && bound <= MAX_NUMBERS).then(|| dims.iter().product())
}

fn sizes(ints: &[i64]) -> Option<Vec<usize>> {
    ints.iter().map(|i| usize::try_from(*i).ok()).collect()
}

fn axis_of(axis: i64, rank: usize) -> Option<usize> {
    let counted = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(counted).ok().filter(|axis| *axis < rank)
}

fn binary(op: &str, a: &Known, b: &Known) -> Option<Known> {
    let integer = a.integer && b.integer;
    let truth = |t: bool| if t { 1.0 } else { 0.0 };
    let logical = !matches!(
        op,
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Pow" | "Min" | "Max"
    );
    broadcast(a, b, integer || logical, |x, y| match op {
        "Add" => x + y,
        "Sub" => x - y,
        "Mul" => x * y,
        "Div" if integer => (x / y).trunc(),
        "Div" => x / y,
        "Mod" => x - y * (x / y).floor(),
        "Pow" => x.powf(y),
        "Min" => x.min(y),
        "Max" => x.max(y),
        "Equal" => truth(x == y),
        "Greater" => truth(x > y),
        "Less" => truth(x < y),
        "GreaterOrEqual" => truth(x >= y),
        "LessOrEqual" => truth(x <= y),
        "And" => truth(x != 0.0 && y != 0.0),
        _ => truth(x != 0.0 || y != 0.0),
    })
}

fn select(condition: &Known, a: &Known, b: &Known) -> Option<Known> {
    let integer = a.integer && b.integer;
    // A choice as two steps of two operands each: NaN marks where the second is taken.
    let first = broadcast(
        condition,
        a,
        integer,
        |c, x| if c != 0.0 { x } else { f64::NAN },
    )?;
    broadcast(&first, b, integer, |x, y| if x.is_nan() { y } else { x })
}

fn broadcast(a: &Known, b: &Known, integer: bool, f: impl Fn(f64, f64) -> f64) -> Option<Known> {
    let rank = a.dims.len().max(b.dims.len());
    let padded = |k: &Known| {
        let mut dims = vec![1; rank - k.dims.len()];
        dims.extend(&k.dims);
        dims
    };
    let (da, db) = (padded(a), padded(b));
    let mut dims = Vec::with_capacity(rank);
    for (x, y) in da.iter().zip(&db) {
        match (*x, *y) {
            (x, y) if x == y || y == 1 => dims.push(x),
            (1, y) => dims.push(y),
            _ => return None,
        }
    }
    let numbers = (0..elements(&dims)?).map(|index| {
        let (mut rest, mut at, mut stride) = (index, [0, 0], [1, 1]);
        for axis in (0..rank).rev() {
            let position = rest % dims[axis];
            rest /= dims[axis];
            for (side, own) in [&da, &db].into_iter().enumerate() {
                at[side] += if own[axis] == 1 {
                    0
                } else {
                    position * stride[side]
                };
                stride[side] *= own[axis];
            }
        }
        f(a.numbers[at[0]], b.numbers[at[1]])
    });
    let numbers = numbers.collect();
    Known::new(dims, numbers, integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(numbers: &[f64]) -> Known {
        Known::vector(numbers.to_vec())
    }

    fn call<'a>(op: &'a str, inputs: &[&'a Known], ints: &[(&'a str, &[i64])]) -> Option<Known> {
        fold(&Call {
            op,
            ints: ints.iter().map(|(k, v)| (*k, v.to_vec())).collect(),
            inputs: inputs.iter().map(|k| Some(*k)).collect(),
            shape: None,
        })
    }

    #[test]
    fn the_padding_of_torchscript_comes_out() {
        // What `F.pad(x, (0, 0, 0, 0, 8, 8))` becomes: reversed pairs, transposed.
        let pads = vector(&[0.0, 0.0, 0.0, 0.0, 8.0, 8.0, 0.0, 0.0]);
        let pairs = call("Reshape", &[&pads, &vector(&[-1.0, 2.0])], &[]).unwrap();
        let (starts, ends) = (vector(&[-1.0]), vector(&[-9_223_372_036_854_775_807.0]));
        let reversed = call(
            "Slice",
            &[&pairs, &starts, &ends, &vector(&[0.0]), &vector(&[-1.0])],
            &[],
        )
        .unwrap();
        let turned = call("Transpose", &[&reversed], &[("perm", &[1, 0])]).unwrap();
        let flat = call("Reshape", &[&turned, &vector(&[-1.0])], &[]).unwrap();
        assert_eq!(flat.ints(), [0, 8, 0, 0, 0, 8, 0, 0]);
    }

    #[test]
    fn the_batch_survives_arithmetic() {
        let batch = vector(&[BATCH as f64]);
        let product = call("Mul", &[&batch, &vector(&[12.0])], &[]).unwrap();
        assert_eq!(product.ints(), [12 * BATCH]);
        let back = call("Div", &[&product, &vector(&[12.0])], &[]).unwrap();
        assert_eq!(back.ints(), [BATCH]);
    }

    #[test]
    fn a_product_keeps_its_axes_unless_told_otherwise() {
        let sizes = vector(&[3.0, 4.0]);
        let product = |ints: &[(&str, &[i64])]| call("ReduceProd", &[&sizes], ints);
        assert_eq!(product(&[]).unwrap(), vector(&[12.0]));
        assert_eq!(product(&[("axes", &[-1])]).unwrap(), vector(&[12.0]));
        let flat = product(&[("keepdims", &[0])]).unwrap();
        assert_eq!((flat.dims, flat.numbers), (vec![], vec![12.0]));
        assert_eq!(product(&[("noop_with_empty_axes", &[1])]), None);
    }

    #[test]
    fn broadcasting_follows_trailing_axes() {
        let a = Known::new(vec![2, 1], vec![1.0, 2.0], true).unwrap();
        let b = vector(&[10.0, 20.0, 30.0]);
        let sum = call("Add", &[&a, &b], &[]).unwrap();
        assert_eq!(sum.dims, [2, 3]);
        assert_eq!(sum.ints(), [11, 21, 31, 12, 22, 32]);
    }

    #[test]
    fn masks_of_causal_attention_come_out() {
        let ones = Known::new(vec![3, 3], vec![1.0; 9], true).unwrap();
        let lower = call("Trilu", &[&ones], &[("upper", &[0])]).unwrap();
        assert_eq!(lower.ints(), [1, 0, 0, 1, 1, 0, 1, 1, 1]);
        let above = call("Trilu", &[&ones, &vector(&[1.0])], &[]).unwrap();
        assert_eq!(above.ints(), [0, 1, 1, 0, 0, 1, 0, 0, 0]);
        assert_eq!(call("Trilu", &[&vector(&[1.0, 2.0])], &[]), None);
    }

    #[test]
    fn absurd_sizes_are_not_folded() {
        let huge = vector(&[1e12, 1e12]);
        assert_eq!(call("ConstantOfShape", &[&huge], &[]), None);
        assert_eq!(call("Expand", &[&vector(&[1.0]), &huge], &[]), None);
    }
}
