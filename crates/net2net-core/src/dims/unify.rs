//! Expressions over axes, and union-find with refinement that makes them agree.
//!
//! An axis is an atom, a row-major product or a concatenation of expressions. Making two axes
//! equal binds atoms to each other, or refines them: a product cuts an atom into factors, a
//! concatenation cuts it into parts. What has no common refinement is frozen with the reason.

use crate::graph::{Extent, NodeId};

/// The largest number of leaves of one axis: a network that concatenates a value with itself again
/// and again doubles them each time, and must not fill the memory. Real ones have some hundreds.
const MAX_LEAVES: usize = 1 << 12;

/// Names an atom of the unifier, and after resolution a space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AtomId(pub(super) u32);

impl AtomId {
    /// The position among the atoms, or in [`crate::dims::Spaces::all`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What an axis is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Indivisible, as far as the network tells.
    Atom(AtomId),
    /// Row-major product, outermost factor first.
    Prod(Vec<Dim>),
    /// Concatenation.
    Cat(Vec<Dim>),
}

impl Dim {
    /// Calls `visit` for each atom from left to right.
    pub fn for_each_atom(&self, visit: &mut impl FnMut(AtomId)) {
        match self {
            Dim::Atom(id) => visit(*id),
            Dim::Prod(parts) | Dim::Cat(parts) => {
                for part in parts {
                    part.for_each_atom(visit);
                }
            }
        }
    }

    /// The atoms from left to right, repeated as they occur.
    pub fn atoms(&self) -> Vec<AtomId> {
        let mut atoms = Vec::new();
        self.for_each_atom(&mut |id| atoms.push(id));
        atoms
    }

    /// The expression with other atoms.
    pub fn map_atoms(&self, rename: &mut impl FnMut(AtomId) -> AtomId) -> Dim {
        match self {
            Dim::Atom(id) => Dim::Atom(rename(*id)),
            Dim::Prod(parts) => Dim::Prod(parts.iter().map(|p| p.map_atoms(rename)).collect()),
            Dim::Cat(parts) => Dim::Cat(parts.iter().map(|p| p.map_atoms(rename)).collect()),
        }
    }
}

/// Why an atom cannot grow: the first thing that stood in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// The node at which it was found, if it was one.
    pub node: Option<NodeId>,
    /// The reason, as a person reads it.
    pub why: String,
}

#[derive(Clone, Debug)]
struct Atom {
    size: Extent,
    bound: Option<Dim>,
    frozen: Option<Frozen>,
    uniform: bool,
    pooled: bool,
}

/// Union-find over axis expressions.
#[derive(Debug, Default)]
pub struct Unifier {
    atoms: Vec<Atom>,
}

impl Unifier {
    /// A new atom, equal to nothing yet.
    pub fn fresh(&mut self, size: Extent) -> Dim {
        self.atoms.push(Atom {
            size,
            bound: None,
            frozen: None,
            uniform: false,
            pooled: false,
        });
        Dim::Atom(AtomId((self.atoms.len() - 1) as u32))
    }

    /// The number of elements; only a lone atom can be the batch.
    pub fn size(&self, dim: &Dim) -> Extent {
        let fixed = |part: &Dim| self.size(part).fixed().unwrap_or(0);
        match dim {
            Dim::Atom(id) => self.atoms[id.index()].size,
            Dim::Prod(parts) => Extent::Fixed(parts.iter().map(fixed).product()),
            Dim::Cat(parts) => Extent::Fixed(parts.iter().map(fixed).sum()),
        }
    }

    /// Why an unbound atom is frozen, if it is.
    pub fn frozen(&self, id: AtomId) -> Option<&Frozen> {
        self.atoms[id.index()].frozen.as_ref()
    }

    /// Whether an unbound atom may be copied only equally often everywhere.
    pub fn is_uniform(&self, id: AtomId) -> bool {
        self.atoms[id.index()].uniform
    }

    /// Whether a mean or an extreme is taken over an unbound atom somewhere, so that new units can
    /// only be copies.
    pub fn is_pooled(&self, id: AtomId) -> bool {
        self.atoms[id.index()].pooled
    }

