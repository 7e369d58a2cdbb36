//! What the machine can do at most: the rate of a large matrix product.

use std::time::Instant;

use anyhow::Result;
use net2net_kernels::{Context, Matrix, matmul};

const SIZE: usize = 1024;
const TRIES: usize = 8;

/// Floating-point operations in a second, by the best of several products of f32 matrices.
pub(super) fn flops_per_second(threads: usize) -> Result<f64> {
    let mut cx = Context::<f32>::new(threads)?;
    let a = vec![0.5f32; SIZE * SIZE];
    let mut c = vec![0.0f32; SIZE * SIZE];
    let matrix = || Matrix::new(&a, SIZE, SIZE);
    let mut best = f64::INFINITY;
    for _ in 0..TRIES {
        let start = Instant::now();
        matmul(&mut cx, matrix(), matrix(), &mut c, false);
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(2.0 * (SIZE * SIZE * SIZE) as f64 / best)
}
