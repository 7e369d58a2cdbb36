//! Times the kernels that training spends its time in, on two threads, in `f32`.
//!
//! `cargo bench -p net2net-kernels --bench conv_speed -- [repeats]` prints the median and
//! the least time in milliseconds; `conv_speed.py` next to it times PyTorch on the same shapes.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use net2net_kernels::conv::{self, ConvShape};
use net2net_kernels::pool::{self, PoolShape};
use net2net_kernels::{Context, batch_norm};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let repeats = std::env::args()
        .find_map(|word| word.parse().ok())
        .unwrap_or(21);
    let mut bench = Bench {
        cx: Context::new(2)?,
        repeats,
    };
    println!(
        "{:<26} {:<16} {:>8} {:>8} {:>9}",
        "shape", "kernel", "median", "least", "GFLOP/s"
    );
    bench.conv("28x28x16->32 3x3", 28, 16, 32, 3, 1);
    bench.conv("14x14x64->64 3x3", 14, 64, 64, 3, 1);
    bench.conv("32x32x64->64 3x3", 32, 64, 64, 3, 1);
    bench.conv("32x32x16->16 3x3", 32, 16, 16, 3, 1);
    bench.conv("16x16x32->32 3x3", 16, 32, 32, 3, 1);
    bench.conv("8x8x64->64 3x3", 8, 64, 64, 3, 1);
    bench.conv("8x8x24->24 3x3", 8, 24, 24, 3, 1);
    bench.conv("14x14x256->256 3x3", 14, 256, 256, 3, 1);
    bench.conv("14x14x96->64 1x1", 14, 96, 64, 1, 1);
    bench.conv("32x32x3->64 3x3", 32, 3, 64, 3, 1);
    bench.conv("32x32x64->128 3x3 /2", 32, 64, 128, 3, 2);
    bench.conv("14x14x96 3x3 depthwise", 14, 96, 96, 3, 1);
    bench.max_pool();
    bench.batch_norm();
    Ok(())
}

const BATCH: usize = 64;

struct Bench {
    cx: Context<f32>,
    repeats: usize,
}

impl Bench {
    fn time(
        &mut self,
        shape: &str,
        kernel: &str,
        flops: f64,
        mut f: impl FnMut(&mut Context<f32>),
    ) {
        f(&mut self.cx);
        let mut times: Vec<f64> = (0..self.repeats)
            .map(|_| {
                let start = Instant::now();
                f(&mut self.cx);
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let (median, least) = (times[times.len() / 2], times[0]);
        let speed = flops / median / 1e6;
        println!("{shape:<26} {kernel:<16} {median:>8.3} {least:>8.3} {speed:>9.1}");
    }

    fn conv(
        &mut self,
        name: &str,
        size: usize,
        in_c: usize,
        out_c: usize,
        k: usize,
        stride: usize,
    ) {
        let groups = if name.contains("depthwise") { in_c } else { 1 };
        let s = ConvShape {
            batch: BATCH,
            in_h: size,
            in_w: size,
            in_c,
            out_h: 0,
            out_w: 0,
            out_c,
            kernel: [k; 2],
            stride: [stride; 2],
            dilation: [1; 2],
            pads: [k / 2; 4],
            groups,
        }
        .with_output();
        let (mut x, mut w, mut y) = (
            noise(s.input_len()),
            noise(s.filter_len()),
            noise(s.output_len()),
        );
        let flops = 2.0 * (s.output_len() * s.filter_len() / s.out_c) as f64;
        self.time(name, "forward", flops, |cx| {
            conv::forward(cx, &s, black_box(&x), &w, conv::Finish::default(), &mut y);
        });
        self.time(name, "backward_data", flops, |cx| {
            conv::backward_data(cx, &s, black_box(&y), &w, &mut x, false);
        });
        let x = noise(s.input_len());
        self.time(name, "backward_weight", flops, |cx| {
            conv::backward_weight(cx, &s, black_box(&x), &y, &mut w, false);
        });
    }

    fn max_pool(&mut self) {
        let s = PoolShape {
            batch: BATCH,
            in_h: 14,
            in_w: 14,
            c: 96,
            out_h: 14,
            out_w: 14,
            kernel: [3; 2],
            stride: [1; 2],
            dilation: [1; 2],
            pads: [1; 4],
        };
        let (x, mut y, mut dx) = (
            noise(s.input_len()),
            noise(s.output_len()),
            noise(s.input_len()),
        );
        let mut index = vec![0; s.output_len()];
        self.time("max pool 14x14x96 3x3", "forward", 0.0, |cx| {
            pool::max_forward(cx, &s, black_box(&x), &mut y, Some(&mut index));
        });
        self.time("max pool 14x14x96 3x3", "backward", 0.0, |cx| {
            pool::max_backward(cx, &s, &index, black_box(&x), &mut dx, false);
        });
    }

    fn batch_norm(&mut self) {
        let (rows, c) = (BATCH * 28 * 28, 32);
        let (x, mut y, mut dx) = (noise(rows * c), noise(rows * c), noise(rows * c));
        let (gamma, beta) = (noise(c), noise(c));
        let [mut mean, mut inv_std, mut var, mut dgamma, mut dbeta] = [(); 5].map(|()| noise(c));
        for (relu, name) in [(false, "batch norm 28x28x32"), (true, "with relu")] {
            self.time(name, "forward", 0.0, |cx| {
                batch_norm::forward_train(
                    cx,
                    rows,
                    c,
                    black_box(&x),
                    &gamma,
                    &beta,
                    1e-5,
                    None,
                    relu,
                    &mut y,
                    &mut mean,
                    &mut inv_std,
                    &mut var,
                );
            });
            self.time(name, "backward", 0.0, |cx| {
                batch_norm::backward(
                    cx,
                    rows,
                    c,
                    &x,
                    &[],
                    black_box(&x),
                    [&gamma, &beta],
                    &mean,
                    &inv_std,
                    relu,
                    None,
                    &mut dx,
                    false,
                    &mut dgamma,
                    &mut dbeta,
                    false,
                );
            });
        }
    }
}

/// Numbers in -1..1 without a pattern that a kernel could profit from.
fn noise(len: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}