    /// The normal form: bound atoms replaced, nested products and concatenations flattened, and
    /// a concatenation that leads a product drawn out of it.
    pub fn resolve(&mut self, dim: &Dim) -> Dim {
        match dim {
            Dim::Atom(id) => {
                // Long chains of atoms are gone through in a loop: they must not fill the stack.
                let (mut passed, mut last) = (Vec::new(), *id);
                while let Some(Dim::Atom(next)) = &self.atoms[last.index()].bound {
                    passed.push(last);
                    last = *next;
                }
                let resolved = match self.atoms[last.index()].bound.clone() {
                    None => Dim::Atom(last),
                    Some(bound) => {
                        passed.push(last);
                        self.resolve(&bound)
                    }
                };
                // Path compression keeps chains of bindings short.
                for atom in passed {
                    self.atoms[atom.index()].bound = Some(resolved.clone());
                }
                resolved
            }
            Dim::Prod(parts) => {
                let resolved = parts.iter().map(|part| self.resolve(part)).collect();
                product(resolved)
            }
            Dim::Cat(parts) => {
                let mut flat = Vec::new();
                for part in parts {
                    match self.resolve(part) {
                        Dim::Cat(inner) => flat.extend(inner),
                        other => flat.push(other),
                    }
                }
                single(flat, Dim::Cat)
            }
        }
    }

    /// Freezes every atom of an expression, unless it is frozen already.
    pub fn freeze(&mut self, dim: &Dim, reason: &Frozen) {
        for id in self.resolve(dim).atoms() {
            let frozen = &mut self.atoms[id.index()].frozen;
            if frozen.is_none() {
                *frozen = Some(reason.clone());
            }
        }
    }

    /// Restricts every atom of an expression to equal copies: a mean is taken over it.
    ///
    /// A mean over a concatenation would tie the growth of its parts together, so it freezes, unless
    /// the parts are the same one again and again.
    pub fn make_uniform(&mut self, dim: &Dim, node: Option<NodeId>) {
        let resolved = self.resolve(dim);
        if contains_cat(&resolved) && !is_repeated(&resolved) {
            let why = "a mean is taken over a concatenation".to_owned();
            self.freeze(&resolved, &Frozen { node, why });
        }
        for id in resolved.atoms() {
            self.atoms[id.index()].uniform = true;
            self.atoms[id.index()].pooled = true;
        }
    }

    /// Restricts every atom of an expression to copies: an extreme is taken over it.
    pub fn make_pooled(&mut self, dim: &Dim) {
        for id in self.resolve(dim).atoms() {
            self.atoms[id.index()].pooled = true;
        }
    }

    /// Makes two expressions equal; where that is impossible, both are frozen.
    pub fn unify(&mut self, a: &Dim, b: &Dim, node: Option<NodeId>) {
        let (a, b) = (self.resolve(a), self.resolve(b));
        if a == b {
            return;
        }
        if self.size(&a) != self.size(&b) {
            self.freeze_both(&a, &b, node, "two axes of different sizes meet");
            return;
        }
        match (a, b) {
            (Dim::Atom(id), other) | (other, Dim::Atom(id)) => self.bind(id, &other, node),
            (Dim::Prod(a), Dim::Prod(b)) => self.align_products(a, b, node),
            (Dim::Cat(a), Dim::Cat(b)) => self.align_parts(a, b, node),
            (Dim::Prod(a), Dim::Cat(b)) | (Dim::Cat(b), Dim::Prod(a)) => {
                self.align_parts(vec![Dim::Prod(a)], b, node);
            }
        }
    }

    fn freeze_both(&mut self, a: &Dim, b: &Dim, node: Option<NodeId>, why: &str) {
        let reason = Frozen {
            node,
            why: why.to_owned(),
        };
        self.freeze(a, &reason);
        self.freeze(b, &reason);
    }

    fn bind(&mut self, id: AtomId, to: &Dim, node: Option<NodeId>) {
        if to.atoms().contains(&id) {
            let why = "an axis would be a part of itself";
            self.freeze_both(&Dim::Atom(id), to, node, why);
            return;
        }
        if to.atoms().len() > MAX_LEAVES {
            let why = "an axis has too many parts to be followed";
            self.freeze_both(&Dim::Atom(id), to, node, why);
            return;
        }
        let atom = &mut self.atoms[id.index()];
        atom.bound = Some(to.clone());
        let (frozen, uniform, pooled) = (atom.frozen.clone(), atom.uniform, atom.pooled);
        if let Some(reason) = frozen {
            self.freeze(to, &reason);
        }
        if uniform {
            self.make_uniform(to, node);
        }
        if pooled {
            self.make_pooled(to);
        }
    }

