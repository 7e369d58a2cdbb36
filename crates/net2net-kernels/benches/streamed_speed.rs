//! How fast matrices are read, grown and multiplied a few rows at a time, in gigabytes of single
//! floats a second: `cargo bench -p net2net-kernels --bench streamed_speed`.
//!
//! A copy of the same bytes stands first, for comparison. Arguments are numbers of samples.

#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::ops::Range;
use std::time::Instant;

use net2net_kernels::slices::{Word, gather, scale, scale_each};
use net2net_kernels::streamed::{RowSource, matmul, matmul_transposed};
use net2net_kernels::{Context, Real};

const ROWS: usize = 8192;
const WIDTH: usize = 2048;
const ROUNDS: usize = 12;

/// As a file has them.
struct Stored(Vec<Word>);

impl<T: Real> RowSource<T> for Stored {
    fn read(&self, rows: Range<usize>, to: &mut [T]) {
        scale(&self.0[rows.start * WIDTH..][..to.len()], &[], to);
    }
}

/// Grown: a fifth of the columns are gathered, and all are multiplied.
struct Grown<T> {
    stored: Stored,
    own: Vec<T>,
    at: Vec<u32>,
}

impl<T: Real> RowSource<T> for Grown<T> {
    fn read(&self, rows: Range<usize>, to: &mut [T]) {
        let kept = WIDTH * 4 / 5;
        for (row, to) in rows.zip(to.chunks_exact_mut(WIDTH)) {
            let from = &self.stored.0[row * WIDTH..][..WIDTH];
            let (run, others) = to.split_at_mut(kept);
            scale_each(&from[..kept], &[], &self.own[..kept], run);
            gather(from, &self.at[kept..], &[], &self.own[kept..], others);
        }
    }
}

/// Gigabytes a second of the best of some rounds.
fn best(mut work: impl FnMut()) -> f64 {
    let seconds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    });
    let least = seconds.fold(f64::INFINITY, f64::min);
    (ROWS * WIDTH * 4) as f64 / least / 1e9
}

fn products<T: Real>(threads: usize) -> Result<(), Box<dyn std::error::Error>> {
    let mut cx = Context::<T>::new(threads)?;
    let words = || (0..ROWS * WIDTH).map(|i| (i as f32 * 0.001).sin().to_le_bytes());
    let stored = Stored(words().collect());
    let grown = Grown {
        stored: Stored(words().collect()),
        own: vec![T::from_f64(0.5); WIDTH],
        at: (0..WIDTH as u32).map(|i| i * 7 % WIDTH as u32).collect(),
    };
    let named: Vec<usize> = std::env::args().filter_map(|x| x.parse().ok()).collect();
    let samples = if named.is_empty() {
        vec![1, 4, 64]
    } else {
        named
    };
    for samples in samples {
        let x = vec![T::from_f64(0.5); samples * ROWS];
        let mut y = vec![T::zero(); samples * ROWS];
        let sources: [&dyn RowSource<T>; 2] = [&stored, &grown];
        let mut line = format!("{} {threads} threads, {samples} samples:", T::NAME);
        for source in sources {
            let (x, y) = (&x[..samples * WIDTH], &mut y[..]);
            let outputs = best(|| {
                matmul_transposed(&mut cx, x, source, [samples, WIDTH, ROWS], y);
            });
            line += &format!(" {outputs:.1}");
        }
        for source in sources {
            let (x, y) = (&x[..], &mut y[..samples * WIDTH]);
            let inputs = best(|| matmul(&mut cx, x, source, [samples, ROWS, WIDTH], y));
            line += &format!(" {inputs:.1}");
        }
        println!("{line}");
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let from = vec![1u8; ROWS * WIDTH * 4];
    let mut to = vec![0u8; ROWS * WIDTH * 4];
    let copy = best(|| black_box(&mut to).copy_from_slice(black_box(&from)));
    println!("copy: {copy:.1}");
    let grown = Grown {
        stored: Stored(vec![[0; 4]; ROWS * WIDTH]),
        own: vec![0.5; WIDTH],
        at: (0..WIDTH as u32).map(|i| i * 7 % WIDTH as u32).collect(),
    };
    let mut block = vec![0f32; 1 << 18];
    let rows = block.len() / WIDTH;
    let growing = best(|| {
        for first in (0..ROWS).step_by(rows) {
            grown.read(first..first + rows, &mut block);
        }
    });
    println!("grown into a buffer: {growing:.1}");
    println!("rows that make outputs, stored and grown; rows that read inputs, stored and grown:");
    for threads in [1, 2] {
        products::<f32>(threads)?;
        products::<f64>(threads)?;
    }
    Ok(())
}
