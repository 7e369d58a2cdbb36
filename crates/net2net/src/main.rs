//! `net2net`: grow a trained network without changing its function, and train on.

use std::process::ExitCode;

/// Keeps buffers between steps instead of giving them back to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    net2net::run()
}