    /// Aligns row-major factors from the outermost, cutting the larger: 6 against 2 is 2·3.
    fn align_products(&mut self, a: Vec<Dim>, b: Vec<Dim>, node: Option<NodeId>) {
        let (mut a, mut b) = (stack(a), stack(b));
        while let Some(x) = a.pop() {
            let Some(y) = b.pop() else {
                a.push(x);
                break;
            };
            let (x, y) = (self.resolve(&x), self.resolve(&y));
            // A refinement elsewhere may have turned a factor into a product.
            if let Dim::Prod(parts) = x {
                a.extend(stack(parts));
                b.push(y);
                continue;
            }
            if let Dim::Prod(parts) = y {
                b.extend(stack(parts));
                a.push(x);
                continue;
            }
            let sizes = (self.size(&x).fixed(), self.size(&y).fixed());
            let (Some(m), Some(n)) = sizes else {
                self.unify(&x, &y, node);
                continue;
            };
            if m == n {
                self.unify(&x, &y, node);
            } else if m == 1 || n == 1 {
                let unit = if m == 1 { &x } else { &y };
                let why = "an axis of size 1 disappears in a product".to_owned();
                self.freeze(unit, &Frozen { node, why });
                if m == 1 { b.push(y) } else { a.push(x) }
            } else if m % n == 0 && matches!(x, Dim::Atom(_)) {
                let inner = self.cut_factor(&x, n, m / n, &y, node);
                a.push(inner);
            } else if n % m == 0 && matches!(y, Dim::Atom(_)) {
                let inner = self.cut_factor(&y, m, n / m, &x, node);
                b.push(inner);
            } else {
                a.push(x);
                b.push(y);
                self.align_inner(a, b, node);
                return;
            }
        }
        let why = "an axis of size 1 disappears in a product".to_owned();
        for rest in a.into_iter().chain(b) {
            self.freeze(
                &rest,
                &Frozen {
                    node,
                    why: why.clone(),
                },
            );
        }
    }

    /// Aligns factors from the innermost where the outermost have nothing in common: positions are
    /// the same modulo an inner size that both have. What is left between is frozen.
    fn align_inner(&mut self, a: Vec<Dim>, b: Vec<Dim>, node: Option<NodeId>) {
        let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            let (x, y) = (self.resolve(x), self.resolve(y));
            let size = self.size(&x).fixed();
            if size.is_none() || size != self.size(&y).fixed() {
                break;
            }
            self.unify(&x, &y, node);
            a.next();
            b.next();
        }
        let why = "two products have no common factors".to_owned();
        let reason = Frozen { node, why };
        for rest in a.chain(b) {
            self.freeze(&rest, &reason);
        }
    }

    /// Binds `atom` to outer·inner, unifies the outer factor with `to` and returns the inner one.
    fn cut_factor(
        &mut self,
        atom: &Dim,
        outer: usize,
        inner: usize,
        to: &Dim,
        node: Option<NodeId>,
    ) -> Dim {
        let first = self.fresh(Extent::Fixed(outer));
        let second = self.fresh(Extent::Fixed(inner));
        let product = Dim::Prod(vec![first.clone(), second.clone()]);
        self.unify(atom, &product, node);
        self.unify(&first, to, node);
        second
    }

    /// Aligns offsets of concatenations, cutting the longer part.
    fn align_parts(&mut self, a: Vec<Dim>, b: Vec<Dim>, node: Option<NodeId>) {
        let (mut a, mut b) = (stack(a), stack(b));
        while let (Some(x), Some(y)) = (a.pop(), b.pop()) {
            let (x, y) = (self.resolve(&x), self.resolve(&y));
            if let Dim::Cat(parts) = x {
                a.extend(stack(parts));
                b.push(y);
                continue;
            }
            if let Dim::Cat(parts) = y {
                b.extend(stack(parts));
                a.push(x);
                continue;
            }
            let m = self.size(&x).fixed().unwrap_or(0);
            let n = self.size(&y).fixed().unwrap_or(0);
            let cut = if m == n {
                self.unify(&x, &y, node);
                true
            } else if m > n {
                let cut = self.cut_part(&x, n, node);
                a.push(x.clone());
                b.push(y.clone());
                cut
            } else {
                let cut = self.cut_part(&y, m, node);
                a.push(x.clone());
                b.push(y.clone());
                cut
            };
            if !cut {
                let rest = Dim::Cat(a.into_iter().chain(b).collect());
                self.freeze_both(&x, &y, node, "two concatenations have no common parts");
                let why = "two concatenations have no common parts".to_owned();
                self.freeze(&rest, &Frozen { node, why });
                return;
            }
        }
    }

    /// Refines an expression so that a part of it ends at `offset`; false if it cannot.
    fn cut_part(&mut self, dim: &Dim, offset: usize, node: Option<NodeId>) -> bool {
        match dim {
            Dim::Atom(id) => {
                let size = self.size(dim).fixed().unwrap_or(0);
                let first = self.fresh(Extent::Fixed(offset));
                let second = self.fresh(Extent::Fixed(size - offset));
                self.bind(*id, &Dim::Cat(vec![first, second]), node);
                true
            }
            // The leading factor is the outermost, so a cut between its slices is a cut of it.
            Dim::Prod(parts) => {
                let Some((leading, rest)) = parts.split_first() else {
                    return false;
                };
                let slice: usize = rest
                    .iter()
                    .map(|part| self.size(part).fixed().unwrap_or(0))
                    .product();
                slice > 0
                    && offset.is_multiple_of(slice)
                    && self.cut_part(leading, offset / slice, node)
            }
            Dim::Cat(_) => false,
        }
    }
}

