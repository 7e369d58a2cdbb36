//! Known numbers in other places: parts, orders and shapes of them.

use super::{Call, Known, MAX_NUMBERS, MAX_RANK, axis_of};

pub(super) fn squeeze(x: &Known, axes: Option<Vec<i64>>) -> Option<Known> {
    let rank = x.dims.len();
    let dropped: Vec<usize> = match axes {
        Some(axes) if axes.len() > MAX_RANK => return None,
        Some(axes) => axes
            .iter()
            .map(|a| axis_of(*a, rank))
            .collect::<Option<_>>()?,
        None => (0..rank).filter(|a| x.dims[*a] == 1).collect(),
    };
    let dims = (0..rank)
        .filter(|a| !dropped.contains(a))
        .map(|a| x.dims[a]);
    Known::new(dims.collect(), x.numbers.clone(), x.integer)
}

pub(super) fn unsqueeze(x: &Known, axes: &[i64]) -> Option<Known> {
    let rank = x.dims.len() + axes.len();
    (rank <= MAX_RANK).then_some(())?;
    let new: Vec<usize> = axes
        .iter()
        .map(|a| axis_of(*a, rank))
        .collect::<Option<_>>()?;
    let mut old = x.dims.iter();
    let dims = (0..rank).map(|axis| {
        if new.contains(&axis) {
            Some(1)
        } else {
            old.next().copied()
        }
    });
    Known::new(dims.collect::<Option<_>>()?, x.numbers.clone(), x.integer)
}

pub(super) fn reshape(x: &Known, target: &[i64]) -> Option<Known> {
    (target.len() <= MAX_RANK).then_some(())?;
    let mut dims = Vec::new();
    for (axis, size) in target.iter().enumerate() {
        dims.push(match size {
            0 => *x.dims.get(axis)?,
            -1 => 0,
            size => usize::try_from(*size).ok()?,
        });
    }
    if let Some(free) = dims.iter().position(|d| *d == 0) {
        let mut known = dims.iter().filter(|d| **d != 0);
        let known = known.try_fold(1usize, |n, d| n.checked_mul(*d))?;
        dims[free] = x.numbers.len().checked_div(known)?;
    }
    Known::new(dims, x.numbers.clone(), x.integer)
}

/// Row-major strides.
fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// The numbers of `x` at the given positions of each axis, in order.
fn pick(x: &Known, positions: &[Vec<usize>]) -> Option<Known> {
    let dims: Vec<usize> = positions.iter().map(Vec::len).collect();
    let count = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
    (count <= MAX_NUMBERS).then_some(())?;
    let mut places = vec![0];
    for (chosen, stride) in positions.iter().zip(strides(&x.dims)) {
        let outer = places.iter();
        places = outer
            .flat_map(|place| chosen.iter().map(move |at| place + at * stride))
            .collect();
    }
    let numbers = places.iter().map(|place| x.numbers.get(*place).copied());
    Known::new(dims, numbers.collect::<Option<_>>()?, x.integer)
}

/// Concatenation along an axis.
pub(super) fn concat(call: &Call<'_>, axis: i64) -> Option<Known> {
    let parts: Vec<&Known> = call.inputs.iter().copied().collect::<Option<_>>()?;
    let first = *parts.first()?;
    let axis = axis_of(axis, first.dims.len())?;
    let (outer, inner) = (&first.dims[..axis], &first.dims[axis + 1..]);
    let fits = |part: &&Known| {
        part.dims.len() == first.dims.len()
            && part.dims[..axis] == *outer
            && part.dims[axis + 1..] == *inner
    };
    parts.iter().all(fits).then_some(())?;
    // The same part may be there any number of times.
    let total = parts
        .iter()
        .try_fold(0usize, |n, part| n.checked_add(part.len()))?;
    (total <= MAX_NUMBERS).then_some(())?;
    let rows: usize = outer.iter().product();
    let block: usize = inner.iter().product();
    let mut numbers = Vec::new();
    for row in 0..rows {
        for part in &parts {
            let length = part.dims[axis] * block;
            numbers.extend(part.numbers.get(row * length..(row + 1) * length)?);
        }
    }
    let mut dims = first.dims.clone();
    dims[axis] = parts.iter().map(|part| part.dims[axis]).sum();
    Known::new(dims, numbers, first.integer)
}

/// Elements along an axis.
pub(super) fn gather(x: &Known, indices: &Known, axis: i64) -> Option<Known> {
    let axis = axis_of(axis, x.dims.len())?;
    let chosen = indices.numbers.iter();
    let chosen = chosen.map(|i| axis_of(*i as i64, x.dims[axis]));
    let mut positions = whole(&x.dims);
    positions[axis] = chosen.collect::<Option<_>>()?;
    let picked = pick(x, &positions)?;
    let mut dims = x.dims[..axis].to_vec();
    dims.extend(&indices.dims);
    dims.extend(&x.dims[axis + 1..]);
    Known::new(dims, picked.numbers, x.integer)
}

