//! Memory planning: which tensors may share a slot because they never live at once.

use std::collections::BTreeMap;

/// The life of one tensor, in the program's own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    /// When it is first written.
    pub(super) first: usize,
    /// When it is last read.
    pub(super) last: usize,
    /// Its number of elements.
    pub(super) len: usize,
}

/// A slot for each tensor that has elements, and the number of elements of each slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) slot_of: Vec<usize>,
    pub(super) slots: Vec<usize>,
}

/// Assigns slots, the largest tensors first, each to the first slot that is free all its life.
///
/// Placing large tensors first makes small ones fill the gaps; the result is within a few per
/// cent of the peak of what lives at once for the networks that we measured.
pub(super) fn assign(lives: &[Life]) -> Assignment {
    let mut order: Vec<usize> = (0..lives.len()).collect();
    order.sort_by_key(|i| (std::cmp::Reverse(lives[*i].len), lives[*i].first, *i));
    // What never is in planned memory has no elements, and is not looked at.
    order.retain(|i| lives[*i].len > 0);
    // The lives in a slot by their beginnings; they never overlap.
    let mut residents: Vec<BTreeMap<usize, usize>> = Vec::new();
    let mut assignment = Assignment {
        slot_of: vec![0; lives.len()],
        slots: Vec::new(),
    };
    for tensor in order {
        let life = &lives[tensor];
        let free = residents.iter().position(|slot| {
            let before = slot.range(..=life.last).next_back();
            before.is_none_or(|(_, last)| *last < life.first)
        });
        let slot = free.unwrap_or_else(|| {
            residents.push(BTreeMap::new());
            assignment.slots.push(life.len);
            residents.len() - 1
        });
        residents[slot].insert(life.first, life.last);
        assignment.slot_of[tensor] = slot;
    }
    assignment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_needs_two_slots_and_overlapping_lives_never_share() {
        let life = |first, last, len| Life { first, last, len };
        let lives = [life(0, 1, 8), life(1, 2, 16), life(2, 3, 4), life(0, 3, 2)];
        let assignment = assign(&lives);
        assert_eq!(assignment.slots, [16, 8, 2]);
        assert_eq!(assignment.slot_of, [1, 0, 1, 2]);
        for a in 0..lives.len() {
            for b in 0..a {
                let shared = assignment.slot_of[a] == assignment.slot_of[b];
                let overlap = lives[a].first <= lives[b].last && lives[b].first <= lives[a].last;
                assert!(!(shared && overlap));
            }
        }
    }
}