/// A vector whose last element is the first of `parts`.
fn stack(mut parts: Vec<Dim>) -> Vec<Dim> {
    parts.reverse();
    parts
}

/// The product of resolved factors in normal form.
fn product(factors: Vec<Dim>) -> Dim {
    let mut flat = Vec::new();
    for factor in factors {
        match factor {
            Dim::Prod(inner) => flat.extend(inner),
            other => flat.push(other),
        }
    }
    if flat.len() > 1 && matches!(flat[0], Dim::Cat(_)) {
        let Dim::Cat(parts) = flat.remove(0) else {
            return Dim::Prod(flat);
        };
        let distributed = parts.into_iter().map(|part| {
            let mut factors = vec![part];
            factors.extend(flat.iter().cloned());
            product(factors)
        });
        return Dim::Cat(distributed.collect());
    }
    single(flat, Dim::Prod)
}

fn single(mut parts: Vec<Dim>, wrap: fn(Vec<Dim>) -> Dim) -> Dim {
    if parts.len() == 1 {
        parts.remove(0)
    } else {
        wrap(parts)
    }
}

fn contains_cat(dim: &Dim) -> bool {
    match dim {
        Dim::Atom(_) => false,
        Dim::Prod(parts) => parts.iter().any(contains_cat),
        Dim::Cat(_) => true,
    }
}