/// All positions of each axis.
fn whole(dims: &[usize]) -> Vec<Vec<usize>> {
    dims.iter().map(|size| (0..*size).collect()).collect()
}

/// Parts of some axes.
pub(super) fn slice(call: &Call<'_>, x: &Known) -> Option<Known> {
    let (starts, ends) = (call.list("starts", 1)?, call.list("ends", 2)?);
    let count = starts.len();
    let axes = call.list("axes", 3);
    let axes = axes.unwrap_or_else(|| (0..count as i64).collect());
    let steps = call.list("steps", 4).unwrap_or_else(|| vec![1; count]);
    (ends.len() == count && axes.len() == count && steps.len() == count).then_some(())?;
    let mut positions = whole(&x.dims);
    for index in 0..count {
        let axis = axis_of(axes[index], x.dims.len())?;
        positions[axis] = range(x.dims[axis], starts[index], ends[index], steps[index])?;
    }
    pick(x, &positions)
}

/// The positions that a slice takes out of an axis.
fn range(length: usize, start: i64, end: i64, step: i64) -> Option<Vec<usize>> {
    let length = length as i64;
    let (low, high) = match step {
        1.. => (0, length),
        0 => return None,
        _ => (-1, length - 1),
    };
    let counted = |at: i64| {
        let at = if at < 0 {
            at.saturating_add(length)
        } else {
            at
        };
        at.clamp(low, high)
    };
    let (mut at, end) = (counted(start), counted(end));
    let mut positions = Vec::new();
    while (step > 0 && at < end) || (step < 0 && at > end) {
        positions.push(usize::try_from(at).ok()?);
        at = at.saturating_add(step);
    }
    Some(positions)
}

/// The axes in another order; without one, backwards.
pub(super) fn transpose(x: &Known, perm: Option<&Vec<i64>>) -> Option<Known> {
    let rank = x.dims.len();
    let perm: Vec<usize> = match perm {
        Some(perm) => perm
            .iter()
            .map(|a| axis_of(*a, rank))
            .collect::<Option<_>>()?,
        None => (0..rank).rev().collect(),
    };
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    (sorted == (0..rank).collect::<Vec<_>>()).then_some(())?;
    let own = strides(&x.dims);
    let mut places = vec![0];
    for axis in &perm {
        let outer = places.iter();
        places = outer
            .flat_map(|place| {
                let stride = own[*axis];
                (0..x.dims[*axis]).map(move |at| place + at * stride)
            })
            .collect();
    }
    let dims = perm.iter().map(|axis| x.dims[*axis]).collect();
    let numbers = places.iter().map(|place| x.numbers.get(*place).copied());
    Known::new(dims, numbers.collect::<Option<_>>()?, x.integer)
}

/// `x` with the parts that `indices` name replaced by `updates`.
pub(super) fn scatter(x: &Known, indices: &Known, updates: &Known) -> Option<Known> {
    let (depth, outer) = indices.dims.split_last()?;
    let (named, inner) = x.dims.split_at_checked(*depth)?;
    (updates.dims.len() == outer.len() + inner.len()).then_some(())?;
    (updates.dims.starts_with(outer) && updates.dims.ends_with(inner)).then_some(())?;
    let block: usize = inner.iter().product();
    let own = strides(named);
    let mut numbers = x.numbers.clone();
    let places = indices.numbers.chunks((*depth).max(1));
    for (place, update) in places.zip(updates.numbers.chunks(block.max(1))) {
        let mut at = 0;
        for (axis, position) in place.iter().enumerate() {
            at += axis_of(*position as i64, named[axis])? * own[axis];
        }
        let target = numbers.get_mut(at * block..(at + 1) * block)?;
        target.copy_from_slice(update);
    }
    Known::new(x.dims.clone(), numbers, x.integer)
}

/// The upper or lower triangle of matrices, zeros elsewhere; the diagonal is the `k`-th above the main
/// one. `k` is `Some(None)` where it is there and not known.
pub(super) fn triangle(x: &Known, upper: bool, k: Option<Option<&Known>>) -> Option<Known> {
    let k = match k {
        Some(known) => *known?.numbers.first()? as i64,
        None => 0,
    };
    let [.., rows, columns] = x.dims[..] else {
        return None;
    };
    let kept = |index: usize| {
        let (row, column) = (index / columns % rows, index % columns);
        let above = column as i64 - row as i64;
        if upper { above >= k } else { above <= k }
    };
    let numbers = x.numbers.iter().enumerate();
    let numbers = numbers.map(|(index, number)| if kept(index) { *number } else { 0.0 });
    Known::new(x.dims.clone(), numbers.collect(), x.integer)
}
