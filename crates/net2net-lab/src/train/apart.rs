//! How far apart copies are.

use net2net_core::apply::{Copies, Growth};
use net2net_core::ops::Role;
use net2net_core::weights::{Tensor, Weights};

/// The copies of a growth whose incoming weights should part in training.
pub fn incoming_copies(growth: &Growth) -> Vec<Copies> {
    let graph = growth.graph();
    let roles = graph.parameter_roles();
    let is_weight = |copies: &Copies| {
        let id = graph.lookup(&copies.parameter);
        id.is_some_and(|id| roles.get(&id) == Some(&Role::Weight))
    };
    growth.copies().into_iter().filter(is_weight).collect()
}

/// The distance of copies over the size of their weights, both as root mean squares over all pairs:
/// 0 while copies are equal, and 1.4 where they have no more in common than random weights. `None`
/// without pairs.
pub fn apart(copies: &[Copies], weights: &Weights<f32>) -> Option<f64> {
    let (mut distance, mut size) = (0.0, 0.0);
    for copies in copies {
        let Some(tensor) = weights.get(&copies.parameter) else {
            continue;
        };
        for (a, b) in &copies.pairs {
            for (x, y) in slice(tensor, copies.axis, *a).zip(slice(tensor, copies.axis, *b)) {
                distance += (x - y).powi(2);
                size += 0.5 * (x * x + y * y);
            }
        }
    }
    (size > 0.0).then(|| (distance / size).sqrt())
}

/// The numbers at a position along an axis.
fn slice(tensor: &Tensor<f32>, axis: usize, at: usize) -> impl Iterator<Item = f64> {
    let inner: usize = tensor.shape()[axis + 1..].iter().product();
    let block = inner * tensor.shape()[axis];
    let rows = tensor.data().chunks_exact(block.max(1));
    rows.flat_map(move |row| &row[at * inner..][..inner])
        .map(|x| f64::from(*x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_copies_are_not_apart_and_unrelated_ones_are() {
        let mut weights = Weights::default();
        let data = vec![1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
        weights.insert("w", Tensor::new(vec![3, 2], data).unwrap());
        let pairs = |pairs: &[(usize, usize)]| {
            vec![Copies {
                parameter: "w".to_owned(),
                axis: 0,
                pairs: pairs.to_vec(),
            }]
        };
        assert_eq!(apart(&pairs(&[(0, 1)]), &weights), Some(0.0));
        let unrelated = apart(&pairs(&[(0, 2)]), &weights).unwrap();
        assert!((unrelated - 2f64.sqrt()).abs() < 1e-12);
        assert_eq!(apart(&[], &weights), None);
    }
}