/// Whether an expression is a concatenation of one and the same without a concatenation in it.
fn is_repeated(dim: &Dim) -> bool {
    match dim {
        Dim::Cat(parts) => parts.iter().all(|part| *part == parts[0]) && !contains_cat(&parts[0]),
        Dim::Atom(_) | Dim::Prod(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atom(u: &mut Unifier, size: usize) -> Dim {
        u.fresh(Extent::Fixed(size))
    }

    fn sizes(u: &mut Unifier, dim: &Dim) -> Vec<usize> {
        let atoms = u.resolve(dim).atoms();
        let size = |id: AtomId| u.size(&Dim::Atom(id)).fixed().unwrap();
        atoms.into_iter().map(size).collect()
    }

    fn frozen(u: &mut Unifier, dim: &Dim) -> bool {
        let atoms = u.resolve(dim).atoms();
        atoms.iter().any(|id| u.frozen(*id).is_some())
    }

    #[test]
    fn six_against_two_is_two_times_three() {
        let mut u = Unifier::default();
        let six = atom(&mut u, 6);
        let (two, five) = (atom(&mut u, 2), atom(&mut u, 5));
        let (three, five2) = (atom(&mut u, 3), atom(&mut u, 5));
        let left = Dim::Prod(vec![six.clone(), five]);
        u.unify(&left, &Dim::Prod(vec![two, three, five2]), None);
        assert_eq!(sizes(&mut u, &six), [2, 3]);
        assert_eq!(sizes(&mut u, &left), [2, 3, 5]);
        assert!(!frozen(&mut u, &left));
    }

    #[test]
    fn products_without_common_factors_freeze() {
        let mut u = Unifier::default();
        let left = Dim::Prod(vec![atom(&mut u, 4), atom(&mut u, 6)]);
        let right = Dim::Prod(vec![atom(&mut u, 6), atom(&mut u, 4)]);
        u.unify(&left, &right, None);
        assert!(frozen(&mut u, &left) && frozen(&mut u, &right));
    }

    #[test]
    fn products_without_common_outer_factors_still_share_inner_ones() {
        let mut u = Unifier::default();
        let (seven, channels) = (atom(&mut u, 7), atom(&mut u, 5));
        let left = Dim::Prod(vec![
            atom(&mut u, 4),
            atom(&mut u, 6),
            seven,
            channels.clone(),
        ]);
        let (same, right) = (atom(&mut u, 7), atom(&mut u, 5));
        let right_all = Dim::Prod(vec![atom(&mut u, 6), atom(&mut u, 4), same, right.clone()]);
        u.unify(&left, &right_all, None);
        assert_eq!(u.resolve(&channels), u.resolve(&right));
        assert!(!frozen(&mut u, &channels));
        assert_eq!(sizes(&mut u, &left)[2..], [7, 5]);
        let Dim::Prod(factors) = left else {
            unreachable!()
        };
        assert!(frozen(&mut u, &factors[0]) && frozen(&mut u, &factors[1]));
        assert!(!frozen(&mut u, &factors[2]));
    }

    #[test]
    fn a_mean_over_copies_of_one_axis_does_not_freeze_it() {
        let mut u = Unifier::default();
        let a = atom(&mut u, 4);
        u.make_uniform(&Dim::Cat(vec![a.clone(), a.clone()]), None);
        assert!(!frozen(&mut u, &a));
        let Dim::Atom(id) = a else { unreachable!() };
        assert!(u.is_uniform(id));
    }

    #[test]
    fn concatenations_cut_the_longer() {
        let mut u = Unifier::default();
        let left = Dim::Cat(vec![atom(&mut u, 5), atom(&mut u, 3)]);
        let right = Dim::Cat(vec![atom(&mut u, 2), atom(&mut u, 6)]);
        u.unify(&left, &right, None);
        assert_eq!(sizes(&mut u, &left), [2, 3, 3]);
        assert_eq!(u.resolve(&left), u.resolve(&right));
        assert!(!frozen(&mut u, &left));
    }

    #[test]
    fn a_product_against_a_concatenation_cuts_the_leading_factor() {
        let mut u = Unifier::default();
        let (c, hw) = (atom(&mut u, 5), atom(&mut u, 4));
        let left = Dim::Prod(vec![c.clone(), hw]);
        let right = Dim::Cat(vec![atom(&mut u, 8), atom(&mut u, 12)]);
        u.unify(&left, &right, None);
        assert_eq!(sizes(&mut u, &c), [2, 3]);
        assert_eq!(u.resolve(&left), u.resolve(&right));
        assert!(!frozen(&mut u, &left));
        let odd = Dim::Cat(vec![atom(&mut u, 7), atom(&mut u, 13)]);
        u.unify(&left, &odd, None);
        assert!(frozen(&mut u, &left));
    }

    #[test]
    fn a_frozen_atom_freezes_what_it_is_bound_to() {
        let mut u = Unifier::default();
        let four = atom(&mut u, 4);
        let reason = Frozen {
            node: None,
            why: "a graph input".into(),
        };
        u.freeze(&four, &reason);
        let parts = Dim::Prod(vec![atom(&mut u, 2), atom(&mut u, 2)]);
        u.unify(&parts, &four, None);
        assert!(frozen(&mut u, &parts));
    }

    #[test]
    fn a_mean_over_a_concatenation_freezes_and_over_an_atom_does_not() {
        let mut u = Unifier::default();
        let a = atom(&mut u, 4);
        u.make_uniform(&a, None);
        assert!(!frozen(&mut u, &a));
        let parts = Dim::Cat(vec![atom(&mut u, 1), atom(&mut u, 3)]);
        u.unify(&a, &parts, None);
        assert!(frozen(&mut u, &a));
    }
}
